//! How long ago a drill with an effect went well, and whether one left its mark.
//!
//! It drills nothing itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::check::{Check, expect};
use super::target::Seen;
use crate::rollback::history::rough;
use crate::rollback::{MemoryStatus, Rollback};
use crate::target::workload::Rollout;
use crate::target::{Drills, Target};

/// The check of the last drill. It keeps no drill from beginning.
pub(in crate::cli) const DRILL: &str = "last good drill";

/// The same of what was read.
pub(super) fn seen(seen: &Seen, target: &Target, within: Duration) -> Vec<Check> {
    let Some(rollout) = &seen.at.rollout else {
        return Vec::new();
    };
    let state = seen.state();
    checks(target, rollout, &state, &seen.rollbacks, within, seen.now)
}

/// What is to be said of drills on a target that allows them, and of a mark on any.
fn checks(
    target: &Target,
    rollout: &Rollout,
    state: &MemoryStatus,
    rollbacks: &[Rollback],
    within: Duration,
    now: Timestamp,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if target.drills == Drills::Allowed {
        checks.push(last(target, state, within, now));
    }
    if let Some(id) = &rollout.drill {
        let asked = expect("drill's mark", "no drill has left its mark");
        let found = format!("the template bears the mark of drill {id}");
        let mut open = rollbacks.iter();
        checks.push(match open.find(|it| it.spec.drill && it.is_open()) {
            Some(open) => {
                let name = open.full_name();
                asked.warning(
                    format!("{found}, which {name} takes away"),
                    format!("wait for it: ripcord watch {name}"),
                )
            }
            None => asked.failed(
                found,
                format!(
                    "where nobody drills just now: ripcord drill --put-back --target {}",
                    target.name
                ),
            ),
        });
    }
    checks
}

fn last(target: &Target, state: &MemoryStatus, within: Duration, now: Timestamp) -> Check {
    let limit = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
    let asked = expect(
        DRILL,
        format!("a drill with an effect went well within {}", rough(limit)),
    );
    let again = format!("ripcord drill --execute --target {}", target.name);
    let Some(last) = &state.drill else {
        return asked.warning("it was never drilled", again);
    };
    let age = now.duration_since(last.at);
    let found = format!("{} ago, {}: {}", rough(age), last.rollback, last.seconds);
    if !last.ok {
        let see = format!(
            "see ripcord show {}/{}, mend it, and drill again: {again}",
            target.workload.namespace, last.rollback
        );
        return asked.failed(format!("the last one failed {found}"), see);
    }
    if age > limit {
        return asked.warning(found, again);
    }
    asked.ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::Verdict;
    use crate::policy::decision::tests::{rollback, second, target};
    use crate::rollback::Phase;
    use crate::rollback::drill::LastDrill;
    use crate::target::drill::tests::drilled;
    use crate::target::snapshot::tests::restored;

    const DAY: i64 = 24 * 3600;

    fn allowing() -> Target {
        Target {
            drills: Drills::Allowed,
            ..target()
        }
    }

    fn of(target: &Target, drill: Option<(i64, bool)>) -> Vec<(Verdict, String, String)> {
        let state = MemoryStatus {
            drill: drill.map(|(at, ok)| LastDrill {
                at: second(at),
                ok,
                seconds: crate::rollback::drill::Seconds::default(),
                rollback: "api-drill-d1".into(),
            }),
            ..MemoryStatus::default()
        };
        let rollout = restored().rollout.unwrap();
        let within = Duration::from_secs(30 * 24 * 3600);
        let found = checks(target, &rollout, &state, &[], within, second(100 * DAY));
        found
            .into_iter()
            .map(|it| (it.verdict, it.found, it.help.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn the_last_drill_has_an_age_and_an_end() {
        assert_eq!(of(&target(), None), [], "only where drills are allowed");
        let (verdict, _, help) = of(&allowing(), None).remove(0);
        assert_eq!(verdict, Verdict::Warning);
        assert_eq!(help, "ripcord drill --execute --target api");
        let verdict = |at, ok| of(&allowing(), Some((at, ok))).remove(0).0;
        assert_eq!(verdict(70 * DAY, true), Verdict::Ok);
        assert_eq!(verdict(70 * DAY - 1, true), Verdict::Warning);
        assert_eq!(verdict(99 * DAY, false), Verdict::Failed);
        let (_, found, help) = of(&allowing(), Some((99 * DAY, false))).remove(0);
        assert!(
            found.starts_with("the last one failed 1 d 0 h ago"),
            "{found}"
        );
        assert!(help.contains("ripcord show prod/api-drill-d1"), "{help}");
    }

    #[test]
    fn a_mark_that_nobody_takes_away_is_found() {
        let rollout = drilled().rollout.unwrap();
        let of = |open: &[Rollback]| {
            let state = MemoryStatus::default();
            let all = checks(&target(), &rollout, &state, open, Duration::MAX, second(0));
            (all[0].verdict, all[0].help.clone().unwrap_or_default())
        };
        let (verdict, help) = of(&[]);
        assert_eq!(verdict, Verdict::Failed);
        assert!(
            help.contains("ripcord drill --put-back --target api"),
            "{help}"
        );
        let mut open = rollback(1, Phase::Running);
        open.spec.drill = true;
        assert_eq!(of(&[open]).0, Verdict::Warning);
    }
}
