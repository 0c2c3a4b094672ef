//! The changes that a step may ask for. Only the engine makes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// One change of the cluster, with everything that it needs already resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Write the template of this replica set to the workload, and release a paused workload in the same change.
    /// Takes effect exactly once: the operation's id goes with it.
    RestoreTemplate {
        /// The pod-template hash of the destination.
        hash: String,
        /// The uid of its replica set.
        replica_set: String,
        /// Whether the workload is paused by its spec, which would stop the controller.
        unpause: bool,
    },
    /// Ask the controller to promote the live template without walking the steps. A request that may be lost: it is
    /// repeated after a fresh read shows no effect.
    PromoteFull {
        /// The pod-template hash that must be live for the request to mean what it should.
        hash: String,
    },
    /// Touch the workload and change nothing, so that the controller looks at it again: it can have missed a change.
    Nudge,
    /// Ask the controller to abort the update in flight, and withdraw a full promotion that would make it forget that. A
    /// request that may be lost: it is repeated after a fresh read shows no effect.
    Abort {
        /// The pod-template hash that must be live for the request to mean what it should.
        hash: String,
    },
}

/// The kind of an effect, as the journal names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// See [`Effect::RestoreTemplate`].
    RestoreTemplate,
    /// See [`Effect::PromoteFull`].
    PromoteFull,
    /// See [`Effect::Nudge`].
    Nudge,
    /// See [`Effect::Abort`].
    Abort,
}

impl Effect {
    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> EffectKind {
        match self {
            Self::RestoreTemplate { .. } => EffectKind::RestoreTemplate,
            Self::PromoteFull { .. } => EffectKind::PromoteFull,
            Self::Nudge => EffectKind::Nudge,
            Self::Abort { .. } => EffectKind::Abort,
        }
    }
}

impl EffectKind {
    /// What is under way once this change was made.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::RestoreTemplate => Reason::Restoring,
            Self::PromoteFull => Reason::Promoting,
            Self::Nudge => Reason::Nudged,
            Self::Abort => Reason::Aborting,
        }
    }
}
