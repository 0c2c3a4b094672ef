//! The question to people whether a rollback may run, and their answer, as they stand on its object.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The question to people whether a rollback may run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Asked {
    /// Since when.
    pub at: Timestamp,
    /// Until when an answer counts.
    pub until: Timestamp,
    /// Why somebody has to be asked.
    pub why: String,
    /// When it was let go: by an approval, or by the receipt of an alert that may act without one. The time in which a start
    /// is allowed counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
}

/// A person's answer to the question whether a rollback may run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Approval {
    /// What is answered.
    pub decision: Verdict,
    /// Who.
    #[schemars(length(min = 1, max = 253))]
    pub by: String,
    /// The pod-template hash of the destination that is approved: the approval of another one counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub to: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// When, by the clock of whoever answers. What the API server notes of the write goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What a person answers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may run.
    Approve,
    /// It must not.
    Deny,
}
