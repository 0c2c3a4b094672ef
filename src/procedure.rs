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
pub mod step;
pub mod wait_ready;

use std::time::Duration;

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
