//! `wait-ready`: the workload has all the pods that it asks for, and they are available, as `kubectl rollout status` has it.
//!
//! It says that pods are there, not that they answer well: that is `healthy`. It changes nothing; where the controller of
//! Rollouts has not noted the end of a restart, it is made to look again.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::revert::await_look;
use super::step::{Journey, Next, Step, is_over, there};
use crate::reason::{Finding, Reason};
use crate::target::{Release, Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WaitReady {
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

impl Default for WaitReady {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(120),
        }
    }
}

impl Step for WaitReady {
    type Plan = Plan;

    fn plan(&self, _target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        Ok(Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            within: self.within,
        })
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let wanted = usize::try_from(rollout.replicas).unwrap_or(0);
        let ready = at.pods_of(hash).filter(|pod| pod.ready).count();
        let available = at.replica_set(hash).map_or(0, |set| set.available);
        // An update that was aborted stays Degraded for ever: its stable release is judged by its pods alone.
        let settled = rollout.phase == "Healthy" || rollout.is_aborted();
        let said = format!(
            "{ready} of {wanted} pods are ready and {available} available, the workload is {} {}",
            rollout.phase, rollout.message
        );
        let said = said.trim_end().to_owned();
        let enough = ready >= wanted && available >= rollout.replicas;
        if rollout.observed && enough && settled {
            return Next::Done(Reason::Ready.because(said));
        }
        if is_over(plan.within, past, now) {
            let said = format!("{said}, after {:?}", plan.within);
            return Next::Fail(Reason::StepTimeout.because(said));
        }
        if rollout.observed && enough && at.restart_is_unnoted() {
            let said = format!("{said}, and the end of the restart is not noted yet");
            return await_look(rollout, &said, past, now);
        }
        Next::Wait(Reason::PodsStarting.because(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Effect;
    use crate::target::restart::tests::restarted_deployment;
    use crate::target::snapshot::Pod;
    use crate::target::snapshot::tests::{promoted, restored};

    fn next(at: &Snapshot, now: i64) -> Next {
        let plan = Plan {
            to: Release {
                uid: "uid".into(),
                revision: 1,
                hash: "good".into(),
                images: vec![],
            },
            operation: "op".into(),
            within: Duration::from_secs(60),
        };
        let mut past = Entry::pending("wait-ready");
        past.started = Some(Timestamp::UNIX_EPOCH);
        WaitReady::next(&plan, at, &[], &past, Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn it_is_done_when_all_pods_are_ready_and_the_workload_is_healthy() {
        assert!(matches!(next(&restored(), 0), Next::Done(_)));
        let mut at = restored();
        at.rollout.as_mut().unwrap().phase = "Progressing".into();
        assert!(matches!(next(&at, 0), Next::Wait(_)));
        let mut at = restored();
        at.rollout.as_mut().unwrap().observed = false;
        assert!(matches!(next(&at, 0), Next::Wait(_)));
    }

    #[test]
    fn the_controller_is_made_to_note_the_end_of_a_restart() {
        let mut at = restored();
        let rollout = at.rollout.as_mut().unwrap();
        rollout.phase = "Progressing".into();
        rollout.message = "rollout is restarting".into();
        rollout.restart_at = Some(Timestamp::UNIX_EPOCH);
        for pod in &mut at.pods {
            pod.created = Some(Timestamp::UNIX_EPOCH);
        }
        let Next::Wait(finding) = next(&at, 1) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::ControllerLag);
        assert_eq!(
            finding.said,
            "3 of 3 pods are ready and 3 available, the workload is Progressing rollout is restarting, and the end of the restart is not noted yet"
        );
        assert_eq!(next(&at, 2), Next::Do(Effect::Nudge));
        // Not while another look would find the same.
        let mut stopping = at.clone();
        stopping.pods.push(Pod {
            created: Some(Timestamp::from_second(-1).unwrap()),
            deleting: true,
            ..stopping.pods[0].clone()
        });
        let mut starting = at.clone();
        starting.replica_sets[0].available = 2;
        at.rollout.as_mut().unwrap().restarted_at = Some(Timestamp::UNIX_EPOCH);
        for at in [at, stopping, starting] {
            let Next::Wait(finding) = next(&at, 2) else {
                panic!()
            };
            assert_eq!(finding.reason, Reason::PodsStarting);
        }
    }

    #[test]
    fn it_fails_in_its_time_and_says_how_many_are_ready() {
        let mut at = restored();
        at.pods[0].ready = false;
        at.replica_sets[0].available = 2;
        let Next::Fail(finding) = next(&at, 60) else {
            panic!()
        };
        assert_eq!(
            finding.said,
            "2 of 3 pods are ready and 2 available, the workload is Healthy, after 60s"
        );
    }

    #[test]
    fn the_pods_of_a_restarted_deployment_are_those_of_its_new_hash() {
        let mut at = restarted_deployment();
        assert!(matches!(next(&at, 0), Next::Wait(_)));
        at.pods[2].hash = "again".into();
        assert!(matches!(next(&at, 0), Next::Done(_)));
    }

    #[test]
    fn what_was_aborted_is_judged_by_its_pods() {
        let mut at = restored();
        let rollout = at.rollout.as_mut().unwrap();
        rollout.current = "bad".into();
        rollout.phase = "Degraded".into();
        (rollout.aborted, rollout.aborted_at) = (true, Some(Timestamp::UNIX_EPOCH));
        assert!(matches!(next(&at, 0), Next::Done(_)));
    }

    #[test]
    fn another_release_wins() {
        assert!(matches!(next(&promoted(), 0), Next::Yield(_)));
    }
}
