//! `scale`: the Deployment that was left behind a Service asks for no more than so many pods.
//!
//! It never scales up, and never what serves: all traffic has to be on the destination. What holds another release by now is
//! somebody's, and left alone. That the step stands in a procedure, with its number, is the consent to it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, SERVICE, Step, is_over, of_service, there};
use super::switch_service::scale;
use crate::reason::{Finding, Reason};
use crate::target::workload::Strategy;
use crate::target::{Release, Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// How many pods it may still ask for.
    pub replicas: i32,
    /// How long the step may take.
    #[serde(default = "Scale::default_within", with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    operation: String,
    from: Release,
    to: Release,
    /// The Deployment that is left.
    deployment: String,
    uid: String,
    /// How many pods it asked for when the plan was made.
    found: i32,
    replicas: i32,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Scale {
    fn default_within() -> Duration {
        Duration::from_secs(60)
    }
}

impl Step for Scale {
    type Plan = Plan;

    fn plan(&self, _target: &Target, journey: &Journey, at: &Snapshot) -> Result<Plan, Finding> {
        let rollout = at.rollout.as_ref().ok_or(Reason::WorkloadMissing)?;
        let left = match &rollout.strategy {
            Strategy::Colours(colours) => colours.of(&journey.from.hash),
            _ => None,
        };
        let Some(left) = left else {
            let said = "no Service selects between Deployments there";
            return Err(Reason::NotApplicable.because(said));
        };
        Ok(Plan {
            operation: journey.operation.clone(),
            from: journey.from.clone(),
            to: journey.to.clone(),
            deployment: left.name.clone(),
            uid: left.uid.clone(),
            found: left.replicas,
            replicas: self.replicas,
            within: self.within,
        })
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        (!of_service(target)).then(|| SERVICE.to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let Strategy::Colours(colours) = &rollout.strategy else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        let wait = |finding: Finding| {
            if is_over(plan.within, past, now) {
                let said = format!("{} after {:?}", finding.said, plan.within);
                return Next::Fail(Reason::StepTimeout.because(said));
            }
            Next::Wait(finding)
        };
        let Some(left) = colours.named(&plan.deployment, &plan.uid) else {
            let said = format!("Deployment {} was deleted", plan.deployment);
            return Next::Done(Reason::Scaled.because(said));
        };
        let name = &left.name;
        if !rollout.observed || !left.observed {
            let said = format!("the latest change of Deployment {name} is not observed yet");
            return wait(Reason::ControllerLag.because(said));
        }
        if left.hash != plan.from.hash {
            let said = format!(
                "Deployment {name} holds {} by now: it is left alone",
                left.hash
            );
            return Next::Done(Reason::AlreadyThere.because(said));
        }
        if left.replicas <= plan.replicas {
            let before = past.scaled.as_ref().map_or(plan.found, |it| it.from);
            let said = format!(
                "Deployment {name} asks for {} pods, and asked for {before} before",
                left.replicas
            );
            return Next::Done(Reason::Scaled.because(said));
        }
        if let Err(moving) = at.traffic_on(hash, true) {
            return wait(moving);
        }
        scale(left, plan.replicas, past)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procedure::Intent;
    use crate::procedure::entry::Scaled;
    use crate::target::colours::tests::looking;
    use crate::target::effect::EffectKind;
    use crate::target::{Effect, Snapshot};

    fn release(colour: &str, revision: i64) -> Release {
        Release {
            uid: "uid".into(),
            revision,
            hash: format!("hash-{colour}"),
            images: vec![],
        }
    }

    fn plan() -> Plan {
        let journey = Journey {
            operation: "op".into(),
            from: release("green", 2),
            to: release("blue", 1),
            served: true,
            owner: None,
        };
        let step = Scale {
            replicas: 0,
            within: Duration::from_secs(60),
        };
        let target = crate::rollback::history::tests::target();
        step.plan(&target, &journey, &looking("green", 3, 4))
            .unwrap()
    }

    fn next(at: &Snapshot, past: &Entry, now: i64) -> Next {
        Scale::next(&plan(), at, &[], past, Timestamp::from_second(now).unwrap())
    }

    fn begun() -> Entry {
        let mut past = Entry::pending("scale");
        past.started = Some(Timestamp::UNIX_EPOCH);
        past
    }

    /// The change was on record, and confirmed or not.
    fn asked(confirmed: bool) -> Entry {
        let mut past = begun();
        past.attempts = 1;
        past.scaled = Some(Scaled {
            deployment: "x-green".into(),
            from: 4,
            to: 0,
        });
        past.intent = Some(Intent {
            effect: EffectKind::Scale,
            generation: 50,
            at: Timestamp::UNIX_EPOCH,
            confirmed: confirmed.then_some(Timestamp::UNIX_EPOCH),
            outcome: None,
            of: None,
        });
        past
    }

    #[test]
    fn what_was_left_is_scaled_down_once_the_destination_serves() {
        let Next::Do(Effect::Scale {
            deployment,
            from,
            to,
            ..
        }) = next(&looking("blue", 3, 4), &begun(), 0)
        else {
            panic!()
        };
        assert_eq!((deployment.as_str(), from, to), ("x-green", 4, 0));
        let Next::Done(finding) = next(&looking("blue", 3, 0), &asked(false), 1) else {
            panic!()
        };
        assert_eq!(
            finding.said,
            "Deployment x-green asks for 0 pods, and asked for 4 before"
        );
    }

    #[test]
    fn nothing_that_serves_is_scaled_down() {
        let mut at = looking("blue", 3, 4);
        at.endpoints[0].pod = "green-1".into();
        assert!(matches!(next(&at, &begun(), 0), Next::Wait(_)));
        assert!(matches!(next(&at, &begun(), 60), Next::Fail(_)));
        assert!(matches!(
            next(&looking("green", 3, 4), &begun(), 0),
            Next::Yield(_)
        ));
    }

    #[test]
    fn a_lost_answer_is_asked_again_and_somebodys_number_is_not() {
        let at = looking("blue", 3, 4);
        assert!(matches!(next(&at, &asked(false), 1), Next::Do(_)));
        let Next::Fail(finding) = next(&at, &asked(true), 1) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::Overwritten);
    }

    #[test]
    fn a_release_that_somebody_put_there_is_left_alone() {
        let mut at = looking("blue", 3, 4);
        if let Some(Strategy::Colours(colours)) = at.rollout.as_mut().map(|it| &mut it.strategy) {
            colours.all[1].hash = "new".into();
        }
        let Next::Done(finding) = next(&at, &begun(), 0) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::AlreadyThere);
    }
}
