use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn store() -> Store {
    Store::new(7, 100)
}

fn key() -> Key {
    Key::new("argoproj.io", "rollouts", "shop", "api")
}

fn rollout() -> Value {
    json!({ "metadata": { "name": "api" }, "spec": { "replicas": 1 } })
}

/// A CRD with a status, a default deep inside it, and an enum.
fn crd() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["mode"],
                "properties": {
                    "mode": { "type": "string", "enum": ["on", "off"] },
                    "size": { "type": "integer", "default": 3 },
                    "any": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                },
            },
            "status": {
                "type": "object",
                "default": {},
                "properties": {
                    "run": {
                        "type": "object",
                        "default": {},
                        "properties": { "epoch": { "type": "integer", "default": 0 } },
                    },
                },
            },
        },
    });
    json!({
        "metadata": { "name": "things.example.dev" },
        "spec": {
            "group": "example.dev", "scope": "Namespaced",
            "names": { "plural": "things", "kind": "Thing" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} }, "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

fn with_things() -> (Store, Key) {
    let mut store = store();
    let at = Key::new(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "",
        "things.example.dev",
    );
    store.create(&at, crd(), NOW, false).unwrap();
    (store, Key::new("example.dev", "things", "shop", "one"))
}

fn thing(spec: &Value) -> Value {
    json!({ "metadata": { "name": "one" }, "spec": spec })
}

#[test]
fn the_generation_counts_specs_only() {
    let mut store = store();
    let made = store.create(&key(), rollout(), NOW, false).unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let mut next = made.clone();
    next["metadata"]["labels"] = json!({ "a": "b" });
    let next = store.update(&key(), Part::Main, next, false).unwrap();
    assert_eq!(next["metadata"]["generation"], 1);
    assert_ne!(
        next["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let mut last = next;
    last["spec"]["replicas"] = json!(2);
    let last = store.update(&key(), Part::Main, last, false).unwrap();
    assert_eq!(last["metadata"]["generation"], 2);
    let same = store
        .update(&key(), Part::Main, last.clone(), false)
        .unwrap();
    assert_eq!(same, last);
}

#[test]
fn each_part_is_written_through_its_own_door() {
    let mut store = store();
    let mut object = rollout();
    object["status"] = json!({ "phase": "mine" });
    let mut made = store.create(&key(), object, NOW, false).unwrap();
    assert!(made["status"].is_null());
    made["status"] = json!({ "phase": "new" });
    made["spec"]["replicas"] = json!(5);
    let status = store
        .update(&key(), Part::Status, made.clone(), false)
        .unwrap();
    assert_eq!(
        (&status["status"]["phase"], &status["spec"]["replicas"]),
        (&json!("new"), &json!(1))
    );
    made["status"] = json!({ "phase": "other" });
    made["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    let main = store.update(&key(), Part::Main, made, false).unwrap();
    assert_eq!(
        (&main["status"]["phase"], &main["spec"]["replicas"]),
        (&json!("new"), &json!(5))
    );
}

#[test]
fn preconditions_and_dry_runs_change_nothing() {
    let mut store = store();
    let made = store.create(&key(), rollout(), NOW, false).unwrap();
    let version = store.version();
    for field in ["uid", "resourceVersion"] {
        let mut other = made.clone();
        other["metadata"][field] = json!("other");
        let refused = store.update(&key(), Part::Main, other, false).unwrap_err();
        assert_eq!((refused.code, refused.reason), (409, "Conflict"));
        let options = json!({ "preconditions": { field: "other" } });
        assert_eq!(
            store.delete(&key(), &options, NOW, false).unwrap_err().code,
            409
        );
    }
    let mut next = made.clone();
    next["spec"]["replicas"] = json!(2);
    let dry = store.update(&key(), Part::Main, next, true).unwrap();
    assert_eq!(dry["metadata"]["generation"], 2);
    store.delete(&key(), &json!({}), NOW, true).unwrap();
    assert_eq!((store.get(&key()), store.version()), (Some(&made), version));
    assert_eq!(
        store
            .create(&key(), rollout(), NOW, true)
            .unwrap_err()
            .reason,
        "AlreadyExists"
    );
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let mut store = store();
    let mut object = rollout();
    object["metadata"]["finalizers"] = json!(["example.dev/hold"]);
    store.create(&key(), object, NOW, false).unwrap();
    let mut marked = store.delete(&key(), &json!({}), NOW, false).unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert!(store.get(&key()).is_some());
    marked["metadata"]["finalizers"] = json!([]);
    store.update(&key(), Part::Main, marked, false).unwrap();
    assert!(store.get(&key()).is_none());
    let last = store.since(store.version() - 1).unwrap().last().unwrap();
    assert!(last.after.is_none() && last.before.is_some());
}

#[test]
fn a_custom_object_is_pruned_and_gets_its_defaults() {
    let (mut store, key) = with_things();
    let spec =
        json!({ "mode": "on", "size": null, "typo": 1, "any": { "x": 1 }, "labels": { "a": "b" } });
    let made = store.create(&key, thing(&spec), NOW, false).unwrap();
    let want = json!({ "mode": "on", "size": 3, "any": { "x": 1 }, "labels": { "a": "b" } });
    assert_eq!(made["spec"], want);
    assert_eq!(made["status"], json!({ "run": { "epoch": 0 } }));
    assert_eq!(
        (&made["kind"], &made["metadata"]["name"]),
        (&json!("Thing"), &json!("one"))
    );
    assert_eq!(store.get(&key), Some(&made));
}

#[test]
fn a_custom_object_that_breaks_its_schema_is_refused() {
    let (mut store, key) = with_things();
    for (spec, reason, field) in [
        (json!({}), "FieldValueRequired", "spec.mode"),
        (
            json!({ "mode": "maybe" }),
            "FieldValueNotSupported",
            "spec.mode",
        ),
        (
            json!({ "mode": "on", "size": "3" }),
            "FieldValueTypeInvalid",
            "spec.size",
        ),
        (
            json!({ "mode": "on", "labels": { "a": 1 } }),
            "FieldValueTypeInvalid",
            "spec.labels.a",
        ),
    ] {
        let refused = store.create(&key, thing(&spec), NOW, false).unwrap_err();
        assert_eq!((refused.code, refused.reason), (422, "Invalid"));
        let cause = &refused.details["causes"][0];
        assert_eq!(
            (&cause["reason"], &cause["field"]),
            (&json!(reason), &json!(field))
        );
    }
    let unknown = Key::new("example.dev", "nothings", "shop", "one");
    assert_eq!(
        store
            .create(&unknown, rollout(), NOW, false)
            .unwrap_err()
            .code,
        404
    );
}

#[test]
fn the_log_says_when_it_no_longer_reaches_back() {
    let mut store = Store::new(7, 2);
    let first = store.version();
    for name in ["a", "b", "c"] {
        store.put(&Key::new("", "configmaps", "shop", name), json!({}), NOW);
    }
    assert!(store.since(first).is_none());
    assert_eq!(store.since(first + 1).unwrap().count(), 2);
    assert_eq!(store.since(store.version()).unwrap().count(), 0);
}
