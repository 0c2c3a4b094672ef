//! Ready-made objects: a Rollout of the demo application and the Service in front of it.

use serde_json::{Value, json};

/// A Rollout with four pods of `image`, labelled `app: <name>`, and these canary steps.
#[must_use]
pub fn rollout(namespace: &str, name: &str, image: &str, steps: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "replicas": 4,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "canary": { "steps": steps } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": image, "ports": [{ "name": "http", "containerPort": 8000 }] }] },
            },
        },
    })
}

/// The Service in front of the pods labelled `app: <name>`; the application's port is found by its name.
#[must_use]
pub fn service(namespace: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": port, "targetPort": "http" }] },
    })
}
