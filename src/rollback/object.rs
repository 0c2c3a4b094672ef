//! The `Rollback` object: the request, and everything that was done and seen.
//!
//! Its name is the lock (see [`name`](super::name)). The spec is the request and never changes; the status has four
//! writers with a subtree each: the engine (`phase`, `plan`, `run`), intake (`alerts`), the report (`report`) and the looks
//! after the end (`after`).
//! The spec carries *what* is wanted, never steps, addresses or commands: creating one gives nobody more power.

mod approval;
mod reading;
mod report;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::approval::{Approval, Asked, Verdict};
pub use self::report::{NoticeReport, Report, SlackReport};
use super::after::After;
use super::phase::Phase;
use crate::alert::Severity;
use crate::procedure::{Entry, StepPlan};
use crate::reason::Finding;
use crate::target::{Kind, Release};

/// How many alerts one rollback lists; the rest are counted.
pub const LISTED_ALERTS: usize = 50;

/// The request for a rollback.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ripcord.dev",
    version = "v1alpha1",
    kind = "Rollback",
    plural = "rollbacks",
    shortname = "rb",
    category = "ripcord",
    namespaced,
    status = "RollbackStatus",
    derive = "PartialEq",
    doc = "One run of a procedure that takes a target away from a release",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Sev", type_ = "string", json_path = ".spec.severity"),
    printcolumn(
        name = "Procedure",
        type_ = "string",
        json_path = ".status.plan.procedure"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason.reason",
        priority = "1"
    ),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.run.progress"),
    printcolumn(name = "From", type_ = "string", json_path = ".status.run.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".status.run.to"),
    printcolumn(
        name = "Recovery",
        type_ = "string",
        json_path = ".status.run.recovery"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.target == oldSelf.target && self.drill == oldSelf.drill && self.severity == oldSelf.severity && self.mode == oldSelf.mode && self.alerts == oldSelf.alerts && self.alertsOmitted == oldSelf.alertsOmitted && has(self.release) == has(oldSelf.release) && (!has(self.release) || self.release == oldSelf.release) && has(self.procedure) == has(oldSelf.procedure) && (!has(self.procedure) || self.procedure == oldSelf.procedure) && has(self.trigger) == has(oldSelf.trigger) && (!has(self.trigger) || self.trigger == oldSelf.trigger) && has(self.parent) == has(oldSelf.parent) && (!has(self.parent) || self.parent == oldSelf.parent) && has(self.rung) == has(oldSelf.rung) && (!has(self.rung) || self.rung == oldSelf.rung) && has(self.reason) == has(oldSelf.reason) && (!has(self.reason) || self.reason == oldSelf.reason) && has(self.requestedBy) == has(oldSelf.requestedBy) && (!has(self.requestedBy) || self.requestedBy == oldSelf.requestedBy) && has(self.received) == has(oldSelf.received) && (!has(self.received) || self.received == oldSelf.received) && has(self.trace) == has(oldSelf.trace) && (!has(self.trace) || self.trace == oldSelf.trace) && has(self.unplaced) == has(oldSelf.unplaced) && (!has(self.unplaced) || self.unplaced == oldSelf.unplaced)").message("the request of a rollback never changes; only `cancel` and `approval` can be set, once"),
    validation = Rule::new("!has(oldSelf.approval) || (has(self.approval) && self.approval == oldSelf.approval)").message("`approval` is set once and stays"),
    validation = Rule::new("!has(oldSelf.cancel) || (has(self.cancel) && self.cancel == oldSelf.cancel)").message("`cancel` is set once and stays")
)]
pub struct RollbackSpec {
    /// The target, as the policy names it.
    #[schemars(length(min = 1, max = 253))]
    pub target: String,
    /// The release to get away from; the live one where a person leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The procedure that the first alerts asked for; the severity's own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<String>,
    /// The trigger that asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The severity of the first request.
    #[serde(default = "default_severity")]
    pub severity: Severity,
    /// Whether it may act.
    #[serde(default)]
    pub mode: Mode,
    /// The alerts that asked first, most severe first; at most 50 are listed.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub alerts: Vec<AlertRecord>,
    /// How many more alerts asked at the same time than are listed.
    #[serde(default)]
    pub alerts_omitted: i64,
    /// When the first of them was received; the object's creation where a person leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Timestamp>,
    /// The rollback of the same release that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Which rung of the ladder it is, where it follows a rollback whose revert failed: 1 for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub rung: Option<i64>,
    /// Why a person wants it, or why it follows another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who wants it, as they say themselves; Kubernetes decides who may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub requested_by: Option<String>,
    /// Whether it is a drill: it takes a target away from a release that a drill made, back to the one from before. Nothing is
    /// blamed by it, remembered as made, or latched.
    #[serde(default)]
    pub drill: bool,
    /// Why the alerts lead to no workload: then it is a record for people, and nothing can come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced: Option<Finding>,
    /// The W3C trace context in which it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub trace: Option<String>,
    /// Stops the rollback at the next safe point. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// A person's answer where one is asked for. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Whether a rollback may act.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Plan, record and tell; touch nothing.
    Shadow,
    /// Plan, record and tell; run once a person has approved.
    Ask,
    /// Run.
    #[default]
    Act,
}

/// A person's wish to stop.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Cancel {
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// One firing of one alert, as a rollback remembers it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRecord {
    /// Alertmanager's fingerprint of its labels.
    pub fingerprint: String,
    /// `alertname`.
    pub name: String,
    /// When it began to fire.
    pub began: Timestamp,
    /// When it was received.
    pub received: Timestamp,
    /// What the trigger made of it.
    pub severity: Severity,
    /// The trigger.
    pub trigger: String,
    /// The procedure that it asks for.
    pub procedure: String,
    /// The release that it names, where its labels name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_hash: Option<String>,
    /// Its summary, cut to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Its runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it ended, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// What was done and seen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct RollbackStatus {
    /// How far it is.
    pub phase: Phase,
    /// Why it is there, and what was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Finding>,
    /// The frozen plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The journal of the run.
    pub run: Run,
    /// The alerts that joined, and the ends of all of them.
    pub alerts: Alerts,
    /// What people were told.
    pub report: Report,
    /// What was seen of the release after the end.
    pub after: After,
}

/// The plan: resolved once, before anything is touched.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// When it was made.
    pub made: Timestamp,
    /// The procedure.
    pub procedure: String,
    /// The most severe alert's severity when it was made.
    pub severity: Severity,
    /// The recovery-time budget, in seconds.
    pub budget_seconds: f64,
    /// The release to get away from.
    pub from: Release,
    /// The release to return to.
    pub to: Release,
    /// Why that one.
    pub chosen: String,
    /// The workload's name; it is in the rollback's own namespace.
    pub workload: String,
    /// The workload's kind.
    #[serde(default)]
    pub kind: Kind,
    /// The Deployments behind it, where it is a Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<String>,
    /// How long the run may take before it is given up, in seconds.
    pub give_up_seconds: f64,
    /// Whether any Service sent traffic to the workload when the plan was made.
    pub served: bool,
    /// Who owns the workload's spec, where the update in flight is aborted and the spec left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The procedure that is tried where the revert fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<String>,
    /// The steps.
    #[schemars(schema_with = "opaque_list")]
    pub steps: Vec<StepPlan>,
}

/// The journal of a run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct Run {
    /// The term of the leader that may write; each new leader raises it first.
    pub epoch: i64,
    /// How many times the journal was written in this run.
    pub seq: i64,
    /// Who holds the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Steps done of all, such as `1/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The release left, such as `r7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The release returned to, such as `r6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// From the receipt of the alert until the service was healthy, such as `1.9s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// That a person is asked, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// When the first step began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When the API server confirmed the first change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_mutation: Option<Timestamp>,
    /// When all traffic was first seen on the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_back: Option<Timestamp>,
    /// When the last step was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Timestamp>,
    /// When the budget was exceeded while the run went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_budget: Option<Timestamp>,
    /// When it was given up although it could not be ended safely: the promotion is still re-asserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// What state the release was in at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// One entry a step.
    pub steps: Vec<Entry>,
}

/// The alerts that joined after the claim, and the ends of all of them. Written by intake.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct Alerts {
    /// Raised by every write, and tested by it and by the plan.
    pub seq: i64,
    /// Alerts that joined, and first ones once they ended.
    pub items: Vec<AlertRecord>,
    /// How many joined beyond those listed.
    pub omitted: i64,
    /// Since when an alert is known to fire on although the destination was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persisting: Option<Persisting>,
}

/// An alert that a rollback did not mend.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Persisting {
    /// When it was noticed.
    pub noticed: Timestamp,
    /// Which alert, and why it counts.
    pub finding: Finding,
}

// === impl Mode ===

impl Mode {
    /// Whether anything can be changed by it, be it after an approval.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::Shadow)
    }

    /// The mode as it stands in the policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Ask => "ask",
            Self::Act => "act",
        }
    }
}

// === impl RollbackSpec ===

fn default_severity() -> Severity {
    Severity::P1
}

/// A list whose items the API server keeps as they are: their shape belongs to the steps.
fn opaque_list(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}
