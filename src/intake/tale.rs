//! Says in the log what the alerts of a notification led to: one line for each trigger, decision and reason.
//!
//! It refuses to let a sender fill the log: a notification gets so many lines and no more, and what is of no
//! consequence is told to those who ask for details only.

use std::collections::BTreeMap;

use super::Answered;
use crate::reason::Reason;

/// How many lines one notification gets.
const LINES: usize = 20;

/// The alerts that led to the same.
struct Group<'a> {
    first: &'a Answered,
    place: usize,
    alerts: usize,
}

/// Logs what these alerts led to.
pub(super) fn tell(decisions: &[Answered], trace_id: &str) {
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for (place, answered) in decisions.iter().enumerate() {
        let key = (
            is_detail(answered.reason),
            answered.trigger.as_deref(),
            answered.decision,
            answered.reason,
        );
        let group = groups.entry(key).or_insert(Group {
            first: answered,
            place,
            alerts: 0,
        });
        group.alerts += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    // What matters is told first, so that it is not among what is left out.
    groups.sort_by_key(|group| (is_detail(group.first.reason), group.place));
    for group in groups.iter().take(LINES) {
        let Group { first, alerts, .. } = group;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    trace_id,
                    trigger = first.trigger,
                    decision = first.decision,
                    reason = first.reason.code(),
                    alerts,
                    fingerprint = first.fingerprint,
                    rollback = first.rollback,
                    "alerts decided{}{}",
                    if first.said.is_empty() { "" } else { ": " },
                    first.said
                )
            };
        }
        if is_detail(first.reason) {
            line!(debug);
        } else {
            line!(info);
        }
    }
    if let Some(omitted) = groups.len().checked_sub(LINES).filter(|&n| n > 0) {
        tracing::info!(trace_id, omitted, "more was decided than is told here");
    }
}

/// Whether it happens all the time and changes nothing.
const fn is_detail(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoTrigger | Reason::Known | Reason::ResolvedUnknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logs::tests::lines;

    fn answered(n: usize, trigger: &str, reason: Reason) -> Answered {
        Answered {
            fingerprint: format!("{n:016x}"),
            trigger: Some(trigger.to_owned()),
            decision: "decline",
            reason,
            said: String::new(),
            rollback: Some("shop/api-1".to_owned()),
        }
    }

    #[test]
    fn what_led_to_the_same_is_one_line_and_details_are_for_those_who_ask() {
        let decisions: Vec<_> = (0..100)
            .map(|n| answered(n, "a", Reason::NoTrigger))
            .chain((100..103).map(|n| answered(n, "b", Reason::NotThisRelease)))
            .collect();
        let told = lines("info", || tell(&decisions, "4bf9"));
        assert_eq!(told.len(), 1, "{told:?}");
        for (key, value) in [
            ("trigger", "b"),
            ("decision", "decline"),
            ("reason", "not_this_release"),
            ("fingerprint", "0000000000000064"),
            ("rollback", "shop/api-1"),
            ("trace_id", "4bf9"),
        ] {
            assert_eq!(told[0][key], value, "{told:?}");
        }
        assert_eq!(told[0]["alerts"], 3);
        let told = lines("debug", || tell(&decisions, "4bf9"));
        assert_eq!(told.len(), 2);
        assert_eq!(
            (&told[1]["reason"], &told[1]["level"]),
            (&"no_trigger".into(), &"DEBUG".into())
        );
    }

    #[test]
    fn one_notification_gets_so_many_lines_and_no_more() {
        let decisions: Vec<_> = (0..500)
            .map(|n| answered(n, &format!("t{n}"), Reason::NotThisRelease))
            .collect();
        let told = lines("info", || tell(&decisions, "4bf9"));
        assert_eq!(told.len(), LINES + 1);
        assert_eq!(told[LINES]["omitted"], 480);
    }
}
