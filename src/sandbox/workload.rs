//! What a cluster does besides the Rollouts controller: ReplicaSets get pods, pods start and stop, Services get addresses
//! and endpoints, and objects whose owner is gone go too.
//!
//! Pure: it reads the store and returns writes. Endpoints follow the pods one pass behind, as they do for real.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::app::Behaviour;
use super::rollout::{Write, owner, short};
use super::store::{Key, Store, set, stamp};

/// What the simulated cluster has to know of its options.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The first two numbers of every pod's and Service's address.
    pub(super) network: [u8; 2],
    pub(super) pod_start: Duration,
    pub(super) pod_stop: Duration,
    pub(super) app_port: u16,
}

/// When a pod was made or told to stop, with more than the API's whole seconds.
const SINCE: &str = "sandbox.ripcord.dev/since";
/// The host number of the first Service; pods are below it.
const SERVICES: u8 = 200;

/// One pass of everything that is not the Rollouts controller.
pub(super) fn reconcile(store: &Store, settings: &Settings, now: Timestamp) -> Vec<Write> {
    let mut writes = orphans(store);
    if !writes.is_empty() {
        return writes;
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (key, service) in store.list("", "services", None) {
        if let Some(address) = service["spec"]["clusterIP"].as_str() {
            taken.insert(address.to_owned());
        } else if let Some(address) = free(settings, SERVICES..255, &taken, store) {
            let mut service = service.clone();
            taken.insert(address.clone());
            service["spec"]["clusterIP"] = json!(address);
            writes.push(Write::Put(key.clone(), service));
        }
        writes.extend(endpoints(store, settings, key, service));
    }
    let mut pods: BTreeMap<Key, Value> = BTreeMap::new();
    for (key, pod) in store.list("", "pods", None) {
        let mut pod = pod.clone();
        match live(&mut pod, settings, now) {
            Life::Over => writes.push(Write::Remove(key.clone())),
            Life::On(wake) => {
                writes.extend(wake.map(Write::Wake));
                taken.extend(pod["status"]["podIP"].as_str().map(str::to_owned));
                pods.insert(key.clone(), pod);
            }
        }
    }
    for (key, found) in store.list("apps", "replicasets", None) {
        let mut replica_set = found.clone();
        populate(
            key,
            &mut replica_set,
            &mut pods,
            &mut taken,
            store,
            settings,
            now,
        );
        if replica_set != *found {
            writes.push(Write::Put(key.clone(), replica_set));
        }
    }
    let changed = pods
        .into_iter()
        .filter(|(key, pod)| store.get(key) != Some(pod));
    writes.extend(changed.map(|(key, pod)| Write::Put(key, pod)));
    writes
}

enum Life {
    /// Look again then, if ever.
    On(Option<Timestamp>),
    Over,
}

/// Moves one pod through its life.
fn live(pod: &mut Value, settings: &Settings, now: Timestamp) -> Life {
    let since = pod["metadata"]["annotations"][SINCE]
        .as_str()
        .and_then(|since| since.parse().ok())
        .unwrap_or(now);
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        let end = since + settings.pod_stop;
        return if now >= end {
            Life::Over
        } else {
            Life::On(Some(end))
        };
    }
    let containers = pod["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let behaviour = Behaviour::of(
        containers
            .first()
            .and_then(|container| container["image"].as_str())
            .unwrap_or_default(),
    );
    let ready_at = since + settings.pod_start + behaviour.delay;
    let dies_at = ready_at + Duration::from_secs(1);
    let dead = behaviour.dies && now >= dies_at;
    let ready = !behaviour.never_ready && !dead && now >= ready_at;
    let wake = match () {
        () if now < ready_at => Some(ready_at),
        () if behaviour.dies && !dead => Some(dies_at),
        () => None,
    };
    let state = if dead {
        json!({ "waiting": { "reason": "CrashLoopBackOff" } })
    } else {
        json!({ "running": {} })
    };
    let containers = containers.iter().map(|container| {
        json!({
            "name": container["name"], "image": container["image"], "imageID": "", "ready": ready,
            "restartCount": u8::from(dead), "started": !dead, "state": state,
        })
    });
    pod["status"]["containerStatuses"] = containers.collect();
    pod["status"]["phase"] = json!("Running");
    ready_condition(pod, ready, now);
    Life::On(wake)
}

fn ready_condition(pod: &mut Value, ready: bool, now: Timestamp) {
    if is_ready(pod) == ready && pod["status"]["conditions"].is_array() {
        return;
    }
    let condition = |kind: &str, holds: bool| {
        let holds = if holds { "True" } else { "False" };
        json!({ "type": kind, "status": holds, "lastTransitionTime": stamp(now) })
    };
    pod["status"]["conditions"] = json!([
        condition("PodScheduled", true),
        condition("ContainersReady", ready),
        condition("Ready", ready)
    ]);
}

/// Whether the pod's `Ready` condition holds.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|list| {
        list.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}

/// Gives a ReplicaSet the pods that it asks for, and writes its status.
fn populate(
    key: &Key,
    replica_set: &mut Value,
    pods: &mut BTreeMap<Key, Value>,
    taken: &mut BTreeSet<String>,
    store: &Store,
    settings: &Settings,
    now: Timestamp,
) {
    let uid = &replica_set["metadata"]["uid"];
    let mine = |pod: &Value| {
        pod["metadata"]["ownerReferences"][0]["uid"] == *uid
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let mut own: Vec<Key> = pods
        .iter()
        .filter(|(_, pod)| mine(pod))
        .map(|(key, _)| key.clone())
        .collect();
    let asked = replica_set["spec"]["replicas"]
        .as_u64()
        .and_then(|asked| usize::try_from(asked).ok())
        .unwrap_or_default();
    for number in own.len()..asked {
        let Some(address) = free(settings, 1..SERVICES, taken, store) else {
            break;
        };
        let suffix = short(&json!([uid, store.version(), number]));
        let name = format!("{}-{}", key.name, &suffix[..suffix.len().min(5)]);
        let pod = Key::new("", "pods", &key.namespace, &name);
        if pods.contains_key(&pod) {
            continue;
        }
        taken.insert(address.clone());
        pods.insert(pod.clone(), new_pod(replica_set, &address, now));
        own.push(pod);
    }
    own.sort_by_key(|key| pods.get(key).is_some_and(is_ready));
    for key in own.drain(..own.len().saturating_sub(asked)) {
        if let Some(pod) = pods.get_mut(&key) {
            ready_condition(pod, false, now);
            pod["metadata"]["deletionTimestamp"] = json!(stamp(now));
            pod["metadata"]["annotations"][SINCE] = json!(now.to_string());
        }
    }
    let ready = own
        .iter()
        .filter(|key| pods.get(key).is_some_and(is_ready))
        .count();
    let generation = replica_set["metadata"]["generation"].clone();
    replica_set["status"] = json!({
        "replicas": own.len(), "fullyLabeledReplicas": own.len(), "readyReplicas": ready, "availableReplicas": ready,
        "observedGeneration": generation,
    });
}

fn new_pod(replica_set: &Value, address: &str, now: Timestamp) -> Value {
    let template = &replica_set["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["annotations"][SINCE] = json!(now.to_string());
    metadata["ownerReferences"] = json!([owner("apps/v1", "ReplicaSet", replica_set)]);
    let mut spec = template["spec"].clone();
    spec["nodeName"] = json!("sandbox");
    json!({
        "metadata": metadata,
        "spec": spec,
        "status": {
            "phase": "Pending", "podIP": address, "podIPs": [{ "ip": address }], "hostIP": "127.0.0.1", "startTime": stamp(now),
        },
    })
}

/// The first address that nobody has; the search starts at another place each time, so that addresses are not reused at once.
fn free(
    settings: &Settings,
    hosts: std::ops::Range<u8>,
    taken: &BTreeSet<String>,
    store: &Store,
) -> Option<String> {
    let [a, b] = settings.network;
    let start = usize::try_from(store.version()).unwrap_or_default() % hosts.len();
    let hosts = hosts.clone().cycle().skip(start).take(hosts.len());
    hosts
        .map(|host| format!("127.{a}.{b}.{host}"))
        .find(|address| !taken.contains(address))
}

/// The EndpointSlice of one Service, when it differs from the stored one.
fn endpoints(store: &Store, settings: &Settings, key: &Key, service: &Value) -> Option<Write> {
    let selector = service["spec"]["selector"]
        .as_object()
        .filter(|selector| !selector.is_empty())?;
    let pods = store
        .list("", "pods", Some(&key.namespace))
        .filter(|(_, pod)| {
            let labels = &pod["metadata"]["labels"];
            selector.iter().all(|(name, value)| labels[name] == *value)
        });
    let endpoints: Vec<Value> = pods
        .filter(|(_, pod)| pod["status"]["podIP"].is_string())
        .map(|(key, pod)| {
            let stopping = !pod["metadata"]["deletionTimestamp"].is_null();
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": { "ready": is_ready(pod), "serving": is_ready(pod) || stopping, "terminating": stopping },
                "nodeName": "sandbox",
                "targetRef": { "kind": "Pod", "name": key.name, "namespace": key.namespace, "uid": pod["metadata"]["uid"] },
            })
        })
        .collect();
    let ports = service["spec"]["ports"].as_array().into_iter().flatten().map(|port| {
        let target = port["targetPort"].as_u64().or_else(|| port["targetPort"].is_null().then(|| port["port"].as_u64())?);
        json!({ "name": port["name"].as_str().unwrap_or_default(), "port": target.unwrap_or(settings.app_port.into()), "protocol": "TCP" })
    });
    let ports: Vec<Value> = ports.collect();
    let suffix = short(&json!(key.name));
    let name = format!("{}-{}", key.name, &suffix[..suffix.len().min(5)]);
    let slice = Key::new("discovery.k8s.io", "endpointslices", &key.namespace, &name);
    let mut object = store.get(&slice).cloned().unwrap_or_else(|| {
        json!({ "metadata": {
            "labels": { "kubernetes.io/service-name": key.name },
            "ownerReferences": [owner("v1", "Service", service)],
        } })
    });
    object["addressType"] = json!("IPv4");
    set(&mut object, "endpoints", Some(json!(endpoints)));
    set(&mut object, "ports", Some(json!(ports)));
    (store.get(&slice) != Some(&object)).then_some(Write::Put(slice, object))
}

/// Objects of which every owner is gone.
fn orphans(store: &Store) -> Vec<Write> {
    let alive: BTreeSet<&str> = store
        .all()
        .filter_map(|(_, object)| object["metadata"]["uid"].as_str())
        .collect();
    let lost = |object: &Value| {
        let owners = object["metadata"]["ownerReferences"]
            .as_array()
            .filter(|owners| !owners.is_empty());
        let gone = |owner: &Value| {
            owner["uid"]
                .as_str()
                .is_some_and(|uid| !alive.contains(uid))
        };
        owners.is_some_and(|owners| owners.iter().all(gone))
    };
    store
        .all()
        .filter(|(_, object)| lost(object))
        .map(|(key, _)| Write::Remove(key.clone()))
        .collect()
}
