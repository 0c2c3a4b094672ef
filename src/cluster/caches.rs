//! The watch-fed caches that every replica has: what lets a duplicate, a repeat or a known end cost no call.

mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::deployments::{Deployed, Owned};
use super::services::Served;
use super::shelf::{self, Shelf};
use super::{Clock, Cluster, hold};
use crate::policy::guard::Hold;
use crate::reason::{Finding, Reason};
use crate::rollback::{Memory, Rollback};
use crate::target::workload::Rollout;
use crate::target::{Kind, Target, Workload};

/// How long one watch lasts, in seconds: a connection that died without a word is noticed by then.
const WATCH: u32 = 60;

/// What the watches last told.
pub struct Caches {
    /// The Rollouts.
    pub rollouts: Shelf<Seen>,
    deployments: Shelf<Deployed>,
    replica_sets: Shelf<Owned>,
    services: Shelf<Served>,
    /// The rollbacks.
    pub rollbacks: Shelf<Rollback>,
    /// The targets' memories.
    pub memories: Shelf<Memory>,
    holds: Shelf<Hold>,
    hold_at: (String, String),
    changed: watch::Sender<u64>,
    cluster: Cluster,
    clock: Clock,
    /// The namespaces of the policy, with the kinds of workload that are looked after there.
    wanted: watch::Sender<Wanted>,
    /// Those that have a watch: the wanted ones, and those that left while a rollback was open there.
    followed: Mutex<BTreeSet<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Namespaces, with the kinds of workload that are looked after there.
type Wanted = BTreeMap<String, BTreeSet<Kind>>;

/// A workload, and since when it has been unobserved.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The workload.
    pub rollout: Rollout,
    /// Since when this replica has seen it unobserved; none while it is observed.
    pub unobserved_since: Option<Timestamp>,
}

/// How workloads of a kind are addressed.
#[must_use]
pub fn resource(kind: Kind) -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(kind.group(), kind.version(), kind.name()),
        kind.plural(),
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
            deployments: Shelf::new(shelf::DEPLOYMENTS, changed.clone()),
            replica_sets: Shelf::new(shelf::REPLICA_SETS, changed.clone()),
            services: Shelf::new(shelf::SERVICES, changed.clone()),
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

    /// Whether this replica can decide: the hold and every namespace were listed, but for those whose watch fails. What is
    /// about one of those is told to come back; the others must not wait for it.
    ///
    /// # Errors
    /// What is missing.
    pub fn ready(&self) -> Result<(), Finding> {
        if !self.holds.failing(&self.hold_at.0) {
            listed(&self.holds, &self.hold_at.0)?;
        }
        let wanted = self.wanted.borrow().clone();
        let mut first = None;
        let mut any = wanted.is_empty();
        for namespace in wanted.keys() {
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
        for kind in self.kinds(namespace) {
            match kind {
                Kind::Rollout => listed(&self.rollouts, namespace)?,
                Kind::Deployment => {
                    listed(&self.deployments, namespace)?;
                    listed(&self.replica_sets, namespace)?;
                }
                Kind::Service => listed(&self.services, namespace)?,
            }
        }
        listed(&self.rollbacks, namespace)?;
        listed(&self.memories, namespace)
    }

    fn fails(&self, namespace: &str) -> bool {
        self.rollouts.failing(namespace)
            || self.deployments.failing(namespace)
            || self.replica_sets.failing(namespace)
            || self.services.failing(namespace)
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
        let workload = &target.workload;
        let (namespace, name) = (workload.namespace.as_str(), workload.name.as_str());
        match workload.kind {
            Kind::Rollout => self.rollouts.get(namespace, name),
            Kind::Deployment => {
                let deployed = self.deployments.get(namespace, name)?;
                let own = |owned: &Owned| owned.is_of(deployed.uid());
                deployed
                    .seen(&self.replica_sets.select(namespace, own))
                    .map(Arc::new)
            }
            Kind::Service => {
                let served = self.services.get(namespace, name)?;
                let names = workload.deployments.iter();
                let deployed = names.filter_map(|name| {
                    let deployed = self.deployments.get(namespace, name)?;
                    let own = |owned: &Owned| owned.is_of(deployed.uid());
                    let sets = self.replica_sets.select(namespace, own);
                    Some((deployed, sets))
                });
                served.seen(&deployed.collect::<Vec<_>>()).map(Arc::new)
            }
        }
    }

    /// Others whenever a watch has told of a change of a workload.
    #[must_use]
    pub fn versions(&self, workload: &Workload) -> [Option<u64>; 3] {
        let (namespace, name) = (workload.namespace.as_str(), workload.name.as_str());
        let sets = self.replica_sets.told(namespace);
        match workload.kind {
            Kind::Rollout => [self.rollouts.version(namespace, name), None, None],
            Kind::Deployment => {
                let own = self.deployments.version(namespace, name);
                [own, sets, None]
            }
            Kind::Service => {
                let own = self.services.version(namespace, name);
                [own, self.deployments.told(namespace), sets]
            }
        }
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
