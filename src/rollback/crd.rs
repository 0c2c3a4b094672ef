//! The custom resource definitions of both objects, as they are applied to a cluster.
//!
//! They are generated from the types, then made to fit: a status holds its defaults from the first moment on, so that
//! the first tested patch finds its path, and formats that only Rust knows are left out.

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

    #[test]
    fn print() {
        println!("{}", serde_saphyr::to_string(&rollbacks()).unwrap());
        println!("---\n{}", serde_saphyr::to_string(&targets()).unwrap());
    }
}
