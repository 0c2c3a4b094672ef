//! The way back where the spec is somebody else's: the update in flight is aborted, and the spec is left as it is.
//!
//! An abort leads the traffic to the stable release, and nowhere else; the workload stays Degraded until its owner brings
//! another template. On a promoted release it does nothing, and past the switch of a blue-green it can do harm.

use jiff::Timestamp;

use super::{Plan, SEEN_WITHIN, await_controller};
use crate::procedure::Entry;
use crate::procedure::step::Next;
use crate::reason::Reason;
use crate::target::workload::Rollout;
use crate::target::{Effect, Snapshot, owner};

impl Plan {
    /// What follows while the spec holds the release that is left, and belongs to `owner`.
    pub(super) fn abort(
        &self,
        owner: &str,
        at: &Snapshot,
        rollout: &Rollout,
        past: &Entry,
        now: Timestamp,
    ) -> Next {
        if let Some(next) = self.another_template(rollout, past, now) {
            return next;
        }
        let abortable = if rollout.in_flight() && rollout.stable != self.to.hash {
            Err("is in flight from another release by now")
        } else {
            rollout.abortable()
        };
        if let Err(state) = abortable {
            return Next::Fail(owner::left_to(owner, &self.from, state));
        }
        if !rollout.is_aborted() {
            return self.ask(owner, rollout, past, now);
        }
        if let Err(moving) = at.traffic_on(&self.to.hash, self.served) {
            return Next::Wait(if rollout.paused {
                Reason::Paused.because("the workload is paused by its spec")
            } else {
                moving
            });
        }
        let available = at.replica_set(&self.to.hash).map_or(0, |set| set.available);
        if available < rollout.replicas {
            let said = format!(
                "{available} of {} pods of {} are available",
                rollout.replicas, self.to
            );
            return Next::Wait(Reason::PodsStarting.because(said));
        }
        let already = if past.attempts == 0 { " already" } else { "" };
        Next::Done(Reason::Aborted.because(format!(
            "{} is aborted{already} and all traffic is on {}; the spec still holds {}, so the workload stays Degraded \
             until {owner} brings another template",
            self.from,
            self.to,
            self.from.shown(),
        )))
    }

    /// A request that may be lost to the controller's own write: it is repeated until the controller has acted on it.
    /// Once that was seen, whoever takes the abort back means it.
    fn ask(&self, owner: &str, rollout: &Rollout, past: &Entry, now: Timestamp) -> Next {
        let seen = past.attempts > 0
            && past.observed.as_ref().is_some_and(|found| {
                matches!(
                    found.reason,
                    Reason::TrafficMoving | Reason::PodsStarting | Reason::Paused
                )
            });
        if seen {
            return Next::Fail(Reason::Overwritten.because(format!(
                "{} was aborted, and somebody took the abort back; {owner} owns the spec",
                self.from
            )));
        }
        if rollout.aborted && !rollout.promote_full {
            let said = "the controller has not acted on the abort yet";
            return await_controller(
                rollout,
                Reason::Aborting.because(said),
                SEEN_WITHIN,
                past,
                now,
            );
        }
        Next::Do(Effect::Abort {
            hash: self.from.hash.clone(),
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::procedure::revert::Revert;
    use crate::procedure::step::Step;
    use crate::target::snapshot::tests::{in_flight, promoted, restored, set};
    use crate::target::workload::Strategy;

    fn plan() -> Plan {
        let mut plan = crate::procedure::revert::tests::plan();
        plan.owner = Some("Argo CD application shop".into());
        plan
    }

    /// After so many requests, the last look having shown this.
    fn past(attempts: i64, observed: Reason) -> Entry {
        let mut past = Entry::pending("revert");
        past.attempts = attempts;
        past.observed = Some(observed.into());
        past
    }

    fn next(at: &Snapshot, past: &Entry) -> Next {
        Revert::next(&plan(), at, &[], past, Timestamp::UNIX_EPOCH)
    }

    fn first(at: &Snapshot) -> Next {
        next(at, &Entry::pending("revert"))
    }

    fn rollout(at: &mut Snapshot) -> &mut Rollout {
        at.rollout.as_mut().unwrap()
    }

    fn abort() -> Next {
        Next::Do(Effect::Abort { hash: "bad".into() })
    }

    /// The update in flight, aborted: the stable release has all pods, the spec still holds the bad one.
    fn aborted() -> Snapshot {
        let mut at = restored();
        let mut rollout = in_flight().rollout.unwrap();
        (rollout.aborted, rollout.aborted_at) = (true, Some(Timestamp::UNIX_EPOCH));
        rollout.phase = "Degraded".into();
        at.rollout = Some(rollout);
        at.replica_sets = vec![set("good", 1, 3), set("bad", 2, 0)];
        at
    }

    fn blue_green(active: &str) -> Strategy {
        Strategy::BlueGreen {
            active: active.into(),
            service: "x".into(),
        }
    }

    fn reason(next: &Next) -> Reason {
        match next {
            Next::Wait(found) | Next::Done(found) | Next::Fail(found) | Next::Yield(found) => {
                found.reason
            }
            Next::Do(effect) => panic!("{effect:?}"),
        }
    }

    #[test]
    fn an_update_in_flight_is_aborted_and_its_spec_left_alone() {
        assert_eq!(first(&in_flight()), abort());
        let mut before_the_switch = in_flight();
        rollout(&mut before_the_switch).strategy = blue_green("good");
        assert_eq!(first(&before_the_switch), abort());
    }

    #[test]
    fn what_an_abort_does_not_help_is_its_owners() {
        let mut switched = in_flight();
        rollout(&mut switched).strategy = blue_green("bad");
        let mut from_another = in_flight();
        rollout(&mut from_another).stable = "another".into();
        let mut paused = in_flight();
        rollout(&mut paused).paused = true;
        for at in [promoted(), switched, from_another, paused] {
            let Next::Fail(found) = first(&at) else {
                panic!("{at:#?}")
            };
            assert_eq!(found.reason, Reason::OwnedElsewhere);
            assert!(
                found.said.contains("Argo CD application shop"),
                "{}",
                found.said
            );
        }
    }

    #[test]
    fn it_is_asked_for_until_the_controller_acts_on_it() {
        let mut at = in_flight();
        let asked = past(1, Reason::Aborting);
        // Lost to the controller's own write.
        assert_eq!(next(&at, &asked), abort());
        rollout(&mut at).aborted = true;
        assert_eq!(reason(&next(&at, &asked)), Reason::Aborting);
        let mut late = asked.clone();
        late.started = Some(Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(2).unwrap();
        let next_later = Revert::next(&plan(), &at, &[], &late, later);
        assert_eq!(next_later, Next::Do(Effect::Nudge));
        // A full promotion that came in between would win.
        rollout(&mut at).promote_full = true;
        assert_eq!(next(&at, &asked), abort());
    }

    #[test]
    fn a_template_that_is_not_looked_at_yet_is_not_aborted() {
        let mut plan = plan();
        plan.from.images = vec!["app:bad".into()];
        let mut at = in_flight();
        rollout(&mut at).images = vec!["app:fix".into()];
        let past = Entry::pending("revert");
        let next = Revert::next(&plan, &at, &[], &past, Timestamp::UNIX_EPOCH);
        assert_eq!(reason(&next), Reason::ControllerLag);
        rollout(&mut at).observed = false;
        assert_eq!(reason(&first(&at)), Reason::ControllerLag);
    }

    #[test]
    fn it_is_done_when_all_traffic_is_back_on_all_pods() {
        let asked = past(1, Reason::Aborting);
        let mut moving = aborted();
        (moving.pods, moving.endpoints) = (in_flight().pods, in_flight().endpoints);
        assert_eq!(reason(&next(&moving, &asked)), Reason::TrafficMoving);
        rollout(&mut moving).paused = true;
        assert_eq!(reason(&next(&moving, &asked)), Reason::Paused);
        let mut starting = aborted();
        starting.replica_sets[0].available = 2;
        assert_eq!(reason(&next(&starting, &asked)), Reason::PodsStarting);
        let Next::Done(found) = next(&aborted(), &asked) else {
            panic!()
        };
        assert_eq!(found.reason, Reason::Aborted);
        assert_eq!(
            found.said,
            "r2 bad is aborted and all traffic is on r1 good; the spec still holds r2 bad, so the workload stays \
             Degraded until Argo CD application shop brings another template"
        );
        let Next::Done(found) = first(&aborted()) else {
            panic!()
        };
        assert!(found.said.contains("aborted already"), "{}", found.said);
    }

    #[test]
    fn an_abort_that_was_seen_and_taken_back_is_not_fought_over() {
        for seen in [Reason::TrafficMoving, Reason::PodsStarting, Reason::Paused] {
            assert_eq!(
                reason(&next(&in_flight(), &past(1, seen))),
                Reason::Overwritten
            );
        }
    }

    #[test]
    fn what_its_owner_brings_is_never_promoted_by_us() {
        let mut back = promoted();
        rollout(&mut back).current = "good".into();
        assert_eq!(reason(&first(&back)), Reason::NewRelease);
        let asked = past(1, Reason::TrafficMoving);
        assert_eq!(reason(&next(&restored(), &asked)), Reason::Restored);
        assert!(Revert::safe_point(&plan(), &in_flight()));
    }
}
