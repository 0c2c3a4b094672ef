//! The kinds of workload whose releases can be pulled back, and how each is addressed and marks its releases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of a release workload.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
pub enum Kind {
    /// A Rollout of Argo Rollouts.
    #[default]
    Rollout,
    /// A plain Deployment.
    Deployment,
    /// A Service that selects one of two plain Deployments.
    Service,
}

impl Kind {
    /// The kind's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rollout => "Rollout",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
        }
    }

    /// The name in lower case, as commands and the policy have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Deployment => "deployment",
            Self::Service => "service",
        }
    }

    /// The plural, as paths have it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Rollout => "rollouts",
            Self::Deployment => "deployments",
            Self::Service => "services",
        }
    }

    /// The API group; empty for the core one.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Rollout => "argoproj.io",
            Self::Deployment => "apps",
            Self::Service => "",
        }
    }

    /// The version of the API group.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Rollout => "v1alpha1",
            Self::Deployment | Self::Service => "v1",
        }
    }

    /// The label that ties pods and replica sets to one pod template; behind a Service, that of its Deployments.
    #[must_use]
    pub const fn hash_label(self) -> &'static str {
        match self {
            Self::Rollout => "rollouts-pod-template-hash",
            Self::Deployment | Self::Service => "pod-template-hash",
        }
    }

    /// The annotation that carries a revision.
    #[must_use]
    pub const fn revision_annotation(self) -> &'static str {
        match self {
            Self::Rollout => "rollout.argoproj.io/revision",
            Self::Deployment | Self::Service => "deployment.kubernetes.io/revision",
        }
    }
}
