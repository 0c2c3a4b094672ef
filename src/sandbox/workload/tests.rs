use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::sandbox::fixture;
use crate::sandbox::object::items;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn options() -> Options {
    Options {
        pod_start: Duration::from_millis(100),
        pod_stop: Duration::from_millis(200),
        api_port: 705,
        ..Options::default()
    }
}

fn at(milliseconds: i64) -> Timestamp {
    NOW + SignedDuration::from_millis(milliseconds)
}

/// A Service, and a set of pods of `image`.
fn cluster(image: &str, replicas: u64) -> Store {
    let mut store = Store::default();
    store.put(
        &Key::new("services", "shop", "api"),
        fixture::service("shop", "api", 80),
        NOW,
    );
    let template = json!({
        "metadata": { "labels": { "app": "api" } },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    });
    let spec = json!({ "replicas": replicas, "template": template });
    scale(&mut store, json!({ "metadata": {}, "spec": spec }));
    store
}

fn set_key() -> Key {
    Key::new("replicasets", "shop", "api-1")
}

fn scale(store: &mut Store, object: Value) {
    store.put(&set_key(), object, NOW);
}

fn pass(store: &mut Store, now: Timestamp) {
    for (key, object) in reconcile(store, &options(), now) {
        match object {
            Some(object) => drop(store.put(&key, object, now)),
            None => store.remove(&key),
        }
    }
}

fn endpoints(store: &Store) -> Vec<bool> {
    let slice = store.list("endpointslices").next().unwrap().1;
    let ready = |one: &Value| one["conditions"]["ready"] == true;
    items(&slice["endpoints"]).iter().map(ready).collect()
}

fn ready(store: &Store) -> usize {
    store
        .list("pods")
        .filter(|(_, pod)| is_ready(pod) && !is_stopping(pod))
        .count()
}

#[test]
fn pods_start_serve_and_stop_in_order() {
    let mut store = cluster("demo:v1", 2);
    pass(&mut store, at(0));
    pass(&mut store, at(10));
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
    assert_eq!((ready(&store), store.list("pods").count()), (1, 2));
    pass(&mut store, at(210));
    pass(&mut store, at(400));
    pass(&mut store, at(410));
    assert_eq!(
        (store.list("pods").count(), endpoints(&store)),
        (1, vec![true])
    );
}

#[test]
fn the_tag_says_whether_a_pod_gets_ready() {
    for (tag, seen) in [("v2-neverready", 0), ("v2-slow", 1)] {
        let mut store = cluster(&format!("demo:{tag}"), 1);
        pass(&mut store, at(0));
        pass(&mut store, at(1_000));
        assert_eq!(ready(&store), seen, "{tag}");
    }
}

#[test]
fn every_pod_and_service_has_an_address_of_its_own() {
    let mut store = cluster("demo:v1", 20);
    pass(&mut store, at(0));
    let pods = store
        .list("pods")
        .map(|(_, pod)| text(&pod["status"]["podIP"]));
    let mut all: BTreeSet<&str> = pods.collect();
    let service = store.list("services").next().unwrap().1;
    all.insert(text(&service["spec"]["clusterIP"]));
    assert_eq!(all.len(), 21);
    assert!(
        all.iter().all(|address| address.starts_with("127.16.3.")),
        "{all:?}"
    );
}
