//! The `Target` object: what must be remembered of a target, longer than any rollback lives.
//!
//! Its status is written by the leader alone, with its resourceVersion; its spec is for people.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drill::{Drilled, LastDrill};
use crate::reason::Finding;

/// What people may say about a target.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ripcord.dev",
    version = "v1alpha1",
    kind = "Target",
    root = "Memory",
    plural = "targets",
    shortname = "rt",
    category = "ripcord",
    namespaced,
    status = "MemoryStatus",
    derive = "PartialEq",
    doc = "The memory of one target: its releases, which of them were pulled back, and whether a person is needed",
    printcolumn(name = "Workload", type_ = "string", json_path = ".status.workload"),
    printcolumn(name = "Live", type_ = "string", json_path = ".status.shown.live"),
    printcolumn(
        name = "Known good",
        type_ = "string",
        json_path = ".status.shown.knownGood"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.shown.mode"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.shown.state"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.shown.last"),
    printcolumn(name = "When", type_ = "date", json_path = ".status.shown.when")
)]
#[serde(rename_all = "camelCase")]
pub struct MemorySpec {
    /// Stops every start on this target while it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The rollback whose latch a person has seen and lifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<String>,
}

/// A person's order not to start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
pub struct Hold {
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when; for ever where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct MemoryStatus {
    /// The workload, for people.
    pub workload: String,
    /// The live release, as it was last observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// The releases that were stable, oldest first.
    pub history: Vec<Stable>,
    /// The releases that were pulled back, by hash and for good.
    pub blamed: Vec<Blame>,
    /// The releases that Ripcord made by restoring a template.
    pub made: Vec<Made>,
    /// The releases that drills made: each counts as the one that it was made of.
    pub drilled: Vec<Drilled>,
    /// How the last drill ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<LastDrill>,
    /// The rollback that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Set when a person is needed before anything may start again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latch: Option<Latch>,
    /// The columns that `kubectl get rt` shows.
    pub shown: Shown,
}

/// The live release.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The workload's uid.
    pub uid: String,
    /// The revision.
    pub revision: i64,
    /// The pod-template hash.
    pub hash: String,
    /// When the template changed to this.
    pub changed: Timestamp,
    /// When it was promoted, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Timestamp>,
}

/// A time during which a release was the stable one.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Stable {
    /// The workload's uid.
    pub uid: String,
    /// The revision that it had.
    pub revision: i64,
    /// The pod-template hash.
    pub hash: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A release that was pulled back.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Blame {
    /// The pod-template hash.
    pub hash: String,
    /// The revision that it had.
    pub revision: i64,
    /// When the first change away from it was about to be made.
    pub at: Timestamp,
    /// By which rollback.
    pub rollback: String,
}

/// A release that Ripcord made.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Made {
    /// The pod-template hash.
    pub hash: String,
    /// The revision that it got.
    pub revision: i64,
    /// When it was seen live.
    pub at: Timestamp,
    /// By which rollback.
    pub rollback: String,
}

/// Why nothing starts until a person has looked.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Latch {
    /// Since when.
    pub since: Timestamp,
    /// The rollback that latched; a person lifts the latch by naming it in `spec.acknowledge`.
    pub rollback: String,
    /// Why.
    pub finding: Finding,
}

/// What `kubectl get rt` shows.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct Shown {
    /// The live release, such as `r8`.
    pub live: String,
    /// The release that a rollback would return to, or `unknown`.
    pub known_good: String,
    /// Whether the service's policy allows drills with an effect.
    pub drills: bool,
    /// The mode of the triggers that name this target.
    pub mode: String,
    /// `ok`, `held`, `latched`, `asking` or `running`.
    pub state: String,
    /// The last rollback, such as `r7 → r6` or `failed`.
    pub last: String,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Timestamp>,
}

// === impl Hold ===

impl Hold {
    /// Whether the hold is in force.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

// === impl MemorySpec ===

impl Memory {
    /// The hold that is in force.
    #[must_use]
    pub fn hold(&self, now: Timestamp) -> Option<&Hold> {
        self.spec.hold.as_ref().filter(|hold| hold.in_force(now))
    }

    /// What is remembered, or nothing yet.
    #[must_use]
    pub fn state(&self) -> std::borrow::Cow<'_, MemoryStatus> {
        self.status.as_ref().map_or_else(
            || std::borrow::Cow::Owned(MemoryStatus::default()),
            std::borrow::Cow::Borrowed,
        )
    }

    /// The latch that no person has lifted.
    #[must_use]
    pub fn latch(&self) -> Option<&Latch> {
        let latch = self.status.as_ref()?.latch.as_ref()?;
        (self.spec.acknowledge.as_deref() != Some(latch.rollback.as_str())).then_some(latch)
    }
}

// === impl MemoryStatus ===

impl MemoryStatus {
    /// Whether a release was pulled back before.
    #[must_use]
    pub fn blames(&self, hash: &str) -> bool {
        let mut blamed = self.blamed.iter();
        blamed.any(|blame| self.same(&blame.hash, hash))
    }

    /// How this release came to be, where Ripcord made it.
    #[must_use]
    pub fn made(&self, hash: &str, revision: i64) -> Option<&Made> {
        self.made
            .iter()
            .find(|made| made.hash == hash && made.revision == revision)
    }
}
