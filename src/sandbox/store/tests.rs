use serde_json::{Value, json};

use super::*;

fn store() -> Store {
    Store::default()
}

fn key() -> Key {
    Key::new("rollouts", "shop", "api")
}

fn rollout() -> Value {
    json!({ "metadata": { "name": "api" }, "spec": { "replicas": 1 } })
}

/// A CRD with a status, a default deep inside it, and an enum.
fn crd() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
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
    let at = Key::new("customresourcedefinitions", "", "things.example.dev");
    store.create(&at, crd()).unwrap();
    (store, Key::new("things", "shop", "one"))
}

fn thing(spec: &Value) -> Value {
    json!({ "metadata": { "name": "one" }, "spec": spec })
}

#[test]
fn the_generation_counts_specs_only() {
    let mut store = store();
    let made = store.create(&key(), rollout()).unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let mut next = made.clone();
    next["metadata"]["labels"] = json!({ "a": "b" });
    let next = store.update(&key(), Part::Main, next).unwrap();
    assert_eq!(next["metadata"]["generation"], 1);
    assert_ne!(
        next["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let mut last = next;
    last["spec"]["replicas"] = json!(2);
    let last = store.update(&key(), Part::Main, last).unwrap();
    assert_eq!(last["metadata"]["generation"], 2);
    let same = store.update(&key(), Part::Main, last.clone()).unwrap();
    assert_eq!(same, last);
}

#[test]
fn each_part_is_written_through_its_own_door() {
    let mut store = store();
    let mut object = rollout();
    object["status"] = json!({ "phase": "mine" });
    let mut made = store.create(&key(), object).unwrap();
    assert!(made["status"].is_null());
    made["status"] = json!({ "phase": "new" });
    made["spec"]["replicas"] = json!(5);
    let status = store.update(&key(), Part::Status, made.clone()).unwrap();
    assert_eq!(
        (&status["status"]["phase"], &status["spec"]["replicas"]),
        (&json!("new"), &json!(1))
    );
    made["status"] = json!({ "phase": "other" });
    made["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    let main = store.update(&key(), Part::Main, made).unwrap();
    assert_eq!(
        (&main["status"]["phase"], &main["spec"]["replicas"]),
        (&json!("new"), &json!(5))
    );
}

#[test]
fn a_precondition_that_does_not_hold_changes_nothing() {
    let mut store = store();
    let made = store.create(&key(), rollout()).unwrap();
    let version = store.version;
    for field in ["uid", "resourceVersion"] {
        let mut other = made.clone();
        other["metadata"][field] = json!("other");
        let refused = store.update(&key(), Part::Main, other).unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
        let options = json!({ field: "other" });
        assert_eq!(store.delete(&key(), &options).unwrap_err().code, 409);
    }
    assert_eq!((store.get(&key()), store.version), (Some(&made), version));
    let again = store.create(&key(), rollout()).unwrap_err();
    assert_eq!(again.reason, "AlreadyExists");
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let mut store = store();
    let mut object = rollout();
    object["metadata"]["finalizers"] = json!(["example.dev/hold"]);
    store.create(&key(), object).unwrap();
    let mut marked = store.delete(&key(), &json!({})).unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert!(store.get(&key()).is_some());
    marked["metadata"]["finalizers"] = json!([]);
    store.update(&key(), Part::Main, marked).unwrap();
    assert!(store.get(&key()).is_none());
    let last = store.since(store.version - 1).unwrap().last().unwrap();
    assert!(last.gone && last.before.is_some());
}

#[test]
fn a_custom_object_is_pruned_and_gets_its_defaults() {
    let (mut store, key) = with_things();
    let spec =
        json!({ "mode": "on", "size": null, "typo": 1, "any": { "x": 1 }, "labels": { "a": "b" } });
    let made = store.create(&key, thing(&spec)).unwrap();
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
fn a_kind_that_no_crd_defines_is_not_found() {
    let unknown = Key::new("nothings", "shop", "one");
    let refused = store().create(&unknown, rollout()).unwrap_err();
    assert_eq!(refused.code, 404);
}

#[test]
fn the_log_says_when_it_no_longer_reaches_back() {
    let mut store = store();
    let first = store.version;
    for number in 0..=HISTORY {
        let key = Key::new("configmaps", "shop", &number.to_string());
        store.put(&key, json!({}));
    }
    assert!(store.since(first).is_none());
    assert_eq!(store.since(first + 1).unwrap().count(), HISTORY);
    assert_eq!(store.since(store.version).unwrap().count(), 0);
}
