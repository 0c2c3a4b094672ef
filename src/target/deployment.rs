//! How a Deployment is read, in the terms of a [`Rollout`].
//!
//! Its controller keeps neither a hash nor a phase in the status. The live release is the replica set whose template equals
//! the one in the spec, as the controller itself finds it; the phase is what `kubectl rollout status` says. Nothing tells
//! which release was complete before the one in progress: only the target's own history does.

use serde_json::Value;

use super::kind::Kind;
use super::snapshot::ReplicaSet;
use super::workload::{Common, Rollout, Strategy};
use super::{restart, template};

/// What a Deployment says of itself without its replica sets.
struct Status<'a>(&'a Value);

impl Rollout {
    /// Reads a Deployment object with the replica sets that it owns; `None` if it has no uid, which no stored object lacks.
    #[must_use]
    pub fn of_deployment(object: &Value, sets: &[ReplicaSet]) -> Option<Self> {
        let common = Common::read(object, Kind::Deployment)?;
        let status = Status(object);
        let live = live(object, sets);
        // The controller marks the replica set first, and the Deployment after it: until both say the same, a template that
        // is used again still has its old revision.
        let observed = status.observed(common.generation)
            && live.is_some_and(|set| set.revision == common.revision);
        let current = live.map(|set| set.hash.clone()).unwrap_or_default();
        let complete = observed && status.complete(common.replicas);
        let progress = status.condition("Progressing");
        let text = |key: &str| {
            let text = progress.and_then(|it| it[key].as_str());
            text.unwrap_or_default().to_owned()
        };
        let phase = if complete {
            "Healthy"
        } else if common.paused {
            "Paused"
        } else if text("reason") == "ProgressDeadlineExceeded" {
            "Degraded"
        } else {
            "Progressing"
        };
        Some(Self {
            uid: common.uid,
            generation: common.generation,
            observed,
            revision: common.revision,
            stable: if complete {
                current.clone()
            } else {
                String::new()
            },
            current,
            phase: phase.to_owned(),
            message: text("message"),
            aborted: false,
            aborted_at: None,
            annotated: common.annotated,
            promote_full: false,
            paused: common.paused,
            replicas: common.replicas,
            strategy: Strategy::Deployment,
            images: common.images,
            workload_ref: false,
            owner: common.owner,
            invalid: None,
            operation: common.operation,
            drill: common.drill,
            deleting: common.deleting,
            selector: common.selector,
            created: common.created,
            restart_at: object
                .pointer("/spec/template")
                .and_then(restart::restarted_at),
            restarted_at: None,
        })
    }

    /// Whether it is a Deployment, which is neither promoted nor aborted.
    #[must_use]
    pub const fn is_deployment(&self) -> bool {
        matches!(self.strategy, Strategy::Deployment)
    }
}

/// Whether the controller has observed a Deployment's latest generation.
#[must_use]
pub fn is_observed(object: &Value) -> bool {
    let generation = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    Status(object).observed(generation.unwrap_or(0))
}

/// The replica set of the template in the spec: the oldest, where more than one is equal.
fn live<'a>(object: &Value, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let template = template::clean(object, Kind::Deployment);
    sets.iter()
        .filter(|set| set.template == template)
        .min_by_key(|set| (set.created, &set.name))
}

impl Status<'_> {
    fn observed(&self, generation: i64) -> bool {
        self.number("observedGeneration") >= generation
    }

    /// What `kubectl rollout status` waits for.
    fn complete(&self, replicas: i32) -> bool {
        let updated = self.number("updatedReplicas");
        self.condition("Progressing")
            .is_none_or(|it| it["reason"] != "ProgressDeadlineExceeded")
            && updated >= i64::from(replicas)
            && self.number("replicas") <= updated
            && self.number("availableReplicas") >= updated
    }

    fn number(&self, key: &str) -> i64 {
        let status = self.0.get("status").and_then(|status| status.get(key));
        status.and_then(Value::as_i64).unwrap_or(0)
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        let conditions = self.0.pointer("/status/conditions")?.as_array()?;
        conditions.iter().find(|it| it["type"] == kind)
    }
}

#[cfg(test)]
#[path = "deployment/tests.rs"]
pub(crate) mod tests;
