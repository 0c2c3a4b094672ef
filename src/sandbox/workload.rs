//! What a cluster does besides the Rollouts controller: `ReplicaSets` get pods, pods start and stop, Services get addresses
//! and endpoints, and objects whose owner is gone go too.
//!
//! Pure: it reads the store and returns writes. Endpoints follow the pods one pass behind, as they do for real.

mod endpoints;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::app::Behaviour;
use super::json::{count, items, owned, stamp, suffix, text};
use super::rollout::{Write, owner};
use super::store::{Key, Store};

/// What the simulated cluster has to know of its options.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The first two numbers, after 127, of every pod's and Service's address.
    pub(super) network: [u8; 2],
    pub(super) pod_start: Duration,
    pub(super) pod_stop: Duration,
    pub(super) app_port: u16,
}

/// When a pod was made or told to stop, with more than the API's whole seconds.
const SINCE: &str = "sandbox.ripcord.dev/since";
/// Host numbers of pods and of Services.
const PODS: Range<u8> = 1..200;
const SERVICES: Range<u8> = 200..255;

struct Pass<'a> {
    store: &'a Store,
    settings: &'a Settings,
    now: Timestamp,
    taken: BTreeSet<String>,
    pods: BTreeMap<Key, Value>,
    writes: Vec<Write>,
}

/// One pass of everything that is not the Rollouts controller.
pub(super) fn reconcile(store: &Store, settings: &Settings, now: Timestamp) -> Vec<Write> {
    let writes = orphans(store);
    if !writes.is_empty() {
        return writes;
    }
    let (taken, pods) = (BTreeSet::new(), BTreeMap::new());
    let mut pass = Pass {
        store,
        settings,
        now,
        taken,
        pods,
        writes,
    };
    for (key, service) in store.list("", "services", None) {
        pass.service(key, service);
        pass.writes
            .extend(endpoints::reconcile(store, settings.app_port, key, service));
    }
    for (key, pod) in store.list("", "pods", None) {
        pass.live(key, pod.clone());
    }
    for (key, replica_set) in store.list("apps", "replicasets", None) {
        // Others than the Rollouts controller's may hold anything.
        if items(&replica_set["metadata"]["ownerReferences"]).is_empty() {
            continue;
        }
        pass.populate(key, replica_set.clone());
    }
    let changed = pass
        .pods
        .into_iter()
        .filter(|(key, pod)| store.get(key) != Some(pod));
    pass.writes
        .extend(changed.map(|(key, pod)| Write::Put(key, pod)));
    pass.writes
}

/// Whether the pod's `Ready` condition holds.
fn is_ready(pod: &Value) -> bool {
    let conditions = items(&pod["status"]["conditions"]);
    conditions
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn is_stopping(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

/// Objects of which every owner is gone.
fn orphans(store: &Store) -> Vec<Write> {
    let alive: BTreeSet<&str> = store
        .all()
        .map(|(_, object)| text(&object["metadata"]["uid"]))
        .collect();
    let lost = |object: &Value| {
        let owners = items(&object["metadata"]["ownerReferences"]);
        !owners.is_empty()
            && owners
                .iter()
                .all(|owner| !alive.contains(text(&owner["uid"])))
    };
    let lost = store.all().filter(|(_, object)| lost(object));
    lost.map(|(key, _)| Write::Remove(key.clone())).collect()
}

// === impl Pass ===

impl Pass<'_> {
    /// Gives a Service an address, if it asks for one.
    fn service(&mut self, key: &Key, service: &Value) {
        if let Some(address) = service["spec"]["clusterIP"].as_str() {
            self.taken.insert(address.to_owned());
        } else if let Some(address) = self.address(SERVICES) {
            let mut service = service.clone();
            service["spec"]["clusterIP"] = json!(address);
            self.writes.push(Write::Put(key.clone(), service));
        }
    }

    /// Moves one pod through its life.
    fn live(&mut self, key: &Key, mut pod: Value) {
        let since = text(&pod["metadata"]["annotations"][SINCE])
            .parse()
            .unwrap_or(self.now);
        self.taken.insert(text(&pod["status"]["podIP"]).to_owned());
        if is_stopping(&pod) {
            let end = since + self.settings.pod_stop;
            let over = self.now >= end;
            self.writes.push(if over {
                Write::Remove(key.clone())
            } else {
                Write::Wake(end)
            });
            return;
        }
        let image = Behaviour::of(text(&pod["spec"]["containers"][0]["image"]));
        let extra = if image.has("ready5") { 5 } else { 0 };
        let start = since + self.settings.pod_start + Duration::from_secs(extra);
        let death = start + Duration::from_secs(1);
        let dead = image.has("dies") && self.now >= death;
        let ready = !image.has("neverready") && !dead && self.now >= start;
        if self.now < start {
            self.writes.push(Write::Wake(start));
        } else if image.has("dies") && !dead {
            self.writes.push(Write::Wake(death));
        }
        let crash = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let state = if dead {
            crash
        } else {
            json!({ "running": {} })
        };
        let one = |container: &Value| {
            json!({
                "name": container["name"], "image": container["image"], "imageID": "", "state": state,
                "ready": ready, "restartCount": u8::from(dead), "started": !dead,
            })
        };
        pod["status"]["containerStatuses"] =
            items(&pod["spec"]["containers"]).iter().map(one).collect();
        pod["status"]["phase"] = json!("Running");
        self.set_ready(&mut pod, ready);
        self.pods.insert(key.clone(), pod);
    }

    fn set_ready(&self, pod: &mut Value, ready: bool) {
        if is_ready(pod) == ready && pod["status"]["conditions"].is_array() {
            return;
        }
        let since = stamp(self.now);
        let ready = if ready { "True" } else { "False" };
        pod["status"]["conditions"] = json!([
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": since },
            { "type": "ContainersReady", "status": ready, "lastTransitionTime": since },
            { "type": "Ready", "status": ready, "lastTransitionTime": since },
        ]);
    }

    /// Gives a `ReplicaSet` the pods that it asks for, and writes its status.
    fn populate(&mut self, key: &Key, mut replica_set: Value) {
        let mine = self.pods.iter().filter(|(_, pod)| owned(pod, &replica_set));
        let mut own: Vec<Key> = mine.map(|(key, _)| key.clone()).collect();
        let asked = usize::try_from(count(&replica_set["spec"]["replicas"])).unwrap_or_default();
        for number in own.len()..asked {
            let Some(address) = self.address(PODS) else {
                break;
            };
            let seed = json!([replica_set["metadata"]["uid"], self.store.version(), number]);
            let name = format!("{}-{}", key.name, suffix(&seed));
            let pod = Key::new("", "pods", &key.namespace, &name);
            self.pods
                .insert(pod.clone(), self.new_pod(&replica_set, &address));
            own.push(pod);
        }
        // Those that are not ready go first.
        own.sort_by_key(|key| self.pods.get(key).is_some_and(is_ready));
        for key in own.drain(..own.len().saturating_sub(asked)) {
            if let Some(mut pod) = self.pods.remove(&key) {
                self.set_ready(&mut pod, false);
                pod["metadata"]["deletionTimestamp"] = json!(stamp(self.now));
                pod["metadata"]["annotations"][SINCE] = json!(self.now.to_string());
                self.pods.insert(key, pod);
            }
        }
        let ready = own
            .iter()
            .filter(|key| self.pods.get(*key).is_some_and(is_ready))
            .count();
        let generation = &replica_set["metadata"]["generation"];
        replica_set["status"] = json!({
            "replicas": own.len(), "fullyLabeledReplicas": own.len(),
            "readyReplicas": ready, "availableReplicas": ready, "observedGeneration": generation,
        });
        if self.store.get(key) != Some(&replica_set) {
            self.writes.push(Write::Put(key.clone(), replica_set));
        }
    }

    fn new_pod(&self, replica_set: &Value, address: &str) -> Value {
        let template = &replica_set["spec"]["template"];
        let (mut metadata, mut spec) = (template["metadata"].clone(), template["spec"].clone());
        metadata["annotations"][SINCE] = json!(self.now.to_string());
        metadata["ownerReferences"] = json!([owner("apps/v1", "ReplicaSet", replica_set)]);
        spec["nodeName"] = json!("sandbox");
        let status = json!({
            "phase": "Pending", "podIP": address, "podIPs": [{ "ip": address }],
            "hostIP": "127.0.0.1", "startTime": stamp(self.now),
        });
        json!({ "metadata": metadata, "spec": spec, "status": status })
    }

    /// Takes the first address that nobody has. The search starts at another place each time, so that an address is not
    /// used again at once.
    fn address(&mut self, hosts: Range<u8>) -> Option<String> {
        let [a, b] = self.settings.network;
        let start = usize::try_from(self.store.version()).unwrap_or_default() % hosts.len();
        let hosts = hosts.clone().skip(start).chain(hosts);
        let mut addresses = hosts.map(|host| format!("127.{a}.{b}.{host}"));
        let address = addresses.find(|address| !self.taken.contains(address))?;
        self.taken.insert(address.clone());
        Some(address)
    }
}
