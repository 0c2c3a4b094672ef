//! The watch-fed caches that every replica has: what lets a duplicate, a repeat or a known end cost no call.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shelf::{self, Shelf};
use super::{Clock, Cluster, hold};
use crate::policy::guard::Hold;
use crate::reason::{Finding, Reason};
use crate::rollback::{Memory, Rollback};
use crate::target::Target;
use crate::target::workload::{ROLLOUTS_GROUP, Rollout};

/// How long one watch lasts, in seconds: a connection that died without a word is noticed by then.
const WATCH: u32 = 60;
/// How long a namespace that left the policy is followed on after its last rollback ended, so that the end is still told.
const LINGER: Duration = Duration::from_mins(10);

/// What the watches last told.
pub struct Caches {
    /// The workloads.
    pub rollouts: Shelf<Seen>,
    /// The rollbacks.
    pub rollbacks: Shelf<Rollback>,
    /// The targets' memories.
    pub memories: Shelf<Memory>,
    holds: Shelf<Hold>,
    hold_at: (String, String),
    changed: watch::Sender<u64>,
    cluster: Cluster,
    clock: Clock,
    /// The namespaces of the policy.
    wanted: watch::Sender<BTreeSet<String>>,
    /// Those that have a watch: the wanted ones, and those that left while a rollback was open there.
    followed: Mutex<BTreeSet<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A workload, and since when it has been unobserved.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The workload.
    pub rollout: Rollout,
    /// Since when this replica has seen it unobserved; none while it is observed.
    pub unobserved_since: Option<Timestamp>,
}

/// How Rollouts are addressed.
#[must_use]
pub fn rollouts() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(ROLLOUTS_GROUP, "v1alpha1", "Rollout"),
        "rollouts",
    )
}

impl Caches {
    /// Caches that follow the hold; namespaces are added by [`follow`](Self::follow).
    #[must_use]
    pub fn start(
        cluster: Cluster,
        clock: Clock,
        hold_at: (String, String),
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        let caches = Arc::new(Self {
            rollouts: Shelf::new(shelf::ROLLOUTS, changed.clone()),
            rollbacks: Shelf::new(shelf::ROLLBACKS, changed.clone()),
            memories: Shelf::new("targets", changed.clone()),
            holds: Shelf::new(shelf::HOLD, changed.clone()),
            hold_at,
            changed,
            cluster,
            clock,
            wanted: watch::Sender::default(),
            followed: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        });
        let this = Arc::clone(&caches);
        caches.spawn(async move {
            let (namespace, name) = &this.hold_at;
            let api: Api<ConfigMap> = this.cluster.api(namespace);
            let only = watcher::Config::default()
                .timeout(WATCH)
                .fields(&format!("metadata.name={name}"));
            this.holds
                .follow(api, namespace, only, |object, _| Some(hold::of(&object)))
                .await;
        });
        let this = Arc::clone(&caches);
        caches.spawn(async move { this.watch_rollbacks(&this.hold_at.0).await });
        let this = Arc::clone(&caches);
        caches.spawn(async move { this.mind_hold().await });
        caches
    }

    /// Follows exactly these namespaces. One that is followed already is left alone; one that is not wanted any more is
    /// forgotten once no rollback runs there.
    pub fn follow(self: &Arc<Self>, namespaces: &BTreeSet<String>) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.send_replace(namespaces.clone());
        for namespace in namespaces {
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
            tokio::select! {
                () = self.watch_all(&namespace) => {}
                () = self.unwanted(&namespace) => {}
            }
            // Under the lock, so that somebody who wants it again just now finds it followed, or follows it anew.
            let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
            if self.wanted.borrow().contains(&namespace) {
                continue;
            }
            followed.remove(&namespace);
            self.rollouts.leave(&namespace);
            self.rollbacks.leave(&namespace);
            self.memories.leave(&namespace);
            tracing::info!(
                k8s.namespace = namespace,
                "the namespace is followed no longer"
            );
            return;
        }
    }

    async fn watch_all(&self, namespace: &str) {
        let config = || watcher::Config::default().timeout(WATCH);
        let rollouts: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client(), namespace, &rollouts());
        let memories: Api<DeserializeGuard<Memory>> = self.cluster.api(namespace);
        tokio::join!(
            self.rollouts
                .follow(rollouts, namespace, config(), |object, before| {
                    seen(&object, before, (self.clock)())
                }),
            self.watch_rollbacks(namespace),
            self.memories
                .follow(memories, namespace, config(), |object, _| readable(object)),
        );
    }

    /// Follows the rollbacks of a namespace. Those in Ripcord's own are the alerts that lead to no workload.
    async fn watch_rollbacks(&self, namespace: &str) {
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
            let _ = wanted.wait_for(|all| !all.contains(namespace)).await;
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

    /// Whether this replica can decide: the hold and every namespace were listed, but for those whose watch fails. What is
    /// about one of those is told to come back; the others must not wait for it.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), Finding> {
        if !self.holds.failing(&self.hold_at.0) {
            listed(&self.holds, &self.hold_at.0)?;
        }
        let wanted = self.wanted.borrow();
        let mut first = None;
        let mut any = wanted.is_empty();
        for namespace in &*wanted {
            match self.listed(namespace) {
                Ok(()) => any = true,
                Err(finding) if self.fails(namespace) => {
                    first.get_or_insert(finding);
                }
                Err(finding) => return Err(finding),
            }
        }
        match first {
            Some(finding) if !any => Err(finding),
            _ => Ok(()),
        }
    }

    /// Whether what is known of a namespace can be believed.
    ///
    /// # Errors
    /// What is missing.
    pub fn listed(&self, namespace: &str) -> Result<(), Finding> {
        listed(&self.rollouts, namespace)?;
        listed(&self.rollbacks, namespace)?;
        listed(&self.memories, namespace)
    }

    fn fails(&self, namespace: &str) -> bool {
        self.rollouts.failing(namespace)
            || self.rollbacks.failing(namespace)
            || self.memories.failing(namespace)
    }

    /// The global hold, as the watch last told; unreadable where its `ConfigMap` does not exist.
    #[must_use]
    pub fn hold(&self) -> Hold {
        let (namespace, name) = &self.hold_at;
        self.holds
            .get(namespace, name)
            .map_or_else(|| self.no_hold(), |hold| Hold::clone(&hold))
    }

    /// What is said where the watch told of no hold.
    fn no_hold(&self) -> Hold {
        let (namespace, name) = &self.hold_at;
        let why = match self.holds.trouble(namespace) {
            Some(trouble) => trouble,
            None if self.holds.filled(namespace) => "it does not exist".to_owned(),
            None => "it was not read yet".to_owned(),
        };
        Hold::Unreadable(format!("ConfigMap {namespace}/{name}: {why}"))
    }

    /// Says when the hold's `ConfigMap` is gone and when it is back: without it nothing is ever started.
    async fn mind_hold(&self) {
        let (namespace, name) = &self.hold_at;
        let mut changes = self.changes();
        let mut missing = false;
        loop {
            let exists = self.holds.get(namespace, name).is_some();
            if self.holds.filled(namespace) && missing == exists {
                missing = !exists;
                if missing {
                    tracing::warn!(
                        k8s.namespace = namespace,
                        k8s.config_map = name,
                        "there is no ConfigMap for the hold, which counts as held: nothing starts until it is made (deploy/hold.yaml)"
                    );
                } else {
                    tracing::info!(
                        k8s.namespace = namespace,
                        k8s.config_map = name,
                        "the ConfigMap for the hold is there again"
                    );
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where the hold stands.
    #[must_use]
    pub fn hold_at(&self) -> (&str, &str) {
        (&self.hold_at.0, &self.hold_at.1)
    }

    /// The workload of a target.
    #[must_use]
    pub fn rollout(&self, target: &Target) -> Option<Arc<Seen>> {
        self.rollouts
            .get(&target.workload.namespace, &target.workload.name)
    }

    /// The memory of a target.
    #[must_use]
    pub fn memory(&self, target: &Target) -> Option<Arc<Memory>> {
        self.memories.get(&target.workload.namespace, &target.name)
    }

    /// The rollbacks of a target, and those of its workload that were made under another name of the target.
    #[must_use]
    pub fn rollbacks_of(&self, target: &Target) -> Vec<Arc<Rollback>> {
        let workload = self.rollout(target).map(|seen| seen.rollout.uid.clone());
        self.rollbacks
            .select(&target.workload.namespace, |rollback| {
                let release = rollback.spec.release.as_ref().map(|release| &release.uid);
                rollback.spec.target == target.name
                    || (release.is_some() && release == workload.as_ref())
            })
    }

    /// Rings as if something had changed.
    pub fn nudge(&self) {
        self.changed.send_modify(|seq| *seq = seq.wrapping_add(1));
    }

    /// Rings at every change of any cache.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Waits until the watches have ended after a stop, for at most this long.
    pub async fn stopped(&self, limit: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
    }
}

/// Whether what a shelf holds of a namespace can be believed; if not, why.
fn listed<T>(shelf: &Shelf<T>, namespace: &str) -> Result<(), Finding> {
    if shelf.filled(namespace) {
        return Ok(());
    }
    let what = shelf.what();
    let why = shelf.trouble(namespace);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Err(Reason::NotReady.because(format!(
        "{what} in namespace {namespace} cannot be listed yet{why}"
    )))
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
mod tests;
