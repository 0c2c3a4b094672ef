//! What a cluster does besides the Rollouts controller: `ReplicaSets` get pods, pods start and stop, Services get addresses
//! and endpoints. Nothing is collected when its owner is deleted.
//!
//! Pure: it reads the store and returns writes. Endpoints follow the pods one pass behind, as they do for real.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use super::app::{self, behaviour, ip};
use super::object::{count, is_owned, is_stopping, owner, selects, short, stamp, text};
use super::store::{Key, Store, Write};

/// How long a pod takes to become ready.
const START: Duration = Duration::from_millis(150);
/// How long a pod that was told to stop still answers.
const STOP: Duration = Duration::from_millis(200);
/// How many pods and Services can have an address.
const HOSTS: u64 = 253;
/// When a pod was made or told to stop, with more than the API's whole seconds.
const SINCE: &str = "sandbox.ripcord.dev/since";

struct Pass<'a> {
    store: &'a Store,
    /// The API server's.
    port: u16,
    /// Addresses in use.
    taken: BTreeSet<String>,
    writes: Vec<Write>,
}

/// One pass of everything that is not the Rollouts controller.
pub(super) fn reconcile(store: &Store, port: u16) -> Vec<Write> {
    let taken = store.all().map(|object| text(ip(object)).to_owned());
    let mut pass = Pass {
        store,
        port,
        taken: taken.collect(),
        writes: Vec::new(),
    };
    for service in store.objects("services") {
        pass.connect(service);
    }
    for replica_set in store.objects("replicasets") {
        pass.populate(replica_set.clone());
    }
    pass.writes
}

/// An address in the network that belongs to the API server's port, so that sandboxes side by side do not meet. No pod has
/// the last one, 254.
pub(super) fn address(port: u16, host: u8) -> Ipv4Addr {
    let [a, b] = [16 + port % 235, port / 235 % 256].map(|part| part.to_le_bytes()[0]);
    Ipv4Addr::new(127, a, b, host)
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

impl Pass<'_> {
    fn write(&mut self, plural: &str, object: Value) {
        self.writes.push((Key::of(plural, &object), Some(object)));
    }

    /// Gives a Service an address, and writes its `EndpointSlice`.
    fn connect(&mut self, service: &Value) {
        if ip(service).is_null() {
            let mut service = service.clone();
            service["spec"]["clusterIP"] = json!(self.address());
            self.write("services", service);
        }
        let (metadata, selector) = (&service["metadata"], &service["spec"]["selector"]);
        let pods = self.store.objects("pods").filter(|pod| {
            pod["metadata"]["namespace"] == metadata["namespace"]
                && selects(selector, &pod["metadata"]["labels"])
        });
        let endpoint = |pod: &Value| {
            json!({
                "addresses": [ip(pod)],
                "conditions": { "ready": is_ready(pod) && !is_stopping(pod) },
                "targetRef": {
                    "kind": "Pod", "name": pod["metadata"]["name"], "namespace": metadata["namespace"],
                },
            })
        };
        let endpoints: Value = pods.map(endpoint).collect();
        let mut slice = app::slice(self.store, service).cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "labels": { "kubernetes.io/service-name": metadata["name"] },
                },
                "addressType": "IPv4",
                "ports": [{ "name": "http", "port": app::PORT }],
            })
        });
        slice["endpoints"] = endpoints;
        self.write("endpointslices", slice);
    }

    /// Moves the pods of a `ReplicaSet` through their lives, makes and stops as many as it asks for, and writes its status.
    fn populate(&mut self, mut replica_set: Value) {
        let pods = self.store.objects("pods");
        let mine = pods.filter(|pod| is_owned(pod, &replica_set)).cloned();
        let (stopping, mut pods): (Vec<_>, Vec<_>) = mine.partition(is_stopping);
        let stopped = stopping.iter().filter(|pod| self.age(pod) >= STOP);
        let removals: Vec<_> = stopped.map(|pod| (Key::of("pods", pod), None)).collect();
        self.writes.extend(removals);
        for pod in &mut pods {
            let after = behaviour(pod).ready_after();
            let ready = after.is_some_and(|after| self.age(pod) >= after.max(START));
            let ready = if ready { "True" } else { "False" };
            pod["status"]["conditions"] = json!([{ "type": "Ready", "status": ready }]);
        }
        // Those that are not ready go first.
        pods.sort_by_key(is_ready);
        let asked = usize::try_from(count(&replica_set["spec"]["replicas"])).unwrap_or_default();
        for mut pod in pods.drain(..pods.len().saturating_sub(asked)) {
            pod["metadata"]["deletionTimestamp"] = json!(stamp(self.store.now));
            pod["metadata"]["annotations"][SINCE] = json!(self.store.now.to_string());
            self.write("pods", pod);
        }
        while pods.len() < asked
            && let Some(address) = self.address()
        {
            pods.push(self.pod(&replica_set, &address));
        }
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        replica_set["status"] = json!({ "replicas": pods.len(), "availableReplicas": ready });
        self.write("replicasets", replica_set);
        for pod in pods {
            self.write("pods", pod);
        }
    }

    fn pod(&self, replica_set: &Value, address: &str) -> Value {
        let metadata = &replica_set["metadata"];
        let suffix = short(&json!([metadata["name"], address, self.store.version]));
        let mut pod = replica_set["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(format!("{}-{}", text(&metadata["name"]), &suffix[..5]));
        pod["metadata"]["namespace"] = metadata["namespace"].clone();
        pod["metadata"]["annotations"][SINCE] = json!(self.store.now.to_string());
        pod["metadata"]["ownerReferences"] = json!([owner(replica_set)]);
        pod["status"] = json!({ "phase": "Running", "podIP": address });
        pod
    }

    fn age(&self, pod: &Value) -> Duration {
        let now = self.store.now;
        let since = text(&pod["metadata"]["annotations"][SINCE]).parse();
        now.duration_since(since.unwrap_or(now)).unsigned_abs()
    }

    /// Takes an address that nobody has. The search starts at another place each time, so that an address is not used again
    /// at once.
    fn address(&mut self) -> Option<String> {
        let version = self.store.version;
        let hosts = (0..HOSTS).map(|host| (host + version) % HOSTS);
        let hosts = hosts.filter_map(|host| u8::try_from(host + 1).ok());
        let mut addresses = hosts.map(|host| address(self.port, host).to_string());
        let address = addresses.find(|address| !self.taken.contains(address))?;
        self.taken.insert(address.clone());
        Some(address)
    }
}
