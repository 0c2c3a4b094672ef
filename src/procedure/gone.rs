//! `gone`: no pod of the bad release runs any more, those that were told to stop included.
//!
//! A step of its own, and not a part of `revert`: traffic is back seconds before the last pod has stopped (a canary that was
//! aborted and a blue-green keep theirs for half a minute), and only what follows can be hurt by them. It changes nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step, is_over};
use crate::reason::{Finding, Reason};
use crate::target::snapshot::pods_text;
use crate::target::{Release, Sighting, Snapshot, Target};

/// How many pods are named.
const NAMED: usize = 3;

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Gone {
    /// How long the step may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    from: Release,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Default for Gone {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(120),
        }
    }
}

impl Step for Gone {
    type Plan = Plan;

    fn plan(&self, _target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        Ok(Plan {
            from: journey.from.clone(),
            within: self.within,
        })
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let rollout = at.rollout.as_ref().filter(|it| it.uid == plan.from.uid);
        let Some(rollout) = rollout else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        if rollout.observed && rollout.heading() == plan.from.hash {
            let said = format!("{} takes the traffic again", plan.from);
            return Next::Yield(Reason::NewRelease.because(said));
        }
        let Err(left) = none_left(at, &plan.from) else {
            let said = format!("no pod of {} is left", plan.from);
            return Next::Done(Reason::Gone.because(said));
        };
        if is_over(plan.within, past, now) {
            let said = format!("{} after {:?}", left.said, plan.within);
            return Next::Fail(Reason::StepTimeout.because(said));
        }
        Next::Wait(left)
    }
}

/// Whether no pod of a release runs, or will by what its replica set says.
///
/// # Errors
/// Which do.
pub(super) fn none_left(at: &Snapshot, from: &Release) -> Result<(), Finding> {
    let left = at.left_of(&from.hash);
    let counted = at.replica_set(&from.hash).map_or(0, |set| set.replicas);
    let counted = usize::try_from(counted).unwrap_or(0).max(left.len());
    if counted == 0 {
        return Ok(());
    }
    let mut names: Vec<_> = left
        .iter()
        .take(NAMED)
        .map(|pod| pod.name.as_str())
        .collect();
    if left.len() > NAMED {
        names.push("…");
    }
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join(", "))
    };
    let verb = if counted == 1 { "runs" } else { "run" };
    let said = format!("{} of {from} still {verb}{names}", pods_text(counted));
    Err(Reason::PodsRemaining.because(said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::snapshot::tests::{in_flight, pod, promoted, restored};

    fn next(at: &Snapshot, now: i64) -> Next {
        let plan = Plan {
            from: Release {
                uid: "uid".into(),
                revision: 2,
                hash: "bad".into(),
                images: vec![],
            },
            within: Duration::from_secs(60),
        };
        let mut past = Entry::pending("gone");
        past.started = Some(Timestamp::UNIX_EPOCH);
        Gone::next(&plan, at, &[], &past, Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn it_is_done_when_no_pod_is_left() {
        assert_eq!(
            next(&restored(), 0),
            Next::Done(Reason::Gone.because("no pod of r2 bad is left"))
        );
    }

    #[test]
    fn a_pod_that_stops_is_waited_for_and_named_when_the_time_is_over() {
        let mut at = restored();
        let mut stopping = pod("bad-1", "bad");
        stopping.deleting = true;
        at.pods.push(stopping);
        let said = "1 pod of r2 bad still runs (bad-1)";
        assert_eq!(
            next(&at, 59),
            Next::Wait(Reason::PodsRemaining.because(said))
        );
        let over = format!("{said} after 60s");
        assert_eq!(next(&at, 60), Next::Fail(Reason::StepTimeout.because(over)));
    }

    #[test]
    fn a_replica_set_that_still_counts_pods_is_not_gone() {
        let mut at = restored();
        at.replica_sets[1].replicas = 2;
        assert!(matches!(next(&at, 0), Next::Wait(_)));
    }

    #[test]
    fn it_does_not_wait_for_what_somebody_brought_back() {
        assert!(matches!(next(&promoted(), 0), Next::Yield(_)));
        assert!(matches!(next(&in_flight(), 0), Next::Yield(_)));
        let mut gone = restored();
        gone.rollout = None;
        assert!(matches!(next(&gone, 0), Next::Fail(_)));
    }
}
