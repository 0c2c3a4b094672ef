use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::cli::demo::fixture;
use crate::sandbox::store::Part;
use crate::sandbox::workload;

/// A store with one rollout, and a clock that the test moves.
struct World {
    store: Store,
    now: Timestamp,
    /// Passes so far: pods live through an hour in each.
    passes: i64,
}

fn key() -> Key {
    Key::new("rollouts", "shop", "api")
}

impl World {
    fn new(steps: &Value) -> Self {
        let mut store = Store::default();
        let rollout = fixture::rollout("shop", "api", "demo:v1", steps);
        store.create(&key(), rollout).unwrap();
        let mut world = Self {
            store,
            now: Timestamp::UNIX_EPOCH,
            passes: 0,
        };
        world.settle();
        world
    }

    /// Passes until nothing changes any more, with pods that take no time. The fewest ready pods seen.
    fn settle(&mut self) -> usize {
        let mut fewest = usize::MAX;
        loop {
            let before = self.store.version;
            self.store.now = self.now;
            self.store.apply(reconcile(&self.store));
            self.passes += 1;
            self.store.now = self.now + SignedDuration::from_hours(self.passes);
            self.store.apply(workload::reconcile(&self.store, 0));
            if before == self.store.version {
                return fewest;
            }
            let pods = self.store.objects("pods");
            let ready = pods.filter(|pod| {
                pod["status"]["conditions"][0]["status"] == "True" && !is_stopping(pod)
            });
            fewest = fewest.min(ready.count());
        }
    }

    fn deploy(&mut self, image: &str) -> usize {
        let mut object = self.store.get(&key()).unwrap().clone();
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        self.store.update(&key(), Part::Main, object).unwrap();
        self.settle()
    }

    fn ask(&mut self, field: &str, value: Value) -> usize {
        let mut object = self.store.get(&key()).unwrap().clone();
        object["status"][field] = value;
        self.store.update(&key(), Part::Status, object).unwrap();
        self.settle()
    }

    fn status(&self) -> &Value {
        &self.store.get(&key()).unwrap()["status"]
    }

    fn pods(&self, image: &str) -> usize {
        let pods = self.store.objects("pods");
        pods.filter(|pod| pod["spec"]["containers"][0]["image"] == image)
            .count()
    }

    fn stands(&self, phase: &str, step: u64, good: usize, bad: usize) {
        let status = self.status();
        let seen = (&status["phase"], &status["currentStepIndex"]);
        assert_eq!(seen, (&json!(phase), &json!(step)), "{status:#}");
        assert_eq!(
            (self.pods("demo:v1"), self.pods("demo:v2")),
            (good, bad),
            "{status:#}"
        );
    }
}

fn steps() -> Value {
    json!([{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 50 }, { "pause": { "duration": "10s" } }])
}

#[test]
fn the_first_release_is_stable_at_once() {
    let world = World::new(&steps());
    world.stands("Healthy", 4, 4, 0);
    let rollout = world.store.get(&key()).unwrap();
    assert_eq!(
        rollout["spec"]["template"]["spec"]["containers"][0]["resources"],
        json!({})
    );
    assert_eq!(rollout["metadata"]["generation"], 2);
    assert_eq!(rollout["status"]["observedGeneration"], "2");
    assert_eq!(
        rollout["status"]["stableRS"],
        rollout["status"]["currentPodHash"]
    );
}

#[test]
fn a_canary_walks_its_steps_and_keeps_enough_pods() {
    let mut world = World::new(&steps());
    assert!(world.deploy("demo:v2") >= 3);
    world.stands("Paused", 1, 3, 1);
    assert!(world.ask("pauseConditions", Value::Null) >= 3);
    world.stands("Paused", 3, 2, 2);
    world.now += SignedDuration::from_secs(9);
    world.settle();
    world.stands("Paused", 3, 2, 2);
    world.now += SignedDuration::from_secs(1);
    assert!(world.settle() >= 3);
    world.stands("Healthy", 4, 0, 4);
}

#[test]
fn an_abort_can_be_retried() {
    let mut world = World::new(&steps());
    world.deploy("demo:v2");
    world.ask("abort", json!(true));
    world.stands("Degraded", 0, 4, 0);
    assert!(
        world.status()["message"]
            .as_str()
            .unwrap()
            .ends_with("revision 2")
    );
    world.ask("abort", json!(false));
    world.stands("Paused", 1, 3, 1);
    assert!(world.status()["abortedAt"].is_null());
}

#[test]
fn a_template_that_comes_back_reuses_its_set_as_a_new_revision() {
    let mut world = World::new(&steps());
    world.deploy("demo:v2");
    world.deploy("demo:v1");
    world.stands("Healthy", 4, 4, 0);
    let sets: Vec<&Value> = world.store.objects("replicasets").collect();
    assert_eq!(sets.len(), 2);
    let stable = sets
        .iter()
        .find(|set| set["spec"]["replicas"] == 4)
        .unwrap();
    assert_eq!(stable["metadata"]["annotations"][REVISION], "3");
}

#[test]
fn changed_steps_begin_anew_and_forget_what_was_asked() {
    let mut world = World::new(&steps());
    world.deploy("demo:v2-neverready");
    let mut object = world.store.get(&key()).unwrap().clone();
    object["status"]["promoteFull"] = json!(true);
    world.store.update(&key(), Part::Status, object).unwrap();
    let mut object = world.store.get(&key()).unwrap().clone();
    object["spec"]["strategy"]["canary"]["steps"][0]["setWeight"] = json!(50);
    world.store.update(&key(), Part::Main, object).unwrap();
    world.settle();
    assert!(world.status()["promoteFull"].is_null());
    assert_eq!(world.status()["currentStepIndex"], 0);
    let rollout = world.store.get(&key()).unwrap();
    assert_eq!(rollout["metadata"]["annotations"][REVISION], "2");
}

#[test]
fn a_pod_can_take_its_time() {
    let mut world = World::new(&json!([]));
    world.deploy("demo:v2-readyafter30m");
    let status = world.status();
    assert_eq!(
        (&status["phase"], &status["updatedReplicas"]),
        (&json!("Healthy"), &json!(4))
    );
    assert_eq!(
        status["conditions"][0],
        json!({ "type": "Paused", "status": "False" })
    );
}

#[test]
fn a_paused_spec_moves_no_pods() {
    let mut world = World::new(&steps());
    let mut object = world.store.get(&key()).unwrap().clone();
    object["spec"]["paused"] = json!(true);
    world.store.update(&key(), Part::Main, object).unwrap();
    world.deploy("demo:v2");
    world.stands("Paused", 0, 4, 0);
}

#[test]
fn a_release_that_never_gets_ready_takes_nothing_from_the_stable_one() {
    let mut world = World::new(&json!([]));
    assert_eq!(world.deploy("demo:v2-neverready"), 4);
    assert_eq!(world.pods("demo:v1"), 4);
    assert_eq!(world.status()["phase"], "Progressing");
    assert_eq!(world.deploy("demo:v1"), 4);
    assert_eq!(world.pods("demo:v2-neverready"), 0);
    assert_eq!(world.status()["phase"], "Healthy");
}

#[test]
fn what_it_does_not_know_is_left_alone() {
    for strategy in [
        json!({ "blueGreen": {} }),
        json!({ "canary": { "trafficRouting": {} } }),
        json!({ "canary": { "steps": [{ "analysis": {} }] } }),
        json!({ "canary": { "steps": [{ "pause": { "duration": "soon" } }] } }),
    ] {
        let mut world = World::new(&steps());
        let before = world.status().clone();
        let mut object = world.store.get(&key()).unwrap().clone();
        object["spec"]["strategy"] = strategy;
        world.store.update(&key(), Part::Main, object).unwrap();
        world.settle();
        assert_eq!(*world.status(), before);
    }
}

#[test]
fn the_hash_is_of_the_content_alone() {
    let hash = |text: &str| short(&serde_json::from_str(text).unwrap());
    let one = r#"{"metadata":{"labels":{"app":"a"}},"spec":{"x":[1,2]}}"#;
    let turned = r#"{"spec":{"x":[1,2]},"metadata":{"labels":{"app":"a"}}}"#;
    let other = r#"{"metadata":{"labels":{"app":"a"}},"spec":{"x":[2,1]}}"#;
    assert_eq!(hash(one), hash(turned));
    assert_ne!(hash(one), hash(other));
}
