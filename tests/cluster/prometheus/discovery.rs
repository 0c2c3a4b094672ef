//! The pods of a namespace as targets in a file, with the labels that Prometheus's own discovery of pods gives them:
//! Debian's Prometheus is built without it.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Keeps the file true to the cluster, until it is aborted.
pub(super) async fn keep(client: Client, namespace: String, file: PathBuf) {
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let (store, writer) = reflector::store();
    let seen = reflector(writer, watcher(pods, watcher::Config::default())).default_backoff();
    let mut seen = std::pin::pin!(seen);
    while seen.next().await.is_some() {
        let targets: Vec<_> = store.state().iter().flat_map(|pod| targets(pod)).collect();
        write(&file, &targets.into());
    }
}

/// One target for each port of a pod that has an address.
fn targets(pod: &Pod) -> Vec<Value> {
    let address = pod.status.as_ref().and_then(|it| it.pod_ip.as_deref());
    let (Some(address), Some(spec)) = (address, &pod.spec) else {
        return Vec::new();
    };
    let mut labels = json!({
        "__meta_kubernetes_namespace": pod.namespace().unwrap_or_default(),
        "__meta_kubernetes_pod_name": pod.name_any(),
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

/// In one go: a reader sees the old list or the new one.
fn write(file: &Path, targets: &Value) {
    let new = file.with_extension("new");
    std::fs::write(&new, targets.to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}
