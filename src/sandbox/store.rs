//! The objects of the simulated cluster, as untyped JSON, with the bookkeeping that an API server does: versions, uids,
//! generations, finalizers, the status subresource, and a bounded log of changes for watches.
//!
//! No clock and no I/O: `now` is passed in. CEL rules of CRDs are not evaluated.

#[cfg(test)]
mod tests;
mod verbs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{set, stamp};
use super::kind::Kind;
use super::refusal::Refusal;

/// Where an object is. The API version is not part of it: every version is the same object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) group: String,
    pub(super) plural: String,
    /// Empty for objects of the whole cluster.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Which part of an object a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
}

/// One entry of the log: the object before and after. A deleted object's last form carries the version of its deletion.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// All objects and the log of the latest changes.
#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    keep: usize,
    version: u64,
    issued: u64,
    seed: u16,
}

// === impl Key ===

impl Key {
    pub(super) fn new(group: &str, plural: &str, namespace: &str, name: &str) -> Self {
        let [group, plural, namespace, name] = [group, plural, namespace, name].map(str::to_owned);
        Self {
            group,
            plural,
            namespace,
            name,
        }
    }
}

// === impl Store ===

impl Store {
    /// An empty store. `seed` tells the uids of one sandbox from those of another; `keep` bounds the log.
    pub(super) fn new(seed: u16, keep: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            keep,
            version: 1,
            issued: 0,
            seed,
        }
    }

    /// The resourceVersion of the latest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(Arc::as_ref)
    }

    /// The objects of one kind, in one namespace or in all.
    pub(super) fn list(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&Key, &Value)> {
        let first = Key::new(group, plural, namespace.unwrap_or_default(), "");
        let everywhere = namespace.is_none();
        let objects = self.objects.range(first.clone()..);
        let wanted = move |key: &Key| {
            let here = everywhere || key.namespace == first.namespace;
            key.group == first.group && key.plural == first.plural && here
        };
        let objects = objects.take_while(move |(key, _)| wanted(key));
        objects.map(|(key, object)| (key, object.as_ref()))
    }

    /// Every object.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects
            .iter()
            .map(|(key, object)| (key, object.as_ref()))
    }

    /// Every kind that can be stored now.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let crds = self.list("apiextensions.k8s.io", "customresourcedefinitions", None);
        Kind::builtin().chain(crds.filter_map(|(_, crd)| Kind::from_crd(crd)))
    }

    /// The kind with this plural.
    pub(super) fn kind(&self, group: &str, plural: &str) -> Result<Kind, Refusal> {
        self.kinds()
            .find(|kind| kind.group == group && kind.plural == plural)
            .ok_or_else(Refusal::no_such_resource)
    }

    /// The changes after `version`, or `None` when the log no longer reaches back that far.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let oldest = self
            .log
            .front()
            .map_or(self.version, |change| change.version - 1);
        let later = self
            .log
            .iter()
            .filter(move |change| change.version > version);
        (version >= oldest).then_some(later)
    }

    /// Writes a whole object, status included, as the simulated controllers do. Nothing happens when nothing differs.
    pub(super) fn put(&mut self, key: &Key, mut object: Value, now: Timestamp) {
        let Ok(kind) = self.kind(&key.group, &key.plural) else {
            return;
        };
        match self.objects.get(key).cloned() {
            None => {
                object["apiVersion"] = json!(kind.api_version());
                object["kind"] = json!(kind.name);
                self.birth(&kind, key, &mut object, now);
            }
            Some(found) => verbs::bump(&kind, &found, &mut object),
        }
        self.commit(key, Some(object));
    }

    /// Removes an object whatever holds it.
    pub(super) fn remove(&mut self, key: &Key) {
        self.commit(key, None);
    }

    fn birth(&mut self, kind: &Kind, key: &Key, object: &mut Value, now: Timestamp) {
        self.issued += 1;
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!(
            "{:08x}-0000-4000-8000-{:012x}",
            self.seed, self.issued
        ));
        metadata["creationTimestamp"] = json!(stamp(now));
        set(metadata, "deletionTimestamp", None);
        set(
            metadata,
            "generation",
            kind.counts_generations().then(|| json!(1)),
        );
    }

    /// The one place where objects change.
    fn commit(&mut self, key: &Key, object: Option<Value>) -> Value {
        let before = self.objects.get(key).cloned();
        if before.as_deref() == object.as_ref() {
            return object.unwrap_or_default();
        }
        self.version += 1;
        let version = json!(self.version.to_string());
        let stamped = |mut object: Value| {
            object["metadata"]["resourceVersion"] = version;
            Arc::new(object)
        };
        let (before, after) = match object {
            Some(object) => (before, Some(stamped(object))),
            None => (before.map(|object| stamped(object.as_ref().clone())), None),
        };
        match &after {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        let written = after
            .as_deref()
            .or(before.as_deref())
            .cloned()
            .unwrap_or_default();
        self.log.push_back(Change {
            version: self.version,
            key: key.clone(),
            before,
            after,
        });
        if self.log.len() > self.keep {
            self.log.pop_front();
        }
        written
    }
}
