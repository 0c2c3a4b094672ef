use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::cli::demo::fixture;
use crate::sandbox::object::items;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// The API server's.
const PORT: u16 = 705;

fn at(milliseconds: i64) -> Timestamp {
    NOW + SignedDuration::from_millis(milliseconds)
}

/// A Service, and a set of pods of `image`.
fn cluster(image: &str, replicas: u64) -> Store {
    let mut store = Store::default();
    store.put(
        &Key::new("services", "shop", "api"),
        fixture::service("shop", "api", 8000),
    );
    let template = json!({
        "metadata": { "labels": { "app": "api" } },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    });
    let spec = json!({ "replicas": replicas, "template": template });
    scale(
        &mut store,
        json!({ "metadata": { "name": "api-1", "namespace": "shop" }, "spec": spec }),
    );
    store
}

fn set_key() -> Key {
    Key::new("replicasets", "shop", "api-1")
}

fn scale(store: &mut Store, object: Value) {
    store.put(&set_key(), object);
}

fn pass(store: &mut Store, now: Timestamp) {
    store.now = now;
    store.apply(reconcile(store, PORT));
}

fn endpoints(store: &Store) -> Vec<bool> {
    let slice = store.objects("endpointslices").next().unwrap();
    let ready = |one: &Value| one["conditions"]["ready"] == true;
    items(&slice["endpoints"]).iter().map(ready).collect()
}

fn ready(store: &Store) -> usize {
    store
        .objects("pods")
        .filter(|pod| is_ready(pod) && !is_stopping(pod))
        .count()
}

#[test]
fn pods_start_serve_and_stop_in_order() {
    let mut store = cluster("demo:v1", 2);
    pass(&mut store, at(0));
    pass(&mut store, at(10));
    assert_eq!((ready(&store), endpoints(&store)), (0, vec![false, false]));
    pass(&mut store, at(150));
    assert_eq!(ready(&store), 2);
    assert_eq!(
        endpoints(&store),
        [false, false],
        "endpoints are one pass behind"
    );
    pass(&mut store, at(160));
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
    assert_eq!((ready(&store), store.objects("pods").count()), (1, 2));
    pass(&mut store, at(210));
    pass(&mut store, at(400));
    pass(&mut store, at(410));
    assert_eq!(
        (store.objects("pods").count(), endpoints(&store)),
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
        .objects("pods")
        .map(|pod| text(&pod["status"]["podIP"]));
    let mut all: BTreeSet<&str> = pods.collect();
    let service = store.objects("services").next().unwrap();
    all.insert(text(&service["spec"]["clusterIP"]));
    assert_eq!(all.len(), 21);
    assert!(
        all.iter().all(|address| address.starts_with("127.16.3.")),
        "{all:?}"
    );
}
