//! `restart`: every destination pod is from after the step's beginning, so that none remembers what was in a cache before.
//!
//! It is done in the workload's own way: a Rollout's controller is given a moment before which no pod is to be left, and
//! keeps the template; a Deployment's template gets the annotation that kubectl writes, and the same release goes on under
//! another hash. The moment follows from the step's own beginning, which is on record before anything is asked for: it is
//! the same each time, so that a restart happens once. It cannot be fixed any earlier: pods that the restore started
//! before the flush would count as new. What GitOps owns is not restarted: that would write to its spec.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::revert::await_look;
use super::step::{Journey, Next, OWN_TEMPLATE, Step, is_over, of_service, there};
use crate::reason::{Finding, Reason};
use crate::target::snapshot::pods_text;
use crate::target::{Effect, Release, Sighting, Snapshot, Target, restart};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// How long the step may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    to: Release,
    operation: String,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(120),
        }
    }
}

impl Step for Restart {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        if self.lacks(target).is_some() {
            let said = "the step `restart` writes to a template, and those behind a Service are left alone";
            return Err(Reason::NotApplicable.because(said));
        }
        if let Some(owner) = &journey.owner {
            let said = format!("the step `restart` would write to the spec, which is {owner}'s");
            return Err(Reason::OwnedElsewhere.because(said));
        }
        Ok(Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            within: self.within,
        })
    }

    /// It writes to a template, and the templates behind a Service are left alone.
    fn lacks(&self, target: &Target) -> Option<String> {
        of_service(target).then(|| OWN_TEMPLATE.to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let moment = restart::moment(past.started.unwrap_or(now));
        let asked = rollout.restart_at.is_some_and(|at| at >= moment);
        let old = at.not_restarted(&plan.to, hash).len();
        let wanted = usize::try_from(rollout.replicas).unwrap_or(0);
        let new = at
            .pods_of(hash)
            .count()
            .saturating_sub(if hash == plan.to.hash { old } else { 0 });
        if asked && rollout.observed && old == 0 && new >= wanted {
            let said = format!("all {} are from after {moment}", pods_text(new));
            return Next::Done(Reason::Restarted.because(said));
        }
        let said = if asked {
            format!("{new} of {wanted} pods are from after {moment}, {old} from before")
        } else {
            format!("the restart at {moment} is not asked for yet")
        };
        if is_over(plan.within, past, now) {
            return Next::Fail(Reason::StepTimeout.because(format!(
                "{said}, after {:?}; the workload is {} {}",
                plan.within, rollout.phase, rollout.message
            )));
        }
        if rollout.paused {
            return Next::Wait(Reason::Paused.because("the workload is paused by its spec"));
        }
        if !rollout.observed {
            let said = format!("generation {} is not observed yet", rollout.generation);
            return await_look(rollout, &said, past, now);
        }
        if asked {
            return Next::Wait(Reason::Restarting.because(said));
        }
        Next::Do(Effect::Restart { at: moment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procedure::Intent;
    use crate::rollback::history::tests::target;
    use crate::target::effect::EffectKind;
    use crate::target::restart::tests::restarted_deployment;
    use crate::target::snapshot::tests::{promoted, restored};

    fn plan() -> Plan {
        Plan {
            to: Release {
                uid: "uid".into(),
                revision: 1,
                hash: "good".into(),
                images: vec![],
            },
            operation: "op".into(),
            within: Duration::from_secs(60),
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    /// The step began at second 100.
    fn next(at: &Snapshot, now: i64) -> Next {
        let mut past = Entry::pending("restart");
        past.started = Some(second(100));
        Restart::next(&plan(), at, &[], &past, second(now))
    }

    /// A Rollout whose restart is asked for, with pods of these seconds.
    fn rollout(created: [i64; 3]) -> Snapshot {
        let mut at = restored();
        at.rollout.as_mut().unwrap().restart_at = Some(second(101));
        for (pod, created) in at.pods.iter_mut().zip(created) {
            pod.created = Some(second(created));
        }
        at
    }

    #[test]
    fn the_moment_is_the_same_whoever_asks_and_however_late() {
        for now in [100, 130] {
            assert_eq!(
                next(&restored(), now),
                Next::Do(Effect::Restart { at: second(101) })
            );
        }
        // It took effect and nobody got the answer: it is not asked for again.
        let mut past = Entry::pending("restart");
        past.started = Some(second(100));
        past.attempts = 1;
        past.intent = Some(Intent {
            effect: EffectKind::Restart,
            of: None,
            generation: 3,
            at: second(100),
            confirmed: None,
            outcome: None,
        });
        let at = rollout([50, 50, 101]);
        let Next::Wait(finding) = Restart::next(&plan(), &at, &[], &past, second(110)) else {
            panic!()
        };
        assert_eq!(
            finding.said,
            "1 of 3 pods are from after 1970-01-01T00:01:41Z, 2 from before"
        );
    }

    #[test]
    fn a_rollout_is_restarted_when_all_its_pods_are_young() {
        let Next::Done(finding) = next(&rollout([101, 102, 103]), 120) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::Restarted);
        let mut fewer = rollout([101, 102, 103]);
        fewer.pods.pop();
        assert!(matches!(next(&fewer, 120), Next::Wait(_)));
    }

    #[test]
    fn a_deployment_is_restarted_when_only_pods_of_the_new_hash_are_left() {
        let mut at = restarted_deployment();
        at.rollout.as_mut().unwrap().restart_at = Some(second(101));
        at.pods[2].hash = "good".into();
        let Next::Wait(finding) = next(&at, 120) else {
            panic!()
        };
        assert!(finding.said.starts_with("2 of 3 pods"), "{}", finding.said);
        at.pods[2].hash = "again".into();
        assert!(matches!(next(&at, 120), Next::Done(_)));
    }

    #[test]
    fn what_does_not_finish_says_what_is_left() {
        let Next::Fail(finding) = next(&rollout([50, 101, 102]), 160) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::StepTimeout);
        assert!(
            finding.said.contains("2 of 3 pods") && finding.said.contains("1 from before"),
            "{}",
            finding.said
        );
    }

    #[test]
    fn a_pause_is_somebodys_wish_and_another_release_wins() {
        let mut paused = restored();
        paused.rollout.as_mut().unwrap().paused = true;
        assert!(matches!(next(&paused, 101), Next::Wait(_)));
        assert!(matches!(next(&promoted(), 101), Next::Yield(_)));
        let mut unobserved = rollout([50, 50, 50]);
        unobserved.rollout.as_mut().unwrap().observed = false;
        assert_eq!(next(&unobserved, 103), Next::Do(Effect::Nudge));
    }

    #[test]
    fn what_gitops_owns_is_not_planned() {
        let journey = Journey {
            operation: "op".into(),
            from: plan().to,
            to: plan().to,
            served: true,
            owner: Some("Argo CD".into()),
        };
        let planned = Restart::default().plan(&target(), &journey, &restored());
        assert_eq!(planned.unwrap_err().reason, Reason::OwnedElsewhere);
    }
}
