//! Named, ordered lists of steps. Each step is one file: a pure state machine that says what should happen next.
//!
//! A step looks at a [`Snapshot`](crate::target::Snapshot) and answers with a [`Next`]; it never calls anybody. What
//! it needs is resolved once, when the plan is made, and frozen in its plan.

pub mod entry;
pub mod exec;
pub mod flush_redis;
pub mod gone;
pub mod healthy;
pub mod http;
pub mod metric;
pub mod pause;
pub mod restart;
pub mod restore_image;
pub mod revert;
pub mod scale;
pub mod step;
pub mod switch_service;
pub mod wait_ready;

use std::time::Duration;

use crate::reason::{Finding, Reason};
use crate::target::Target;

pub use entry::{Entry, Intent, StepPhase};
pub use step::{Journey, Next, StepPlan, StepSpec};

/// The procedure that severities P0 and P1 run unless the policy says otherwise.
pub const BUILT_IN: &str = "revert-and-prove";
/// What stands in place of a procedure's name where an alert is answered and counted, and nothing is done.
pub const NOTE: &str = "note";

/// An ordered list of steps with a recovery-time budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Procedure {
    /// Its name in the policy.
    pub name: String,
    /// How long it should take from the receipt of the alert until the service is healthy. Measured and reported,
    /// never enforced: a rollback that is late is still better than a bad release.
    pub budget: Duration,
    /// Whether a person must approve it each time.
    pub approval: bool,
    /// The procedure that is tried where its revert fails.
    pub escalate_to: Option<String>,
    /// The steps, in order.
    pub steps: Vec<StepSpec>,
}

impl Procedure {
    /// Revert the workload, then prove it: what every policy can use without declaring it.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            name: BUILT_IN.to_owned(),
            budget: Duration::from_secs(30),
            approval: false,
            escalate_to: None,
            steps: vec![
                StepSpec::Revert(revert::Revert {}),
                StepSpec::Healthy(healthy::Healthy::default()),
            ],
        }
    }

    /// Whether it can bring a release up of which no replica set is left.
    #[must_use]
    pub fn brings_up(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| matches!(step, StepSpec::RestoreImage(_)))
    }

    /// The names of the target's commands that it runs in pods.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(StepSpec::command)
    }

    /// Why it cannot be run on a target although each of its steps could, if it cannot: behind a Service, what was left runs on, so
    /// that it has to be scaled down before anything waits until it is gone.
    #[must_use]
    pub fn unfit(&self, target: &Target) -> Option<Finding> {
        let to_zero =
            |step: &StepSpec| matches!(step, StepSpec::Scale(scale) if scale.replicas == 0);
        let mut steps = self.steps.iter();
        let gone = steps.position(|step| matches!(step, StepSpec::Gone(_)))?;
        let waits = !self.steps.iter().take(gone).any(to_zero);
        (step::of_service(target) && waits).then(|| {
            Reason::NotApplicable.because(format!(
                "procedure `{}` waits in vain: behind a Service, the pods that were left run on until they are scaled down",
                self.name
            ))
        })
    }

    /// The names of the steps, for people.
    #[must_use]
    pub fn outline(&self) -> String {
        self.steps
            .iter()
            .map(StepSpec::label)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::history::tests::target;
    use crate::target::Kind;

    #[test]
    fn behind_a_service_nothing_waits_for_pods_that_run_on() {
        let mut target = target();
        let procedure = |scaled: Option<i32>| {
            let within = Duration::from_secs(60);
            let scale = scaled.map(|replicas| StepSpec::Scale(scale::Scale { replicas, within }));
            let mut procedure = Procedure::built_in();
            procedure.steps.extend(scale);
            procedure.steps.push(StepSpec::Gone(gone::Gone::default()));
            procedure
        };
        assert_eq!(procedure(None).unfit(&target), None);
        target.workload.kind = Kind::Service;
        assert_eq!(procedure(Some(0)).unfit(&target), None);
        for waits in [procedure(None), procedure(Some(1))] {
            let unfit = waits.unfit(&target).unwrap();
            assert_eq!(unfit.reason, Reason::NotApplicable);
        }
        assert_eq!(Procedure::built_in().unfit(&target), None);
    }
}
