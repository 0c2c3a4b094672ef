//! How the good release of a scene is told from the bad one.

use serde_json::Value;

/// The label of a Rollout's pods.
const HASH: &str = "rollouts-pod-template-hash";

/// The good release.
#[derive(Clone, Debug)]
pub(crate) enum Good {
    /// The one with this hash.
    Hash(String),
    /// Whichever has not this image: where nothing of it is left, its hash is not known.
    Without(&'static str),
}

/// The hash of a Rollout's pod; null of any other.
pub(crate) fn hash_of(pod: &Value) -> &Value {
    &pod["metadata"]["labels"][HASH]
}

// === impl Good ===

impl Good {
    /// Whether a pod is one of it.
    pub(crate) fn has(&self, pod: &Value) -> bool {
        match self {
            Self::Hash(hash) => hash_of(pod) == hash.as_str(),
            Self::Without(bad) => pod["spec"]["containers"][0]["image"] != *bad,
        }
    }

    /// Whether a Rollout is to run it.
    pub(crate) fn is_live(&self, rollout: &Value) -> bool {
        match self {
            Self::Hash(hash) => rollout["status"]["currentPodHash"] == hash.as_str(),
            Self::Without(bad) => {
                rollout["spec"]["template"]["spec"]["containers"][0]["image"] != *bad
            }
        }
    }

    /// Whether a Rollout takes it for stable.
    pub(crate) fn is_stable(&self, rollout: &Value) -> bool {
        let status = &rollout["status"];
        match self {
            Self::Hash(hash) => status["stableRS"] == hash.as_str(),
            Self::Without(_) => {
                self.is_live(rollout) && status["stableRS"] == status["currentPodHash"]
            }
        }
    }
}
