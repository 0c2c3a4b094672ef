//! The changes that a step may ask for. Only the engine makes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Exec, Flush, Image};
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
    /// Put an image into the live template, and release a paused workload in the same change. Takes effect exactly once: the
    /// operation's id goes with it.
    SetImage {
        /// The image, and the container that gets it. A container of another name is never added.
        image: Image,
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
    /// Let the controller replace every pod from before this moment. Takes effect exactly once: the moment is the same each
    /// time that it is asked for.
    Restart {
        /// The moment, in whole seconds.
        at: Timestamp,
    },
    /// Lead a Service's selector to the pods of another Deployment: the values of these keys, and nothing else of it. Takes effect
    /// exactly once: the operation's id goes with it.
    SwitchService {
        /// The whole selector that must still be there.
        selector: BTreeMap<String, String>,
        /// The keys whose values are replaced, with the new ones.
        keys: BTreeMap<String, String>,
    },
    /// Let a Deployment behind a Service ask for another number of pods. Takes effect exactly once: both numbers are on record
    /// first.
    Scale {
        /// The Deployment.
        deployment: String,
        /// Its uid.
        uid: String,
        /// Its resourceVersion from the read on which this was decided.
        version: String,
        /// How many pods it must still ask for.
        from: i32,
        /// How many it is to ask for.
        to: i32,
    },
    /// Empty a cache, outside the cluster's API. It may be done twice: what is empty stays empty, and what was put there in
    /// between is lost.
    Flush(Flush),
    /// Send requests to pods, all of these at once. They may be sent twice.
    Call(Vec<Call>),
    /// Run a command in a container of a pod. It may have been run where no exit status came back, and is run again only where
    /// the policy says that it may.
    Exec(Exec),
}

/// What came of a change outside the cluster's API, as it was answered.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether it was done.
    // Any text by the definition, so that one from before takes what a newer version does.
    #[schemars(with = "String")]
    pub verdict: Verdict,
    /// What was answered, in words.
    pub said: String,
}

/// Whether a change outside the cluster's API was done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was.
    Done,
    /// It was not, or not wholly; the same may do later.
    Failed,
    /// It was not, and will not be until somebody changes something.
    Refused,
    /// It certainly was not begun; the same may do later.
    NotBegun,
    /// Nobody knows whether it was, or with what end.
    Unknown,
}

/// The kind of an effect, as the journal names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// See [`Effect::RestoreTemplate`].
    RestoreTemplate,
    /// See [`Effect::SetImage`].
    SetImage,
    /// See [`Effect::PromoteFull`].
    PromoteFull,
    /// See [`Effect::Nudge`].
    Nudge,
    /// See [`Effect::Abort`].
    Abort,
    /// See [`Effect::Restart`].
    Restart,
    /// See [`Effect::SwitchService`].
    SwitchService,
    /// See [`Effect::Scale`].
    Scale,
    /// See [`Effect::Flush`].
    Flush,
    /// See [`Effect::Call`].
    Call,
    /// See [`Effect::Exec`].
    Exec,
}

impl Outcome {
    /// Whether it may have changed anything: what failed may have been done in part.
    #[must_use]
    pub const fn acted(&self) -> bool {
        !matches!(self.verdict, Verdict::Refused | Verdict::NotBegun)
    }
}

impl Effect {
    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> EffectKind {
        match self {
            Self::RestoreTemplate { .. } => EffectKind::RestoreTemplate,
            Self::SetImage { .. } => EffectKind::SetImage,
            Self::PromoteFull { .. } => EffectKind::PromoteFull,
            Self::Nudge => EffectKind::Nudge,
            Self::Abort { .. } => EffectKind::Abort,
            Self::Restart { .. } => EffectKind::Restart,
            Self::SwitchService { .. } => EffectKind::SwitchService,
            Self::Scale { .. } => EffectKind::Scale,
            Self::Flush(_) => EffectKind::Flush,
            Self::Call(_) => EffectKind::Call,
            Self::Exec(_) => EffectKind::Exec,
        }
    }

    /// Whether this does the same as another, decided on an earlier look.
    #[must_use]
    pub fn is_same(&self, earlier: &Self) -> bool {
        let mut now = self.clone();
        // A Deployment's own status moves it.
        if let (
            Self::Scale { version, .. },
            Self::Scale {
                version: before, ..
            },
        ) = (&mut now, earlier)
        {
            version.clone_from(before);
        }
        now == *earlier
    }

    /// The one thing that it is done to, where that is not the workload and must not be done to it twice.
    #[must_use]
    pub fn of(&self) -> Option<&str> {
        match self {
            Self::Exec(exec) => Some(exec.place.name()),
            _ => None,
        }
    }
}

impl EffectKind {
    /// Whether it is no change of the cluster's objects, so that nothing but its answer tells whether it was done.
    #[must_use]
    pub const fn is_outside(self) -> bool {
        matches!(self, Self::Flush | Self::Call | Self::Exec)
    }

    /// Whether a template is written by it, or promoted: until the promotion is seen, the release may be half-way.
    #[must_use]
    pub const fn is_of_template(self) -> bool {
        matches!(
            self,
            Self::RestoreTemplate | Self::SetImage | Self::PromoteFull
        )
    }

    /// What is under way once this change was made.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::RestoreTemplate => Reason::Restoring,
            Self::SetImage => Reason::BringingUp,
            Self::PromoteFull => Reason::Promoting,
            Self::Nudge => Reason::Nudged,
            Self::Abort => Reason::Aborting,
            Self::Restart => Reason::Restarting,
            Self::SwitchService => Reason::Switching,
            Self::Scale => Reason::Scaling,
            Self::Flush => Reason::Flushing,
            Self::Call => Reason::Warming,
            Self::Exec => Reason::Executing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(version: &str, to: i32) -> Effect {
        Effect::Scale {
            deployment: "web-blue".into(),
            uid: "uid".into(),
            version: version.into(),
            from: 0,
            to,
        }
    }

    #[test]
    fn a_scaling_is_the_same_at_another_version_and_not_to_another_number() {
        assert!(scale("2", 4).is_same(&scale("1", 4)));
        assert!(!scale("1", 3).is_same(&scale("1", 4)));
        assert!(!Effect::Nudge.is_same(&scale("1", 4)));
        assert!(Effect::Nudge.is_same(&Effect::Nudge));
    }
}
