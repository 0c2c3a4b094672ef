//! The yardstick: what it takes to create an object like a rollback and to patch its status once, with nothing around it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::rollback;

/// Where nobody watches.
const NAMESPACE: &str = "default";
/// How many objects a run makes.
const OBJECTS: usize = 20;

/// Makes some, one after the other, and says how long each took.
pub(crate) async fn writes(run: u16) -> Vec<Duration> {
    let admin = &crate::plane().admin;
    let mut took = Vec::new();
    for number in 0..OBJECTS {
        let mut object = rollback::claimed("yardstick");
        let name = format!("yardstick-{run}-{number}");
        object["metadata"] = json!({ "name": name, "namespace": NAMESPACE });
        let path =
            format!("/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/rollbacks/{name}/status");
        let began = Instant::now();
        admin.create(&object).await.expect("it is created");
        let status = json!({ "status": { "phase": "Running" } });
        let patched: Value = admin.patch(&path, &status).await.expect("it is patched");
        took.push(began.elapsed());
        assert_eq!(patched["status"]["phase"], "Running");
    }
    took
}
