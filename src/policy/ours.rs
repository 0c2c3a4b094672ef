//! What Ripcord itself made of a workload: it is never pulled back by itself.

use std::sync::Arc;

use jiff::Timestamp;

use super::guard::Facts;
use crate::rollback::{Phase, Rollback};
use crate::target::Release;
use crate::target::effect::EffectKind;

/// A state of the workload that Ripcord made, or found and proved.
#[derive(Clone, Debug)]
pub struct Ours<'a> {
    /// The release that takes the traffic.
    pub serves: Release,
    /// Since when it should show its effect.
    pub since: Timestamp,
    /// The rollback that made it, while its object exists.
    pub rollback: Option<&'a Rollback>,
    /// Whether its owner brought it after an abort: nobody proved it, and once it has had time to settle it is like any other.
    pub by_owner: bool,
}

impl Facts<'_> {
    /// The rollback that made the live release or aborted it, if Ripcord did, and when that was seen.
    #[must_use]
    pub fn ours(&self, live: &Release) -> Option<Ours<'_>> {
        self.aborted(live).or_else(|| self.made(live))
    }

    /// The live release is one that Ripcord restored.
    fn made(&self, live: &Release) -> Option<Ours<'_>> {
        // What a drill put back was there before: it is nothing that was made.
        let by_run = self.rollbacks.iter().rev().find(|rollback| {
            let (from, to) = (rollback.from(), rollback.to());
            !rollback.spec.drill
                && rollback.phase().ended()
                && rollback.touched()
                && to.is_some_and(|to| to.uid == live.uid && to.hash == live.hash)
                // The restore gave the template the next revision: a later one was somebody else's deploy.
                && from.is_some_and(|from| live.revision == from.revision + 1)
        });
        let remembered = self.memory.and_then(|memory| memory.status.as_ref());
        let made = remembered.and_then(|status| status.made(&live.hash, live.revision));
        let serves = live.clone();
        match (by_run, made) {
            (_, Some(made)) => {
                let rollback = self
                    .rollbacks
                    .iter()
                    .find(|rollback| rollback.name() == made.rollback);
                let proved = rollback.and_then(|rollback| proved(rollback));
                Some(Ours {
                    serves,
                    since: proved.unwrap_or(made.at).max(made.at),
                    rollback: rollback.map(Arc::as_ref),
                    by_owner: false,
                })
            }
            (Some(rollback), None) => Some(Ours {
                serves,
                since: proved(rollback)?,
                rollback: Some(rollback),
                by_owner: asked_to_abort(rollback),
            }),
            (None, None) => None,
        }
    }

    /// The live release is in the spec alone: a rollback aborted it, or found it aborted and proved the stable one. Its object
    /// lasts as long as that, because the workload still runs what it is about.
    fn aborted(&self, live: &Release) -> Option<Ours<'_>> {
        let rollout = self.rollout.filter(|rollout| rollout.is_aborted())?;
        let rollback = self.rollbacks.iter().rev().find(|rollback| {
            let about = |from: &Release| {
                from.uid == live.uid && from.hash == live.hash && from.revision == live.revision
            };
            !rollback.spec.drill
                && rollback.phase().ended()
                && (asked_to_abort(rollback) || rollback.phase() == Phase::Succeeded)
                && rollback.from().is_some_and(about)
                && rollback.to().is_some_and(|to| to.hash == rollout.stable)
        })?;
        Some(Ours {
            serves: rollback.to()?.clone(),
            // It may have been aborted again since.
            since: proved(rollback).max(rollout.aborted_at)?,
            rollback: Some(rollback),
            by_owner: false,
        })
    }
}

/// Whether a rollback asked for an abort.
fn asked_to_abort(rollback: &Rollback) -> bool {
    let state = rollback.state();
    let mut intents = state.run.steps.iter().filter_map(|it| it.intent.as_ref());
    intents.any(|intent| intent.effect == EffectKind::Abort)
}

/// When a rollback was proved, or ended.
fn proved(rollback: &Rollback) -> Option<Timestamp> {
    let run = &rollback.status.as_ref()?.run;
    run.healthy.or(run.finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Decision;
    use crate::policy::decision::tests::{World, after_success, alert, rollback, second, world};
    use crate::procedure::{Entry, Intent};
    use crate::reason::Reason;
    use crate::target::snapshot::tests::{in_flight, restored};

    /// The rollback that aborted `bad` (r2) ended at second 960 in this phase; the spec still holds `bad`.
    fn after_abort(phase: Phase, touched: bool) -> World {
        let mut world = after_success();
        world.at = in_flight();
        let rollout = world.at.rollout.as_mut().unwrap();
        (rollout.aborted, rollout.aborted_at) = (true, Some(second(953)));
        let mut done = Rollback::clone(&world.rollbacks[0]);
        let status = done.status.as_mut().unwrap();
        status.phase = phase;
        status.reason = Some(Reason::Done.into());
        status.run.first_mutation = touched.then(|| second(952));
        let mut step = Entry::pending("revert");
        step.intent = touched.then(|| Intent {
            effect: EffectKind::Abort,
            of: None,
            generation: 2,
            at: second(952),
            confirmed: Some(second(952)),
            outcome: None,
        });
        status.run.steps = vec![step];
        world.rollbacks = vec![Arc::new(done)];
        world
    }

    fn reason(world: &World, began: i64) -> Reason {
        world.decide(&alert(began)).finding().reason
    }

    #[test]
    fn what_was_aborted_is_not_started_on_again_although_the_spec_still_holds_it() {
        // Also where a person had aborted it, and it was proved.
        for touched in [true, false] {
            let mut world = after_abort(Phase::Succeeded, touched);
            assert_eq!(reason(&world, 950), Reason::Duplicate);
            assert_eq!(reason(&world, 990), Reason::Duplicate);
            world.now = second(960 + 301);
            let Decision::Persist { rollback, finding } = world.decide(&alert(950)) else {
                panic!()
            };
            assert_eq!(rollback, "x-r2-bad");
            assert_eq!(finding.reason, Reason::StillFiring);
            assert!(
                finding.said.contains("r3 good was proved"),
                "{}",
                finding.said
            );
            world.now = second(2000);
            assert_eq!(reason(&world, 1990), Reason::ReleaseIsOurs);
        }
        let failed = after_abort(Phase::Failed, true);
        assert_eq!(reason(&failed, 950), Reason::Duplicate);
    }

    #[test]
    fn an_abort_that_came_later_is_judged_by_its_own_time() {
        let mut world = after_abort(Phase::Succeeded, true);
        world.at.rollout.as_mut().unwrap().aborted_at = Some(second(1980));
        world.now = second(2000);
        assert_eq!(reason(&world, 1975), Reason::Duplicate);
    }

    #[test]
    fn what_the_owner_brings_after_an_abort_is_not_ours() {
        let mut world = after_abort(Phase::Succeeded, true);
        world.at = restored();
        world.at.rollout.as_mut().unwrap().revision = 3;
        world.now = second(1000);
        assert_eq!(reason(&world, 950), Reason::Duplicate);
        world.now = second(2000);
        let reason = reason(&world, 1990);
        assert!(
            !matches!(reason, Reason::ReleaseIsOurs | Reason::StillFiring),
            "{reason:?}"
        );
    }

    #[test]
    fn an_alert_that_names_what_was_aborted_is_about_that() {
        let mut world = after_abort(Phase::Succeeded, true);
        world.now = second(2000);
        let mut named = alert(1990);
        named.release_hash = Some("bad".into());
        let finding = world.decide(&named).finding();
        assert_eq!(finding.reason, Reason::Duplicate);
        assert!(finding.said.contains("names bad, which was pulled back"));
    }

    #[test]
    fn an_update_that_goes_on_is_nobodys() {
        // A person took the abort back.
        let mut again = after_abort(Phase::Succeeded, true);
        again.at.rollout.as_mut().unwrap().aborted = false;
        assert_eq!(reason(&again, 990), Reason::Claimed);
        // The next deploy of the same template is another release.
        let mut deployed = after_abort(Phase::Succeeded, true);
        deployed.at.rollout.as_mut().unwrap().revision = 4;
        assert_eq!(reason(&deployed, 990), Reason::Claimed);
        // Nobody but a person aborted it, and nobody has proved that.
        let mut unproved = world().with(rollback(1, Phase::Declined));
        unproved.at = after_abort(Phase::Succeeded, true).at;
        assert_eq!(reason(&unproved, 990), Reason::Claimed);
    }
}
