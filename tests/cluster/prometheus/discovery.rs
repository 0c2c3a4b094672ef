//! The pods of a namespace as targets in a file, with the labels that Prometheus's own discovery of pods gives them:
//! Debian's Prometheus is built without it.
//!
//! It differs in two labels. Prometheus reads the file anew every five seconds at most, which no flag changes and which would
//! be a hundred where times are divided. So a pod that was told to stop is left out at once, and as an address soon belongs
//! to another pod here, a pod is asked for by its name.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Writes all pods into the file.
pub(super) fn write<'a>(file: &Path, pods: impl Iterator<Item = &'a Pod>) {
    let targets: Value = pods.flat_map(targets).collect();
    // In one go: a reader sees the old list or the new one.
    let new = file.with_extension("new");
    std::fs::write(&new, targets.to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// One target for each port of a pod that has an address.
fn targets(pod: &Pod) -> Vec<Value> {
    let status = pod.status.as_ref();
    let address = status.and_then(|it| it.pod_ip.as_deref());
    let (Some(address), Some(spec), None) = (address, &pod.spec, &pod.metadata.deletion_timestamp)
    else {
        return Vec::new();
    };
    let mut labels = json!({
        "__meta_kubernetes_namespace": pod.namespace().unwrap_or_default(),
        "__meta_kubernetes_pod_name": pod.name_any(),
        "__meta_kubernetes_pod_phase": status.and_then(|it| it.phase.as_deref()).unwrap_or_default(),
        "__param_pod": pod.name_any(),
    });
    if let Some(owner) = pod
        .owner_references()
        .iter()
        .find(|it| it.controller == Some(true))
    {
        labels["__meta_kubernetes_pod_controller_kind"] = owner.kind.clone().into();
        labels["__meta_kubernetes_pod_controller_name"] = owner.name.clone().into();
    }
    for (name, value) in pod.labels() {
        let name = name.replace(|it: char| !it.is_ascii_alphanumeric(), "_");
        labels[format!("__meta_kubernetes_pod_label_{name}")] = value.clone().into();
    }
    let ports = spec
        .containers
        .iter()
        .filter_map(|it| it.ports.as_ref())
        .flatten();
    let target = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        let mut labels = labels.clone();
        let name = port.name.clone().unwrap_or_default();
        labels["__meta_kubernetes_pod_container_port_name"] = name.into();
        json!({ "targets": [format!("{address}:{}", port.container_port)], "labels": labels })
    };
    ports.map(target).collect()
}
