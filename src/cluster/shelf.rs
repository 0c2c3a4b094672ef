//! One kind of object, as the watches last told: a cache that says when it is filled and when it changes.
//!
//! What a write returned may come before the watch tells of it, or after the watch told of something newer. The newer one
//! stays: objects are compared by resourceVersion, which for one kind only grows, and which a watch tells in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher as watch_objects;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Error;

type Key = (String, String);

/// What the shelf of the hold is called.
pub(super) const HOLD: &str = "the hold";
/// What the shelves of the workloads are called.
pub(super) const ROLLOUTS: &str = "rollouts";
pub(super) const DEPLOYMENTS: &str = "deployments";
pub(super) const SERVICES: &str = "services";
/// What the shelf of the Deployments' replica sets is called.
pub(super) const REPLICA_SETS: &str = "replicasets";
/// What the shelf of the rollbacks is called.
pub(super) const ROLLBACKS: &str = "rollbacks";

/// How long a watch may fail before what it told is not believed any more.
const STALE: Duration = Duration::from_secs(30);

/// How long to wait, at most, before a watch that fails is begun again.
const AGAIN: Duration = Duration::from_secs(10);

/// A watch that has not failed again for this long works, though nothing happened that it could have told. It is longer than an
/// answer is waited for and the wait after it.
const CALM: Duration = Duration::from_mins(2);
/// The same after a list, which is followed by the watch at once.
const CALM_LISTED: Duration = Duration::from_secs(10);

/// How often a watch that fails in the same way is mentioned in the log.
const MENTIONED: Duration = Duration::from_mins(1);

/// A cache of one kind of object over several namespaces.
pub struct Shelf<T> {
    /// What is on it, in the plural.
    what: &'static str,
    state: RwLock<State<T>>,
    changed: watch::Sender<u64>,
}

struct State<T> {
    objects: BTreeMap<Key, Kept<T>>,
    filled: BTreeSet<String>,
    /// The namespaces whose watch fails, and since when.
    failing: BTreeMap<String, Failing>,
    /// The newest version that the watch of a namespace told.
    told: BTreeMap<String, u64>,
}

/// A watch that fails.
struct Failing {
    /// Since when nothing was told: the first failure, or the last list.
    since: Instant,
    /// Why, at last.
    why: String,
    /// When that was last mentioned in the log.
    mentioned: Instant,
    /// If it has not failed again by then, it works.
    until: Instant,
}

struct Kept<T> {
    version: u64,
    object: Arc<T>,
}

impl<T> Shelf<T> {
    /// An empty shelf for `what` that rings `changed` at every change.
    #[must_use]
    pub fn new(what: &'static str, changed: watch::Sender<u64>) -> Self {
        Self {
            what,
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                filled: BTreeSet::new(),
                failing: BTreeMap::new(),
                told: BTreeMap::new(),
            }),
            changed,
        }
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.read(|state| {
            state
                .objects
                .get(&(namespace.to_owned(), name.to_owned()))
                .map(|kept| Arc::clone(&kept.object))
        })
    }

    /// The version of the object of that name.
    #[must_use]
    pub fn version(&self, namespace: &str, name: &str) -> Option<u64> {
        let key = (namespace.to_owned(), name.to_owned());
        self.read(|state| Some(state.objects.get(&key)?.version))
    }

    /// The newest version that the watch of a namespace told.
    #[must_use]
    pub fn told(&self, namespace: &str) -> Option<u64> {
        self.read(|state| state.told.get(namespace).copied())
    }

    /// The objects of a namespace that are wanted, by name.
    #[must_use]
    pub fn select(&self, namespace: &str, wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        self.read(|state| {
            let from = (namespace.to_owned(), String::new());
            let range = state
                .objects
                .range(from..)
                .take_while(|((ns, _), _)| ns == namespace);
            range
                .map(|(_, kept)| &kept.object)
                .filter(|object| wanted(object))
                .cloned()
                .collect()
        })
    }

    /// Every object.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read(|state| {
            let all = state.objects.values();
            all.map(|kept| Arc::clone(&kept.object)).collect()
        })
    }

    /// Whether the watch of a namespace fails now.
    #[must_use]
    pub fn failing(&self, namespace: &str) -> bool {
        self.read(|state| state.failing.contains_key(namespace))
    }

    /// Why the watch of a namespace fails now, and what helps against it.
    #[must_use]
    pub fn trouble(&self, namespace: &str) -> Option<String> {
        self.read(|state| Some(state.failing.get(namespace)?.why.clone()))
    }

    /// What is on it, in the plural.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Whether a namespace was listed completely, and its watch has not failed for long since.
    #[must_use]
    pub fn filled(&self, namespace: &str) -> bool {
        self.read(|state| state.filled.contains(namespace))
    }

    /// Puts in what a call has just returned, unless something newer is known: of the object, or of its end.
    pub fn offer(&self, namespace: &str, name: &str, object: impl Into<Arc<T>>)
    where
        T: Resource,
    {
        let object = object.into();
        let version = version(&*object);
        self.write(|state| {
            let key = (namespace.to_owned(), name.to_owned());
            let told = state.told.get(namespace).copied().unwrap_or_default();
            let known = state.objects.get(&key).map_or(0, |kept| kept.version);
            if version == 0 || version > told.max(known) {
                state.objects.insert(key, Kept { version, object });
            }
        });
    }

    /// Takes out what a read has just shown to be gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.write(|state| {
            state
                .objects
                .remove(&(namespace.to_owned(), name.to_owned()));
        });
    }

    /// Takes out everything of a namespace that is not followed any more.
    pub fn leave(&self, namespace: &str) {
        self.write(|state| {
            state.objects.retain(|(ns, _), _| ns != namespace);
            state.filled.remove(namespace);
            state.failing.remove(namespace);
            state.told.remove(namespace);
        });
    }

    /// Follows a namespace for ever. `convert` makes what is kept from an object and what was kept of it before; an
    /// object that it refuses is left out.
    pub async fn follow<K>(
        &self,
        api: Api<K>,
        namespace: &str,
        config: watcher::Config,
        convert: impl Fn(K, Option<&T>) -> Option<T>,
    ) where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        // With a list, whose answer says that there is one: a watch that is taken up again tells nothing until something
        // happens.
        let begin = || watch_objects(api.clone(), config.clone());
        let mut events = std::pin::pin!(begin());
        let mut backoff = DefaultBackoff::default();
        let mut listed = BTreeSet::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.calm(namespace) => {
                    self.heard(namespace);
                    backoff.reset();
                    continue;
                }
            };
            if let Some(Ok(Event::Apply(_) | Event::Delete(_))) = event {
                self.heard(namespace);
                backoff.reset();
            }
            match event {
                Some(Ok(Event::Init)) => {
                    listed.clear();
                    self.forget_versions(namespace);
                }
                Some(Ok(Event::InitApply(object))) => {
                    listed.insert(object.name_any());
                    self.put(namespace, object, &convert);
                }
                Some(Ok(Event::InitDone)) => self.fill(namespace, &listed),
                Some(Ok(Event::Apply(object))) => self.put(namespace, object, &convert),
                Some(Ok(Event::Delete(object))) => self.end(namespace, &object),
                Some(Err(error)) => {
                    self.failed(namespace, &Error::from(error));
                    let pause = backoff.next().unwrap_or(AGAIN).min(AGAIN);
                    tokio::time::sleep(pause).await;
                    events.set(begin());
                }
                None => events.set(begin()),
            }
        }
    }

    /// Waits until a watch that failed, and was begun again with a list, has not failed again for long enough.
    async fn calm(&self, namespace: &str) {
        let until = self.read(|state| {
            let failing = state.failing.get(namespace)?;
            state.filled.contains(namespace).then_some(failing.until)
        });
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Notes that a namespace was listed completely: what was not in the list is gone.
    fn fill(&self, namespace: &str, listed: &BTreeSet<String>) {
        let now = Instant::now();
        self.write(|state| {
            state
                .objects
                .retain(|(ns, name), _| ns != namespace || listed.contains(name));
            state.filled.insert(namespace.to_owned());
            // That a list is answered says nothing of the watch.
            if let Some(failing) = state.failing.get_mut(namespace) {
                failing.since = now;
                failing.until = now + CALM_LISTED;
            }
        });
    }

    /// Notes that the watch works.
    fn heard(&self, namespace: &str) {
        if !self.failing(namespace) {
            return;
        }
        self.write(|state| state.failing.remove(namespace));
        tracing::info!(
            k8s.namespace = namespace,
            kind = self.what,
            "the watch works again"
        );
    }

    /// Notes that the watch failed, and says so where that is news or was not said for a while. What it told is not
    /// believed any more once it has failed for a while.
    fn failed(&self, namespace: &str, error: &Error) {
        let now = Instant::now();
        let why = self.advise(namespace, error);
        let mut mention = true;
        self.write(|state| {
            let before = state.failing.get(namespace);
            let since = before.map_or(now, |failing| failing.since);
            let mentioned = before
                .filter(|failing| failing.why == why)
                .map(|failing| failing.mentioned)
                .filter(|at| now.duration_since(*at) < MENTIONED);
            mention = mentioned.is_none();
            let failing = Failing {
                since,
                why: why.clone(),
                mentioned: mentioned.unwrap_or(now),
                until: now + CALM,
            };
            state.failing.insert(namespace.to_owned(), failing);
            if now.duration_since(since) > STALE {
                state.filled.remove(namespace);
            }
        });
        if mention {
            tracing::warn!(
                k8s.namespace = namespace,
                kind = self.what,
                error = why,
                "a watch fails and is begun again and again"
            );
        }
    }

    /// What failed, and what a person can do about it.
    fn advise(&self, namespace: &str, error: &Error) -> String {
        let advice = match (error, self.what) {
            (Error::Forbidden(_), HOLD) => "apply deploy/rbac/own-namespace.yaml".to_owned(),
            (Error::Forbidden(_), ROLLBACKS) => format!(
                "apply deploy/rbac/release-namespace to {namespace}, or deploy/rbac/own-namespace.yaml where that is Ripcord's own"
            ),
            (Error::Forbidden(_), DEPLOYMENTS | REPLICA_SETS) => {
                format!(
                    "apply deploy/rbac/deployment-targets to {namespace}, or deploy/rbac/service-targets for Deployments behind a Service"
                )
            }
            (Error::Forbidden(_), SERVICES) => {
                format!("apply deploy/rbac/service-targets to {namespace}")
            }
            (Error::Forbidden(_), _) => {
                format!("apply deploy/rbac/release-namespace to {namespace}")
            }
            (Error::NotFound(_), ROLLOUTS) => "install Argo Rollouts".to_owned(),
            (Error::NotFound(_), _) => "run kubectl apply -k deploy/crds".to_owned(),
            _ => return error.to_string(),
        };
        format!("{error}; {advice}")
    }

    /// A new list is taken as it is: it is newer than all before, even where a restored server counts from an earlier
    /// version.
    fn forget_versions(&self, namespace: &str) {
        self.write(|state| {
            state.told.remove(namespace);
            let all = state.objects.iter_mut();
            all.filter(|((ns, _), _)| ns == namespace)
                .for_each(|(_, kept)| kept.version = 0);
        });
    }

    fn put<K: Resource>(
        &self,
        namespace: &str,
        object: K,
        convert: impl Fn(K, Option<&T>) -> Option<T>,
    ) {
        let key = (namespace.to_owned(), object.name_any());
        let version = version(&object);
        self.write(|state| {
            state.tell(namespace, version);
            let before = state.objects.get(&key);
            if before.is_some_and(|kept| kept.version > version) {
                return;
            }
            let before = before.map(|kept| Arc::clone(&kept.object));
            match convert(object, before.as_deref()).map(Arc::new) {
                Some(object) => state.objects.insert(key, Kept { version, object }),
                None => state.objects.remove(&key),
            };
        });
    }

    fn end<K: Resource>(&self, namespace: &str, object: &K) {
        let key = (namespace.to_owned(), object.name_any());
        let version = version(object);
        self.write(|state| {
            state.tell(namespace, version);
            // One of the same name that was made since stays.
            if state
                .objects
                .get(&key)
                .is_some_and(|kept| kept.version <= version || version == 0)
            {
                state.objects.remove(&key);
            }
        });
    }

    fn read<R>(&self, look: impl FnOnce(&State<T>) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, change: impl FnOnce(&mut State<T>) -> R) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|seq| *seq = seq.wrapping_add(1));
    }
}

impl<T> State<T> {
    fn tell(&mut self, namespace: &str, version: u64) {
        let told = self.told.entry(namespace.to_owned()).or_default();
        *told = version.max(*told);
    }
}

/// The resourceVersion as a number; 0 where it is none, which nothing is compared with.
fn version(object: &impl Resource) -> u64 {
    let version = object.meta().resource_version.as_deref();
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
