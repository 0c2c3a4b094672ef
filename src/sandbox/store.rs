//! The objects of the simulated cluster, as untyped JSON, with the bookkeeping that an API server does: versions, uids,
//! generations, finalizers, the status subresource, and a bounded log of changes for watches.
//!
//! No clock and no I/O: `now` is passed in. CEL rules of CRDs are not evaluated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::Kind;
use super::refusal::Refusal;
use super::schema;

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
        let [group, plural] = [first.group.clone(), first.plural.clone()];
        let namespace = namespace.map(str::to_owned);
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.group == group && key.plural == plural)
            .filter(move |(key, _)| {
                namespace
                    .as_ref()
                    .is_none_or(|namespace| key.namespace == *namespace)
            })
            .map(|(key, object)| (key, object.as_ref()))
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
        (version >= oldest).then(|| {
            self.log
                .iter()
                .filter(move |change| change.version > version)
        })
    }

    /// Creates an object as a client does.
    pub(super) fn create(
        &mut self,
        key: &Key,
        mut object: Value,
        now: Timestamp,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        sound(&object)?;
        if self.objects.contains_key(key) {
            return Err(Refusal::already_exists(&kind, &key.name));
        }
        if object["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
        {
            return Err(Refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if let Some(object) = object.as_object_mut().filter(|_| kind.status) {
            object.remove("status");
        }
        if kind.plural == "customresourcedefinitions" {
            object["status"] = established(&object, now);
        }
        admit(&kind, key, &mut object)?;
        self.birth(&kind, key, &mut object, now);
        if dry {
            return Ok(object);
        }
        Ok(self.commit(key, Some(object)))
    }

    /// Replaces one part of an object as a client does. A resourceVersion or uid in `object` is a precondition.
    pub(super) fn update(
        &mut self,
        key: &Key,
        part: Part,
        mut object: Value,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        sound(&object)?;
        let found = self
            .objects
            .get(key)
            .ok_or_else(|| Refusal::not_found(&kind, &key.name))?
            .clone();
        for (field, why) in [
            (
                "uid",
                "Precondition failed: UID in precondition does not match",
            ),
            (
                "resourceVersion",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
        ] {
            let given = object["metadata"][field].as_str().unwrap_or_default();
            if !given.is_empty() && found["metadata"][field] != given {
                return Err(Refusal::conflict(&kind, &key.name, why));
            }
        }
        if object["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name != key.name)
        {
            return Err(Refusal::bad_request(
                "the name of the object does not match the name on the URL",
            ));
        }
        match part {
            Part::Status => {
                let status = object.get_mut("status").map(Value::take);
                object = found.as_ref().clone();
                set(&mut object, "status", status);
            }
            Part::Main if kind.status => set(&mut object, "status", found.get("status").cloned()),
            Part::Main => {}
        }
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
            "namespace",
            "resourceVersion",
        ] {
            set(
                &mut object["metadata"],
                field,
                found["metadata"].get(field).cloned(),
            );
        }
        admit(&kind, key, &mut object)?;
        bump(&kind, &found, &mut object);
        if dry {
            return Ok(object);
        }
        let finalized =
            !object["metadata"]["deletionTimestamp"].is_null() && no_finalizers(&object);
        if finalized {
            self.commit(key, None);
            return Ok(object);
        }
        Ok(self.commit(key, Some(object)))
    }

    /// Deletes an object, or only marks it while it has finalizers. Returns what was left of it.
    pub(super) fn delete(
        &mut self,
        key: &Key,
        options: &Value,
        now: Timestamp,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        let found = self
            .objects
            .get(key)
            .ok_or_else(|| Refusal::not_found(&kind, &key.name))?
            .clone();
        for field in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][field];
            if !wanted.is_null() && *wanted != found["metadata"][field] {
                let why = format!("Precondition failed: {field} in precondition does not match");
                return Err(Refusal::conflict(&kind, &key.name, &why));
            }
        }
        let mut object = found.as_ref().clone();
        if no_finalizers(&object) {
            if !dry {
                self.commit(key, None);
            }
            return Ok(object);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(stamp(now));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if !dry {
                return Ok(self.commit(key, Some(object)));
            }
        }
        Ok(object)
    }

    /// Writes a whole object, status included, as the simulated controllers do. Nothing happens when nothing differs.
    pub(super) fn put(&mut self, key: &Key, mut object: Value, now: Timestamp) {
        let Ok(kind) = self.kind(&key.group, &key.plural) else {
            return;
        };
        match self.objects.get(key).cloned() {
            None => {
                object["apiVersion"] = json!(kind.api_version());
                object["kind"] = json!(kind.kind);
                self.birth(&kind, key, &mut object, now);
            }
            Some(found) => bump(&kind, &found, &mut object),
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
        set(metadata, "generation", kind.generation.then(|| json!(1)));
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

/// A time as Kubernetes writes it: whole seconds.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Sets a field, or takes it away.
pub(super) fn set(object: &mut Value, field: &str, value: Option<Value>) {
    match (value, object.as_object_mut()) {
        (Some(value), _) => object[field] = value,
        (None, Some(object)) => drop(object.remove(field)),
        (None, None) => {}
    }
}

fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_none_or(Vec::is_empty)
}

/// Refuses what no API server would decode; the rest of this program indexes into objects freely.
fn sound(object: &Value) -> Result<(), Refusal> {
    let metadata = &object["metadata"];
    let maps = [
        &object["metadata"],
        &object["spec"],
        &object["status"],
        &metadata["labels"],
        &metadata["annotations"],
    ];
    if object.is_object() && maps.iter().all(|map| map.is_object() || map.is_null()) {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "the object provided is unrecognized: metadata, spec and status must be objects",
    ))
}

fn admit(kind: &Kind, key: &Key, object: &mut Value) -> Result<(), Refusal> {
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    if let Some(schema) = &kind.schema {
        schema::shape(object, schema);
        let causes = schema::check(object, schema);
        if !causes.is_empty() {
            return Err(Refusal::invalid(kind, &key.name, &causes));
        }
    }
    Ok(())
}

fn bump(kind: &Kind, found: &Value, object: &mut Value) {
    let asked = |object: &Value| {
        let mut asked = object.clone();
        set(&mut asked, "metadata", None);
        if kind.status {
            set(&mut asked, "status", None);
        }
        asked
    };
    if kind.generation && asked(found) != asked(object) {
        let generation = found["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        object["metadata"]["generation"] = json!(generation);
    }
}

fn established(crd: &Value, now: Timestamp) -> Value {
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "InitialNamesAccepted", "message": "", "lastTransitionTime": stamp(now) });
    json!({
        "acceptedNames": crd["spec"]["names"],
        "conditions": [condition("NamesAccepted"), condition("Established")],
        "storedVersions": [crd["spec"]["versions"][0]["name"]],
    })
}
