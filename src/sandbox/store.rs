//! The objects of the simulated cluster, as untyped JSON, with the bookkeeping that an API server does: versions, uids,
//! generations, finalizers, the status subresource, and a bounded log of changes for watches.
//!
//! No clock and no I/O: it is told the time.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::{CRDS, Kind};
use super::object::{count, is_stopping, items, set, stamp, text};
use super::refusal::{Refusal, not_found, refuse};

/// How many changes watches can look back.
const HISTORY: usize = 5_000;

/// Where an object is. No two kinds here have the same plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
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

/// One entry of the log. A deleted object's last form carries the version of its deletion.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    pub(super) last: Arc<Value>,
    pub(super) gone: bool,
}

/// What a controller wants an object to be; `None` removes it.
pub(super) type Write = (Key, Option<Value>);

/// All objects and the log of the latest changes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    /// The time at which everything happens.
    pub(super) now: Timestamp,
    /// The resourceVersion of the latest change.
    pub(super) version: u64,
}

impl Key {
    pub(super) fn new(plural: &str, namespace: &str, name: &str) -> Self {
        Self {
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Where this object of a kind is.
    pub(super) fn of(plural: &str, object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self::new(
            plural,
            text(&metadata["namespace"]),
            text(&metadata["name"]),
        )
    }
}

impl Store {
    /// One object, by its plural without the group.
    #[must_use]
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.get(&Key::new(plural, namespace, name))
    }

    /// All objects with this plural.
    pub fn objects(&self, plural: &str) -> impl Iterator<Item = &Value> {
        let objects = self.objects.iter();
        let objects = objects.filter(move |(key, _)| key.plural == plural);
        objects.map(|(_, object)| object.as_ref())
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(Arc::as_ref)
    }

    /// A copy of an object for a client.
    pub(super) fn find(&self, key: &Key) -> Result<Value, Refusal> {
        let found = self.get(key).cloned();
        found.ok_or_else(|| not_found(&key.name))
    }

    /// Every object.
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.objects.values().map(Arc::as_ref)
    }

    /// Every kind that can be stored now.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::builtin().chain(self.objects(CRDS).filter_map(Kind::from_crd))
    }

    /// The kind with this plural.
    pub(super) fn kind(&self, plural: &str) -> Result<Kind, Refusal> {
        let kind = self.kinds().find(|kind| kind.plural == plural);
        kind.ok_or_else(|| not_found(plural))
    }

    /// The changes after `version`, or `None` when the log no longer reaches back that far.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let oldest = self.log.front().map_or(0, |change| change.version - 1);
        let changes = self.log.iter();
        (version >= oldest).then(|| changes.filter(move |change| change.version > version))
    }

    /// Creates an object for a client.
    pub(super) fn create(&mut self, key: &Key, mut object: Value) -> Result<Value, Refusal> {
        if key.name.is_empty() {
            return Err(refuse(400, "BadRequest", "metadata.name is required"));
        }
        if self.get(key).is_some() {
            let message = format!("{} already exists", key.name);
            return Err(refuse(409, "AlreadyExists", &message));
        }
        set(&mut object, "status", None);
        self.kind(&key.plural)?.admit(&mut object);
        Ok(self.put(key, object))
    }

    /// Replaces one part of an object for a client. A resourceVersion or uid in `object` is a precondition.
    pub(super) fn update(
        &mut self,
        key: &Key,
        part: Part,
        object: Value,
    ) -> Result<Value, Refusal> {
        let found = self.find(key)?;
        expect(&object["metadata"], &found)?;
        let mut metadata = found["metadata"].clone();
        let (mut object, status) = match part {
            Part::Main => (object, found.get("status").cloned()),
            Part::Status => (found, object.get("status").cloned()),
        };
        set(&mut object, "status", status);
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            let value = object["metadata"].get(field).cloned();
            set(&mut metadata, field, value);
        }
        object["metadata"] = metadata;
        self.kind(&key.plural)?.admit(&mut object);
        if is_stopping(&object) && items(&object["metadata"]["finalizers"]).is_empty() {
            return Ok(self.commit(key, object, true));
        }
        Ok(self.put(key, object))
    }

    /// Deletes an object for a client, or only marks it while it has finalizers. Returns its last form.
    pub(super) fn delete(&mut self, key: &Key, preconditions: &Value) -> Result<Value, Refusal> {
        let mut object = self.find(key)?;
        expect(preconditions, &object)?;
        let gone = items(&object["metadata"]["finalizers"]).is_empty();
        if !gone && !is_stopping(&object) {
            object["metadata"]["deletionTimestamp"] = json!(stamp(self.now));
        }
        Ok(self.commit(key, object, gone))
    }

    /// Writes a whole object, status included, as the simulated controllers do. Nothing happens when nothing differs.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) -> Value {
        if let Some(found) = self.get(key) {
            let generation = count(&found["metadata"]["generation"]);
            let changed = asked(found) != asked(&object);
            object["metadata"]["generation"] = json!(generation + u64::from(changed));
        } else {
            let metadata = &mut object["metadata"];
            metadata["name"] = json!(key.name);
            let namespace = Some(json!(key.namespace)).filter(|_| key.plural != CRDS);
            set(metadata, "namespace", namespace);
            let uid = format!("00000000-0000-4000-8000-{:012x}", self.version + 1);
            metadata["uid"] = json!(uid);
            metadata["creationTimestamp"] = json!(stamp(self.now));
            metadata["generation"] = json!(1);
        }
        self.commit(key, object, false)
    }

    /// Does what a controller wants, whatever holds an object.
    pub(super) fn apply(&mut self, writes: Vec<Write>) {
        for (key, object) in writes {
            if let Some(object) = object {
                self.put(&key, object);
            } else if let Some(object) = self.get(&key).cloned() {
                self.commit(&key, object, true);
            }
        }
    }

    /// The one place where objects change.
    fn commit(&mut self, key: &Key, mut object: Value, gone: bool) -> Value {
        let before = self.objects.get(key).cloned();
        if !gone && before.as_deref() == Some(&object) {
            return object;
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(object.clone());
        if gone {
            self.objects.remove(key);
        } else {
            self.objects.insert(key.clone(), last.clone());
        }
        self.log.push_back(Change {
            version: self.version,
            key: key.clone(),
            before,
            last,
            gone,
        });
        if self.log.len() > HISTORY {
            self.log.pop_front();
        }
        object
    }
}

/// What the generation counts: everything but metadata and status.
fn asked(object: &Value) -> Value {
    let mut asked = object.clone();
    set(&mut asked, "metadata", None);
    set(&mut asked, "status", None);
    asked
}

/// The preconditions that a client gave: the version and the identity that it knows.
fn expect(given: &Value, found: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        let given = text(&given[field]);
        if !given.is_empty() && found["metadata"][field] != given {
            let message = format!("the object has been modified: {field} is not {given}");
            return Err(refuse(409, "Conflict", &message));
        }
    }
    Ok(())
}
