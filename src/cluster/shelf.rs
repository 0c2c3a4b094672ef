//! One kind of object, as the watches last told: a cache that says when it is filled and when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

type Key = (String, String);

/// A cache of one kind of object over several namespaces.
pub struct Shelf<T> {
    state: RwLock<State<T>>,
    changed: watch::Sender<u64>,
}

struct State<T> {
    objects: BTreeMap<Key, Arc<T>>,
    filled: BTreeSet<String>,
}

impl<T> Shelf<T> {
    /// An empty shelf that rings `changed` at every change.
    #[must_use]
    pub fn new(changed: watch::Sender<u64>) -> Self {
        Self {
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                filled: BTreeSet::new(),
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
                .cloned()
        })
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
                .map(|(_, object)| object)
                .filter(|object| wanted(object))
                .cloned()
                .collect()
        })
    }

    /// Every object.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read(|state| state.objects.values().cloned().collect())
    }

    /// Whether a namespace was listed completely once.
    #[must_use]
    pub fn filled(&self, namespace: &str) -> bool {
        self.read(|state| state.filled.contains(namespace))
    }

    /// Puts in what a write has just returned, where the watch has not told of it yet.
    pub fn offer(&self, namespace: &str, name: &str, object: T) {
        self.write(|state| {
            state
                .objects
                .entry((namespace.to_owned(), name.to_owned()))
                .or_insert_with(|| Arc::new(object));
        });
    }

    /// Puts in what a write has just returned, over what the watch told before it.
    pub fn replace(&self, namespace: &str, name: &str, object: T) {
        self.write(|state| {
            state
                .objects
                .insert((namespace.to_owned(), name.to_owned()), Arc::new(object));
        });
    }

    /// Takes out what a read has just shown to be gone.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.write(|state| {
            state
                .objects
                .remove(&(namespace.to_owned(), name.to_owned()));
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
        let mut events = std::pin::pin!(watch_objects(api, config).default_backoff());
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.insert(object.name_any());
                    self.put(namespace, object, &convert);
                }
                Ok(Event::InitDone) => {
                    self.write(|state| {
                        state
                            .objects
                            .retain(|(ns, name), _| ns != namespace || listed.contains(name));
                        state.filled.insert(namespace.to_owned());
                    });
                }
                Ok(Event::Apply(object)) => self.put(namespace, object, &convert),
                Ok(Event::Delete(object)) => {
                    self.write(|state| {
                        state
                            .objects
                            .remove(&(namespace.to_owned(), object.name_any()));
                    });
                }
                Err(error) => {
                    tracing::warn!(k8s.namespace = namespace, kind = std::any::type_name::<T>(), %error, "a watch failed and is begun again");
                    // The stream backs off by itself; this keeps a refusal from filling the log.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn put<K: Resource>(
        &self,
        namespace: &str,
        object: K,
        convert: impl Fn(K, Option<&T>) -> Option<T>,
    ) {
        let key = (namespace.to_owned(), object.name_any());
        self.write(|state| {
            let before = state.objects.get(&key).cloned();
            match convert(object, before.as_deref()) {
                Some(kept) => state.objects.insert(key, Arc::new(kept)),
                None => state.objects.remove(&key),
            };
        });
    }

    fn read<R>(&self, look: impl FnOnce(&State<T>) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|seq| *seq = seq.wrapping_add(1));
    }
}
