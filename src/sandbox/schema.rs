//! What a CRD's structural schema does to an object: unknown fields go, defaults come, violations are listed.
//!
//! Of the validations only `type`, `required` and `enum` are asked; CEL rules are not evaluated.

use serde_json::{Map, Value, json};

/// Prunes unknown fields and applies defaults, everywhere but in the object's own metadata.
pub(super) fn shape(object: &mut Value, schema: &Value) {
    embedded(object, schema);
}

/// Lists the violations, as `causes` of a `Status` object.
pub(super) fn check(object: &Value, schema: &Value) -> Vec<Value> {
    let mut causes = Vec::new();
    visit(object, schema, "", &mut causes);
    causes
}

/// A whole object: its type and metadata are not the schema's business.
fn embedded(object: &mut Value, schema: &Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let mut kept = Map::new();
    for name in ["apiVersion", "kind", "metadata"] {
        if let Some(value) = map.remove(name) {
            kept.insert(name.to_owned(), value);
        }
    }
    fields(map, schema);
    map.extend(kept);
}

fn value(value: &mut Value, schema: &Value) {
    if !schema.is_object() {
        return;
    }
    if schema["x-kubernetes-embedded-resource"] == true {
        return embedded(value, schema);
    }
    match value {
        Value::Object(map) => fields(map, schema),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| self::value(item, &schema["items"])),
        _ => {}
    }
}

fn fields(map: &mut Map<String, Value>, schema: &Value) {
    let none = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&none);
    let extra = schema
        .get("additionalProperties")
        .filter(|extra| **extra != false);
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true || extra.is_some();
    map.retain(|name, value| match known.get(name) {
        // A null where none is allowed counts as absent, so that the default can come.
        Some(field) => !value.is_null() || field["nullable"] == true,
        None => open,
    });
    for (name, field) in known {
        if let (false, Some(default)) = (map.contains_key(name), field.get("default")) {
            map.insert(name.clone(), default.clone());
        }
    }
    for (name, field) in map {
        if let Some(schema) = known.get(name).or(extra) {
            value(field, schema);
        }
    }
}

fn visit(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Value>) {
    if !schema.is_object() || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    if !has_type(value, schema) {
        let want = schema["type"].as_str().unwrap_or("integer or string");
        let message = format!(
            "Invalid value: {}: {path} in body must be of type {want}",
            name_of(value)
        );
        causes.push(cause("FieldValueTypeInvalid", path, &message));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            list.join(", ")
        );
        causes.push(cause("FieldValueNotSupported", path, &message));
    }
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(map) => {
            let required = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            for name in required.filter(|name| !map.contains_key(*name)) {
                causes.push(cause("FieldValueRequired", &below(name), "Required value"));
            }
            for (name, field) in map {
                let known = schema["properties"].get(name);
                if let Some(schema) = known.or_else(|| schema.get("additionalProperties")) {
                    visit(field, schema, &below(name), causes);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                visit(item, &schema["items"], &format!("{path}[{at}]"), causes);
            }
        }
        _ => {}
    }
}

fn has_type(value: &Value, schema: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "\"null\"",
        Value::Bool(_) => "\"boolean\"",
        Value::Number(_) => "\"number\"",
        Value::String(_) => "\"string\"",
        Value::Array(_) => "\"array\"",
        Value::Object(_) => "\"object\"",
    }
}

fn cause(reason: &str, field: &str, message: &str) -> Value {
    json!({ "reason": reason, "message": message, "field": field })
}
