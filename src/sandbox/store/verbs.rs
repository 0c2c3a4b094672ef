//! What clients may do to objects, with the checks that an API server makes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::json::{count, items, set, stamp, text};
use super::super::kind::Kind;
use super::super::refusal::Refusal;
use super::super::schema;
use super::{Key, Part, Store};

/// What the server keeps of an object's metadata, whatever a client sends.
const KEPT: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "namespace",
    "resourceVersion",
];

// === impl Store ===

impl Store {
    /// Creates an object. Nothing is kept of a dry run, here and below.
    pub(in super::super) fn create(
        &mut self,
        key: &Key,
        mut object: Value,
        now: Timestamp,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        sound(&object)?;
        if self.get(key).is_some() {
            return Err(Refusal::already_exists(&kind, &key.name));
        }
        if !text(&object["metadata"]["resourceVersion"]).is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::bad_request(why));
        }
        if kind.has_status() {
            set(&mut object, "status", None);
        }
        if kind.name == "CustomResourceDefinition" {
            object["status"] = established(&object, now);
        }
        admit(&kind, key, &mut object)?;
        self.birth(&kind, key, &mut object, now);
        Ok(if dry {
            object
        } else {
            self.commit(key, Some(object))
        })
    }

    /// Replaces one part of an object. A resourceVersion or uid in `object` is a precondition.
    pub(in super::super) fn update(
        &mut self,
        key: &Key,
        part: Part,
        mut object: Value,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        sound(&object)?;
        let found = self.found(&kind, key)?;
        expect(&kind, key, &object["metadata"], &found)?;
        if object["metadata"]["name"] != found["metadata"]["name"] {
            let why = "the name of the object does not match the name on the URL";
            return Err(Refusal::bad_request(why));
        }
        if part == Part::Status {
            let status = object.get_mut("status").map(Value::take);
            object = found.clone();
            set(&mut object, "status", status);
        } else if kind.has_status() {
            set(&mut object, "status", found.get("status").cloned());
        }
        for field in KEPT {
            set(
                &mut object["metadata"],
                field,
                found["metadata"].get(field).cloned(),
            );
        }
        admit(&kind, key, &mut object)?;
        bump(&kind, &found, &mut object);
        let last = !object["metadata"]["deletionTimestamp"].is_null() && free(&object);
        match (dry, last) {
            (true, _) => Ok(object),
            (false, true) => Ok(self.commit(key, None)),
            (false, false) => Ok(self.commit(key, Some(object))),
        }
    }

    /// Deletes an object, or only marks it while it has finalizers. Returns its last form.
    pub(in super::super) fn delete(
        &mut self,
        key: &Key,
        options: &Value,
        now: Timestamp,
        dry: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(&key.group, &key.plural)?;
        let mut object = self.found(&kind, key)?;
        expect(&kind, key, &options["preconditions"], &object)?;
        if free(&object) {
            return Ok(if dry { object } else { self.commit(key, None) });
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(stamp(now));
        }
        Ok(if dry {
            object
        } else {
            self.commit(key, Some(object))
        })
    }

    fn found(&self, kind: &Kind, key: &Key) -> Result<Value, Refusal> {
        self.get(key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(kind, &key.name))
    }
}

/// The generation counts changes of what is asked for, not of metadata or status.
pub(super) fn bump(kind: &Kind, found: &Value, object: &mut Value) {
    let asked = |object: &Value| {
        let mut asked = object.clone();
        set(&mut asked, "metadata", None);
        if kind.has_status() {
            set(&mut asked, "status", None);
        }
        asked
    };
    if kind.counts_generations() && asked(found) != asked(object) {
        object["metadata"]["generation"] = json!(count(&found["metadata"]["generation"]) + 1);
    }
}

/// The preconditions that a client gave: the version and the identity that it knows.
fn expect(kind: &Kind, key: &Key, given: &Value, found: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        let given = text(&given[field]);
        if !given.is_empty() && found["metadata"][field] != given {
            return Err(Refusal::conflict(kind, &key.name, field));
        }
    }
    Ok(())
}

fn free(object: &Value) -> bool {
    items(&object["metadata"]["finalizers"]).is_empty()
}

/// Refuses what no API server would decode; the rest of the sandbox indexes into objects freely.
fn sound(object: &Value) -> Result<(), Refusal> {
    let metadata = &object["metadata"];
    let mut maps = vec![metadata, &object["spec"], &object["status"]];
    maps.extend([&metadata["labels"], &metadata["annotations"]]);
    if object.is_object() && maps.iter().all(|map| map.is_object() || map.is_null()) {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "metadata, spec and status must be objects",
    ))
}

fn admit(kind: &Kind, key: &Key, object: &mut Value) -> Result<(), Refusal> {
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.name);
    let Some(schema) = &kind.schema else {
        return Ok(());
    };
    schema::shape(object, schema);
    let causes = schema::check(object, schema);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(kind, &key.name, &causes))
    }
}

fn established(crd: &Value, now: Timestamp) -> Value {
    let condition = |kind: &str| {
        let mut condition = json!({ "type": kind, "status": "True", "reason": "Accepted" });
        condition["lastTransitionTime"] = json!(stamp(now));
        condition["message"] = json!("");
        condition
    };
    json!({
        "acceptedNames": crd["spec"]["names"],
        "conditions": [condition("NamesAccepted"), condition("Established")],
        "storedVersions": [crd["spec"]["versions"][0]["name"]],
    })
}
