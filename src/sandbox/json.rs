//! Small helpers for untyped objects: absent and mistyped fields read as empty.

use jiff::Timestamp;
use serde_json::Value;

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether `other` has every field of `value`, with the same content; no fields at all match nothing.
pub(super) fn covers(other: &Value, value: &Value) -> bool {
    let fields = value.as_object().filter(|fields| !fields.is_empty());
    fields.is_some_and(|fields| fields.iter().all(|(name, value)| other[name] == *value))
}

/// Whether the first owner of `object` is `owner`.
pub(super) fn owned(object: &Value, owner: &Value) -> bool {
    object["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
}

/// Sets a field, or takes it away.
pub(super) fn set(object: &mut Value, field: &str, value: Option<Value>) {
    match (value, object.as_object_mut()) {
        (Some(value), _) => object[field] = value,
        (None, Some(object)) => drop(object.remove(field)),
        (None, None) => {}
    }
}

/// A time as Kubernetes writes it: whole seconds.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A short name made of a value's content, in letters like those that Kubernetes uses.
pub(super) fn short(value: &Value) -> String {
    let digits = digest(value, 0x811c_9dc5).to_string();
    let letter = |digit: u8| char::from(b"456789bcdf"[usize::from(digit - b'0')]);
    digits.bytes().map(letter).collect()
}

/// The start of `short`, for the random ends of names.
pub(super) fn suffix(value: &Value) -> String {
    short(value).chars().take(5).collect()
}

/// FNV-1a over the content; the order of an object's fields does not matter.
fn digest(value: &Value, seed: u32) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let fold = |seed: u32, text: &str| text.as_bytes().iter().fold(seed, step);
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let one = |hash, (name, value): (&String, &Value)| digest(value, fold(hash, name));
            fields.into_iter().fold(fold(seed, "{"), one)
        }
        Value::Array(items) => {
            let one = |hash, item: &Value| digest(item, hash);
            items.iter().fold(fold(seed, "["), one)
        }
        scalar => fold(seed, &scalar.to_string()),
    }
}
