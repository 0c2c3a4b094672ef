//! The `EndpointSlice` of each Service.

use serde_json::{Value, json};

use super::super::json::{covers, items, suffix};
use super::super::rollout::{Write, owner};
use super::super::store::{Key, Store};
use super::{is_ready, is_stopping};

/// The slice of one Service, when it differs from the stored one.
pub(super) fn reconcile(store: &Store, app_port: u16, key: &Key, service: &Value) -> Option<Write> {
    let spec = &service["spec"];
    let pods = store.list("", "pods", Some(&key.namespace));
    let pods = pods.filter(|(_, pod)| {
        covers(&pod["metadata"]["labels"], &spec["selector"]) && pod["status"]["podIP"].is_string()
    });
    let name = format!("{}-{}", key.name, suffix(&json!(key.name)));
    let slice = Key::new("discovery.k8s.io", "endpointslices", &key.namespace, &name);
    let metadata = json!({
        "labels": { "kubernetes.io/service-name": key.name },
        "ownerReferences": [owner("v1", "Service", service)],
    });
    let new = || json!({ "metadata": metadata });
    let mut object = store.get(&slice).cloned().unwrap_or_else(new);
    object["addressType"] = json!("IPv4");
    object["endpoints"] = pods.map(|(key, pod)| endpoint(key, pod)).collect();
    object["ports"] = items(&spec["ports"])
        .iter()
        .map(|one| port(one, app_port))
        .collect();
    (store.get(&slice) != Some(&object)).then_some(Write::Put(slice, object))
}

fn endpoint(key: &Key, pod: &Value) -> Value {
    let (ready, stopping) = (is_ready(pod), is_stopping(pod));
    let uid = &pod["metadata"]["uid"];
    json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": { "ready": ready, "serving": ready || stopping, "terminating": stopping },
        "nodeName": "sandbox",
        "targetRef": { "kind": "Pod", "name": key.name, "namespace": key.namespace, "uid": uid },
    })
}

/// A port that is given by name is the application's.
fn port(port: &Value, app_port: u16) -> Value {
    let target = match &port["targetPort"] {
        Value::Null => port["port"].clone(),
        Value::String(_) => json!(app_port),
        number => number.clone(),
    };
    let name = port["name"].as_str().unwrap_or_default();
    json!({ "name": name, "port": target, "protocol": "TCP" })
}
