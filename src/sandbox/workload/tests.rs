use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::sandbox::fixture;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn settings() -> Settings {
    let (pod_start, pod_stop) = (Duration::from_millis(100), Duration::from_millis(200));
    Settings {
        network: [16, 3],
        pod_start,
        pod_stop,
        app_port: 8000,
    }
}

fn at(milliseconds: i64) -> Timestamp {
    NOW + SignedDuration::from_millis(milliseconds)
}

/// A Service, and a set of pods of `image`.
fn cluster(image: &str, replicas: u64) -> Store {
    let mut store = Store::new(7, 100);
    store.put(
        &Key::new("", "services", "shop", "api"),
        fixture::service("shop", "api", 80),
        NOW,
    );
    let template = json!({
        "metadata": { "labels": { "app": "api" } },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    });
    // The Service, which came first, stands in for a rollout.
    let owners = json!([{ "uid": "00000007-0000-4000-8000-000000000001" }]);
    scale(
        &mut store,
        json!({ "metadata": { "ownerReferences": owners }, "spec": { "replicas": replicas, "template": template } }),
    );
    store
}

fn set_key() -> Key {
    Key::new("apps", "replicasets", "shop", "api-1")
}

fn scale(store: &mut Store, object: Value) {
    store.put(&set_key(), object, NOW);
}

/// One pass; the times that it asked for.
fn pass(store: &mut Store, now: Timestamp) -> Vec<Timestamp> {
    let mut wakes = Vec::new();
    for write in reconcile(store, &settings(), now) {
        match write {
            Write::Put(key, object) => store.put(&key, object, now),
            Write::Remove(key) => store.remove(&key),
            Write::Wake(at) => wakes.push(at),
        }
    }
    wakes
}

fn endpoints(store: &Store) -> Vec<bool> {
    let slice = store
        .list("discovery.k8s.io", "endpointslices", None)
        .next()
        .unwrap()
        .1;
    let ready = |one: &Value| one["conditions"]["ready"] == true;
    items(&slice["endpoints"]).iter().map(ready).collect()
}

fn ready(store: &Store) -> usize {
    store
        .list("", "pods", None)
        .filter(|(_, pod)| is_ready(pod))
        .count()
}

#[test]
fn pods_start_serve_and_stop_in_order() {
    let mut store = cluster("demo:v1", 2);
    pass(&mut store, at(0));
    assert_eq!(pass(&mut store, at(10)), [at(100), at(100)]);
    assert_eq!((ready(&store), endpoints(&store)), (0, vec![false, false]));
    pass(&mut store, at(100));
    assert_eq!(ready(&store), 2);
    assert_eq!(
        endpoints(&store),
        [false, false],
        "endpoints are one pass behind"
    );
    pass(&mut store, at(110));
    assert_eq!(endpoints(&store), [true, true]);
    let status = &store.get(&set_key()).unwrap()["status"];
    assert_eq!(
        (&status["replicas"], &status["availableReplicas"]),
        (&json!(2), &json!(2))
    );

    let mut fewer = store.get(&set_key()).unwrap().clone();
    fewer["spec"]["replicas"] = json!(1);
    scale(&mut store, fewer);
    pass(&mut store, at(200));
    assert_eq!(
        (ready(&store), store.list("", "pods", None).count()),
        (1, 2)
    );
    assert_eq!(pass(&mut store, at(210)), [at(400)]);
    pass(&mut store, at(400));
    pass(&mut store, at(410));
    assert_eq!(
        (store.list("", "pods", None).count(), endpoints(&store)),
        (1, vec![true])
    );
}

#[test]
fn the_tag_says_whether_a_pod_gets_ready() {
    for (tag, seen) in [
        ("v2-neverready", [0, 0, 0]),
        ("v2-ready5", [0, 0, 1]),
        ("v2-dies", [1, 0, 0]),
    ] {
        let mut store = cluster(&format!("demo:{tag}"), 1);
        pass(&mut store, at(0));
        let ready = [150, 1_150, 5_150].map(|time| {
            pass(&mut store, at(time));
            ready(&store)
        });
        assert_eq!(ready, seen, "{tag}");
    }
}

#[test]
fn every_pod_and_service_has_an_address_of_its_own() {
    let mut store = cluster("demo:v1", 20);
    pass(&mut store, at(0));
    let pods = store
        .list("", "pods", None)
        .map(|(_, pod)| text(&pod["status"]["podIP"]));
    let mut all: BTreeSet<&str> = pods.collect();
    let service = store.list("", "services", None).next().unwrap().1;
    all.insert(text(&service["spec"]["clusterIP"]));
    assert_eq!(all.len(), 21);
    assert!(
        all.iter().all(|address| address.starts_with("127.16.3.")),
        "{all:?}"
    );
}

#[test]
fn what_has_lost_its_owner_goes() {
    let mut store = cluster("demo:v1", 2);
    pass(&mut store, at(0));
    store.remove(&set_key());
    pass(&mut store, at(10));
    assert_eq!(store.list("", "pods", None).count(), 0);
    assert_eq!(store.list("", "services", None).count(), 1);
}
