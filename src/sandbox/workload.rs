//! What a cluster does besides the Rollouts controller: `ReplicaSets` get pods, pods start and stop, Services get addresses
//! and endpoints. Nothing is collected when its owner is deleted.
//!
//! Pure: it reads the store and returns writes. Endpoints follow the pods one pass behind, as they do for real.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Options;
use super::app::{behaviour, ip};
use super::driver::Write;
use super::object::{count, is_owned, is_stopping, owner, selects, short, stamp, text};
use super::store::{Key, Store};

/// When a pod was made or told to stop, with more than the API's whole seconds.
const SINCE: &str = "sandbox.ripcord.dev/since";

struct Pass<'a> {
    store: &'a Store,
    options: &'a Options,
    now: Timestamp,
    /// Addresses in use.
    taken: BTreeSet<String>,
    writes: Vec<Write>,
}

/// One pass of everything that is not the Rollouts controller.
pub(super) fn reconcile(store: &Store, options: &Options, now: Timestamp) -> Vec<Write> {
    let mut pass = Pass {
        store,
        options,
        now,
        taken: store
            .all()
            .map(|(_, one)| text(ip(one)).to_owned())
            .collect(),
        writes: Vec::new(),
    };
    for (key, service) in store.list("services") {
        pass.connect(key, service);
    }
    for (key, replica_set) in store.list("replicasets") {
        pass.populate(key, replica_set.clone());
    }
    pass.writes
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

impl Pass<'_> {
    /// Gives a Service an address, and writes its `EndpointSlice`.
    fn connect(&mut self, key: &Key, service: &Value) {
        if ip(service).is_null() {
            let mut service = service.clone();
            service["spec"]["clusterIP"] = json!(self.address());
            self.writes.push((key.clone(), Some(service)));
        }
        let selector = &service["spec"]["selector"];
        let pods = self.store.list("pods").filter(|(pod, object)| {
            pod.namespace == key.namespace && selects(selector, &object["metadata"]["labels"])
        });
        let endpoint = |(key, pod): (&Key, &Value)| {
            json!({
                "addresses": [ip(pod)],
                "conditions": { "ready": is_ready(pod) && !is_stopping(pod) },
                "targetRef": { "kind": "Pod", "name": key.name, "namespace": key.namespace },
            })
        };
        let labels = json!({ "kubernetes.io/service-name": key.name });
        let found = self.store.get(&key.slice()).cloned();
        let mut slice = found.unwrap_or_else(|| json!({ "metadata": { "labels": labels } }));
        slice["apiVersion"] = json!("discovery.k8s.io/v1");
        slice["kind"] = json!("EndpointSlice");
        slice["addressType"] = json!("IPv4");
        slice["endpoints"] = pods.map(endpoint).collect();
        slice["ports"] = json!([{ "name": "http", "port": self.options.app_port }]);
        self.writes.push((key.slice(), Some(slice)));
    }

    /// Moves the pods of a `ReplicaSet` through their lives, makes and stops as many as it asks for, and writes its status.
    fn populate(&mut self, key: &Key, mut replica_set: Value) {
        let pods = self.store.list("pods");
        let mine = pods.filter(|(_, pod)| is_owned(pod, &replica_set));
        let mine = mine.map(|(key, pod)| (key.clone(), pod.clone()));
        let (stopping, mut pods): (Vec<_>, Vec<_>) = mine.partition(|(_, pod)| is_stopping(pod));
        for (key, pod) in stopping {
            if self.age(&pod) >= self.options.pod_stop {
                self.writes.push((key, None));
            }
        }
        for (_, pod) in &mut pods {
            let ready =
                self.age(pod) >= self.options.pod_start && !behaviour(pod).says("neverready");
            let ready = if ready { "True" } else { "False" };
            pod["status"]["conditions"] = json!([{ "type": "Ready", "status": ready }]);
        }
        // Those that are not ready go first.
        pods.sort_by_key(|(_, pod)| is_ready(pod));
        let asked = usize::try_from(count(&replica_set["spec"]["replicas"])).unwrap_or_default();
        for (key, mut pod) in pods.drain(..pods.len().saturating_sub(asked)) {
            pod["metadata"]["deletionTimestamp"] = json!(stamp(self.now));
            pod["metadata"]["annotations"][SINCE] = json!(self.now.to_string());
            self.writes.push((key, Some(pod)));
        }
        while pods.len() < asked
            && let Some(address) = self.address()
        {
            let name = short(&json!([key.name, address, self.store.version]));
            let name = format!("{}-{}", key.name, &name[..5]);
            let key = Key::new("pods", &key.namespace, &name);
            pods.push((key, self.pod(&replica_set, &address)));
        }
        let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
        replica_set["status"] = json!({ "replicas": pods.len(), "availableReplicas": ready });
        self.writes.push((key.clone(), Some(replica_set)));
        let pods = pods.into_iter().map(|(key, pod)| (key, Some(pod)));
        self.writes.extend(pods);
    }

    fn pod(&self, replica_set: &Value, address: &str) -> Value {
        let mut pod = replica_set["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["annotations"][SINCE] = json!(self.now.to_string());
        pod["metadata"]["ownerReferences"] = json!([owner(replica_set)]);
        pod["status"] = json!({ "phase": "Running", "podIP": address });
        pod
    }

    fn age(&self, pod: &Value) -> Duration {
        let since = text(&pod["metadata"]["annotations"][SINCE]).parse();
        let age = self.now.duration_since(since.unwrap_or(self.now));
        age.unsigned_abs()
    }

    /// Takes an address that nobody has, in a network that belongs to the API server's port, so that sandboxes side by
    /// side do not meet. The search starts at another place each time, so that an address is not used again at once.
    fn address(&mut self) -> Option<String> {
        let (port, version) = (self.options.api_port, self.store.version);
        let (a, b) = (16 + port % 235, port / 235 % 256);
        let hosts = (0..254).map(|host| (host + version) % 254 + 1);
        let mut addresses = hosts.map(|host| format!("127.{a}.{b}.{host}"));
        let address = addresses.find(|address| !self.taken.contains(address))?;
        self.taken.insert(address.clone());
        Some(address)
    }
}
