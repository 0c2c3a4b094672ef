//! The custom resource definitions of both objects, as they are applied to a cluster.
//!
//! They are generated from the types, then made to fit: a status holds its defaults from the first moment on, so that
//! the first tested patch finds its path, and formats that only Rust knows are left out.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{Memory, Rollback};

/// The formats of numbers and texts that Kubernetes knows; others would only earn a warning on every apply.
const FORMATS: [&str; 6] = ["date", "date-time", "double", "float", "int32", "int64"];

/// The definition of `rollbacks.ripcord.dev`.
#[must_use]
pub fn rollbacks() -> CustomResourceDefinition {
    fitted(Rollback::crd())
}

/// The definition of `targets.ripcord.dev`.
#[must_use]
pub fn targets() -> CustomResourceDefinition {
    fitted(Memory::crd())
}

/// The fields of spec and status in the schema of an object, as paths such as `status.run.epoch`; those of the items of a
/// list are behind `[]`.
#[must_use]
pub fn fields(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in ["spec", "status"] {
        walk(&schema["properties"][part], part, &mut found);
    }
    found
}

/// The same of a definition, in the version that is stored.
#[must_use]
pub fn fields_of(definition: &CustomResourceDefinition) -> BTreeSet<String> {
    let mut versions = definition.spec.versions.iter();
    let stored = versions.find(|version| version.storage);
    let schema = stored.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let schema = schema.and_then(|schema| serde_json::to_value(schema).ok());
    schema.map(|schema| fields(&schema)).unwrap_or_default()
}

fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        walk(inner, &path, found);
        found.insert(path);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), found);
    }
}

/// A definition that a person would have written.
fn fitted(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&definition) else {
        return definition;
    };
    if let Some(Value::Array(versions)) = value.pointer_mut("/spec/versions") {
        for schema in versions
            .iter_mut()
            .filter_map(|version| version.pointer_mut("/schema/openAPIV3Schema"))
        {
            without_foreign_formats(schema);
            with_status(schema);
        }
    }
    serde_json::from_value(value).unwrap_or(definition)
}

/// Every object has a status from its creation on: the first patch that tests `epoch` or `seq` finds them.
fn with_status(schema: &mut Value) {
    if let Some(Value::Object(status)) = schema.pointer_mut("/properties/status") {
        status.remove("nullable");
        status.insert("default".to_owned(), Value::Object(Map::new()));
    }
}

fn without_foreign_formats(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            drop_format(map);
            map.values_mut().for_each(without_foreign_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(without_foreign_formats),
        _ => {}
    }
}

/// A property that is called `format` is an object, not a text.
fn drop_format(map: &mut Map<String, Value>) {
    let foreign = map
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| !FORMATS.contains(&format));
    if foreign {
        map.remove("format");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::{MemoryStatus, RollbackStatus};

    /// What Kubernetes lets a structural schema hold.
    const KEYS: [&str; 20] = [
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "additionalProperties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];

    fn schema(definition: &CustomResourceDefinition) -> Value {
        let value = serde_json::to_value(definition).unwrap();
        value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    /// Fills in defaults as the API server does: what is absent first, then within it.
    fn defaulted(schema: &Value, mut value: Value) -> Value {
        if let (Some(properties), Some(object)) =
            (schema["properties"].as_object(), value.as_object_mut())
        {
            for (name, inner) in properties {
                if let Some(default) = inner.get("default") {
                    object.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(found) = object.get_mut(name) {
                    *found = defaulted(inner, found.take());
                }
            }
        }
        value
    }

    fn assert_structural(schema: &Value, path: &str) {
        let map = schema.as_object().unwrap();
        assert!(map.contains_key("type"), "{path} has no type");
        for (key, inner) in map {
            assert!(
                KEYS.contains(&key.as_str()),
                "{path}/{key} is not structural"
            );
            match key.as_str() {
                "properties" => {
                    for (name, property) in inner.as_object().unwrap() {
                        assert_structural(property, &format!("{path}/{name}"));
                    }
                }
                "items" | "additionalProperties" => {
                    assert_structural(inner, &format!("{path}/{key}"));
                }
                "format" => assert!(
                    FORMATS.contains(&inner.as_str().unwrap()),
                    "{path}: {inner}"
                ),
                _ => {}
            }
        }
    }

    #[test]
    fn the_schemas_are_structural() {
        for definition in [rollbacks(), targets()] {
            let schema = schema(&definition);
            assert_structural(&schema["properties"]["spec"], "spec");
            assert_structural(&schema["properties"]["status"], "status");
        }
    }

    #[test]
    fn a_fresh_object_has_every_path_that_a_patch_tests() {
        let fresh = defaulted(
            &schema(&rollbacks()),
            serde_json::json!({"spec": {"target": "x"}}),
        );
        for (path, value) in [
            ("/status/phase", serde_json::json!("Pending")),
            ("/status/run/epoch", serde_json::json!(0)),
            ("/status/run/seq", serde_json::json!(0)),
            ("/status/run/steps", serde_json::json!([])),
            ("/status/alerts/seq", serde_json::json!(0)),
            ("/status/alerts/items", serde_json::json!([])),
            ("/status/report/slack/told", serde_json::json!([])),
        ] {
            assert_eq!(fresh.pointer(path), Some(&value), "{path}");
        }
        let status = fresh["status"].clone();
        let read: RollbackStatus = serde_json::from_value(status).unwrap();
        assert_eq!(read, RollbackStatus::default());
        let fresh = defaulted(&schema(&targets()), serde_json::json!({"spec": {}}));
        let read: MemoryStatus = serde_json::from_value(fresh["status"].clone()).unwrap();
        assert_eq!(read, MemoryStatus::default());
    }

    /// What people may set later, once and for good.
    const SET_ONCE: [&str; 2] = ["approval", "cancel"];

    #[test]
    fn no_field_of_a_request_can_be_changed_unnoticed() {
        let schema = schema(&rollbacks());
        assert_eq!(
            schema["required"],
            serde_json::json!(["spec"]),
            "a rule does not see that its object is gone"
        );
        let spec = &schema["properties"]["spec"];
        let required = spec["required"].as_array().unwrap();
        let mut wanted = Vec::new();
        let mut once = Vec::new();
        for (name, property) in spec["properties"].as_object().unwrap() {
            let always = required.iter().any(|it| it == name) || property.get("default").is_some();
            if SET_ONCE.contains(&name.as_str()) {
                once.push(format!(
                    "!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})"
                ));
            } else if always {
                wanted.push(format!("self.{name} == oldSelf.{name}"));
            } else {
                // Without the first half, what is there could be taken away, and set anew.
                wanted.push(format!("has(self.{name}) == has(oldSelf.{name})"));
                wanted.push(format!(
                    "(!has(self.{name}) || self.{name} == oldSelf.{name})"
                ));
            }
        }
        let rules = spec["x-kubernetes-validations"].as_array().unwrap();
        let rules: Vec<_> = rules
            .iter()
            .map(|it| it["rule"].as_str().unwrap())
            .collect();
        let (frozen, others) = rules.split_first().unwrap();
        let mut clauses: Vec<_> = frozen.split(" && ").collect();
        clauses.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(clauses, wanted);
        assert_eq!(others, once);
        // A rule further in is not asked about an object that comes or goes.
        assert!(
            !spec["properties"]
                .to_string()
                .contains("x-kubernetes-validations")
        );
    }

    #[test]
    fn fields_are_named_by_their_paths() {
        let fields = fields_of(&rollbacks());
        for path in [
            "spec.target",
            "status.run.epoch",
            "status.run.steps[].step",
            "status.alerts.items[].name",
        ] {
            assert!(fields.contains(path), "{path}: {fields:#?}");
        }
        let all = fields_of(&targets());
        assert!(all.contains("status.history[].since"), "{all:#?}");
    }

    #[test]
    fn only_formats_that_kubernetes_knows_are_left() {
        let mut schema = serde_json::json!({
            "format": "uint32",
            "properties": {"format": {"type": "string"}, "x": {"format": "int64"}, "y": {"format": "uint"}},
        });
        without_foreign_formats(&mut schema);
        assert_eq!(
            schema,
            serde_json::json!({
                "properties": {"format": {"type": "string"}, "x": {"format": "int64"}, "y": {}},
            })
        );
    }
}
