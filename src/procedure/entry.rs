//! The journal of one step: what was intended, what was observed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::Finding;
use crate::target::effect::{EffectKind, Outcome};

/// What is on record of one step of a rollback.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The step's name.
    pub step: String,
    /// How far it is.
    pub phase: StepPhase,
    /// How many changes it asked for.
    #[serde(default)]
    pub attempts: i64,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Since when this replica looks at it: a time in which nobody could look is not held against the workload.
    #[serde(skip)]
    pub watched: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// What it was done to already, by name, where that must not be done twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
    /// The last change that it asked for, written down before it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// When the controller was last made to look again, written down before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nudged: Option<Timestamp>,
    /// How many pods a Deployment asked for and was to ask for, written down before it was scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled: Option<Scaled>,
    /// What was observed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Finding>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum StepPhase {
    /// Its turn has not come.
    Pending,
    /// It is under way.
    Running,
    /// Its state was observed.
    Done,
    /// It could not reach its state.
    Failed,
    /// The rollback ended before its turn, or while it ran, without a failure of its own.
    Skipped,
}

/// A change that is about to be made, or was made.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// What kind of change.
    // Any text by the definition, so that one from before takes what a newer version does.
    #[schemars(with = "String")]
    pub effect: EffectKind,
    /// What it is done to, where that is not the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The workload's generation from the read on which the change was decided: its precondition.
    pub generation: i64,
    /// When the intent was written down.
    pub at: Timestamp,
    /// When the API server confirmed the change; absent where the answer was lost or the change was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Timestamp>,
    /// What was answered, where it was no change of the cluster; absent where the answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How a Deployment behind a Service was scaled.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Scaled {
    /// The Deployment.
    pub deployment: String,
    /// How many pods it asked for.
    pub from: i32,
    /// How many it was to ask for.
    pub to: i32,
}

impl Entry {
    /// A step whose turn has not come.
    #[must_use]
    pub fn pending(step: &str) -> Self {
        Self {
            step: step.to_owned(),
            phase: StepPhase::Pending,
            attempts: 0,
            started: None,
            watched: None,
            finished: None,
            done: Vec::new(),
            intent: None,
            nudged: None,
            scaled: None,
            observed: None,
        }
    }
}
