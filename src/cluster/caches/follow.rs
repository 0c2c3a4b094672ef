//! Which namespaces are followed, and what is watched in each.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;

use super::{Caches, Seen, WATCH, Wanted, resource};
use crate::cluster::deployments::{Deployed, Owned};
use crate::cluster::services::Served;
use crate::cluster::shelf;
use crate::rollback::{Memory, Rollback};
use crate::target::Kind;
use crate::target::workload::Rollout;

/// How long a namespace that left the policy is followed on after its last rollback ended, so that the end is still told.
const LINGER: Duration = Duration::from_mins(10);

impl Caches {
    /// Follows exactly these namespaces. One that is followed already is left alone, unless the kinds are others; one that
    /// is not wanted any more is forgotten once no rollback runs there.
    pub fn follow(self: &Arc<Self>, namespaces: &Wanted) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.send_replace(namespaces.clone());
        for namespace in namespaces.keys() {
            if followed.insert(namespace.clone()) {
                self.spawn(Arc::clone(self).attend(namespace.clone()));
            }
        }
        drop(followed);
        self.nudge();
    }

    /// Follows a namespace for as long as it is wanted.
    async fn attend(self: Arc<Self>, namespace: String) {
        loop {
            let kinds = self.kinds(&namespace);
            tokio::select! {
                () = self.watch_all(&namespace, &kinds) => {}
                () = self.unwanted(&namespace) => {}
                () = self.other_kinds(&namespace, &kinds) => {}
            }
            // Under the lock, so that somebody who wants it again just now finds it followed, or follows it anew.
            let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = self.kinds(&namespace);
            for kind in kinds.difference(&wanted) {
                self.leave(&namespace, *kind);
            }
            if self.wanted.borrow().contains_key(&namespace) {
                continue;
            }
            followed.remove(&namespace);
            self.rollbacks.leave(&namespace);
            self.memories.leave(&namespace);
            tracing::info!(
                k8s.namespace = namespace,
                "the namespace is followed no longer"
            );
            return;
        }
    }

    /// The kinds of workload that are looked after in a namespace; none where it has left the policy.
    pub(super) fn kinds(&self, namespace: &str) -> BTreeSet<Kind> {
        let wanted = self.wanted.borrow();
        wanted.get(namespace).cloned().unwrap_or_default()
    }

    /// Waits until other kinds are wanted of a namespace.
    async fn other_kinds(&self, namespace: &str, kinds: &BTreeSet<Kind>) {
        let other = |all: &Wanted| all.get(namespace).is_some_and(|wanted| wanted != kinds);
        // Without an error: the sender lives as long as this does.
        let _ = self.wanted.subscribe().wait_for(other).await;
    }

    fn leave(&self, namespace: &str, kind: Kind) {
        match kind {
            Kind::Rollout => self.rollouts.leave(namespace),
            Kind::Deployment => {
                self.deployments.leave(namespace);
                self.replica_sets.leave(namespace);
            }
            Kind::Service => self.services.leave(namespace),
        }
    }

    async fn watch_all(&self, namespace: &str, kinds: &BTreeSet<Kind>) {
        let config = || watcher::Config::default().timeout(WATCH);
        let memories: Api<DeserializeGuard<Memory>> = self.cluster.api(namespace);
        tokio::join!(
            join_all(
                kinds
                    .iter()
                    .map(|kind| self.watch_workloads(namespace, *kind))
            ),
            self.watch_rollbacks(namespace),
            self.memories
                .follow(memories, namespace, config(), |object, _| readable(object)),
        );
    }

    /// Follows the workloads of a kind in a namespace, and what tells their live releases.
    async fn watch_workloads(&self, namespace: &str, kind: Kind) {
        let config = || watcher::Config::default().timeout(WATCH);
        let client = || self.cluster.client();
        let api: Api<DynamicObject> = Api::namespaced_with(client(), namespace, &resource(kind));
        match kind {
            Kind::Rollout => {
                let keep = |object, before: Option<&Seen>| seen(&object, before, (self.clock)());
                self.rollouts.follow(api, namespace, config(), keep).await;
            }
            Kind::Service => {
                let keep =
                    |object, before: Option<&Served>| Served::keep(&object, before, (self.clock)());
                self.services.follow(api, namespace, config(), keep).await;
            }
            Kind::Deployment => {
                let sets = GroupVersionKind::gvk("apps", "v1", "ReplicaSet");
                let sets = ApiResource::from_gvk_with_plural(&sets, shelf::REPLICA_SETS);
                let sets: Api<DynamicObject> = Api::namespaced_with(client(), namespace, &sets);
                let keep = |object, before: Option<&Deployed>| {
                    Deployed::keep(&object, before, (self.clock)())
                };
                tokio::join!(
                    self.deployments.follow(api, namespace, config(), keep),
                    self.replica_sets
                        .follow(sets, namespace, config(), |object, _| Owned::keep(&object)),
                );
            }
        }
    }

    /// Follows the rollbacks of a namespace. Those in Ripcord's own are the alerts that lead to no workload.
    pub(super) async fn watch_rollbacks(&self, namespace: &str) {
        let config = watcher::Config::default().timeout(WATCH);
        let rollbacks: Api<DeserializeGuard<Rollback>> = self.cluster.api(namespace);
        self.rollbacks
            .follow(rollbacks, namespace, config, |object, _| readable(object))
            .await;
    }

    /// Waits until a namespace has left the policy and nothing that was begun there needs it.
    async fn unwanted(&self, namespace: &str) {
        let (mut wanted, mut changes) = (self.wanted.subscribe(), self.changes());
        let mut lingered = false;
        loop {
            // Without an error: the sender lives as long as this does.
            let _ = wanted.wait_for(|all| !all.contains_key(namespace)).await;
            let rollbacks = self.rollbacks.select(namespace, |_| true);
            let open = rollbacks.iter().any(|rollback| !rollback.phase().ended());
            if rollbacks.is_empty() || (lingered && !open) {
                return;
            }
            lingered = tokio::select! {
                () = tokio::time::sleep(LINGER), if !open => true,
                _ = changes.changed(), if open => false,
                _ = wanted.changed() => false,
            };
        }
    }
}

/// What is kept of a Rollout.
fn seen(object: &DynamicObject, before: Option<&Seen>, now: Timestamp) -> Option<Seen> {
    let rollout = Rollout::read(&serde_json::to_value(object).ok()?)?;
    let unobserved_since = if rollout.observed {
        None
    } else {
        let earlier = before.filter(|before| before.rollout.uid == rollout.uid);
        Some(
            earlier
                .and_then(|before| before.unobserved_since)
                .unwrap_or(now),
        )
    };
    Some(Seen {
        rollout,
        unobserved_since,
    })
}

/// An object that can be read. One that cannot must not stop the watch: it is told and left out.
fn readable<K: kube::Resource + DeserializeOwned>(object: DeserializeGuard<K>) -> Option<K> {
    match object.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            tracing::error!(object = name, error = %invalid.error, "an object cannot be read and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64, observed: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": generation},
            "spec": {}, "status": {"observedGeneration": observed, "currentPodHash": "h"},
        }))
        .unwrap()
    }

    #[test]
    fn the_time_without_observation_runs_on_over_further_changes() {
        let at = |n| Timestamp::from_second(n).unwrap();
        let first = seen(&object(2, "1"), None, at(10)).unwrap();
        assert_eq!(first.unobserved_since, Some(at(10)));
        let second = seen(&object(3, "1"), Some(&first), at(20)).unwrap();
        assert_eq!(second.unobserved_since, Some(at(10)));
        assert_eq!(
            seen(&object(3, "3"), Some(&second), at(21))
                .unwrap()
                .unobserved_since,
            None
        );
    }
}
