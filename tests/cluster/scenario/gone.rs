//! What goes away in the middle of a step: the workload itself, and pods that were looked at a moment ago. The first ends a
//! rollback, and what was not done is said; the second does not, and whatever takes a pod's place is proved too.

use serde_json::{Value, json};

use super::cache::GONE;
use crate::app;
use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The steps in the order of the shipped `cache-reset`.
const REVERT: usize = 0;
const RESTART: usize = 3;
const READY: usize = 4;
const WARM: usize = 5;
const GONE_SAID: &str = "The workload was deleted or replaced during the rollback";

/// Somebody deletes the workload between the restore and the promotion: its pods are left as they are, and the release is not back.
pub(crate) async fn workload_at_revert() {
    let mut scene = Scene::start("gone, the workload in its revert").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.waits_for(&name, REVERT, "promoting").await;
    scene.deletes_its_workload().await;
    let rollback = scene.is_not_back(&name, "workload_gone").await;
    assert_eq!(
        rollback["status"]["run"]["steps"][REVERT]["phase"],
        "Failed"
    );
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
    assert!(scene.served_by().await.iter().any(|it| it == BAD));
    scene.tells("not reached: healthy").await;
    scene.tells(GONE_SAID).await;
}

/// The same while the last bad pods stop: nothing is flushed.
pub(crate) async fn workload_at_gone() {
    let mut scene = Scene::start("gone, the workload while pods stop").await;
    let redis = scene.redis().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene
        .loses_its_workload(&ripcord, &bad, GONE, "pods_remaining")
        .await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene
        .tells("not reached: flush-redis, restart, wait-ready, http, healthy")
        .await;
}

/// The same while its pods are restarted: what came before is done, and the rest is not tried.
pub(crate) async fn workload_at_restart() {
    let mut scene = Scene::start("gone, the workload in its restart").await;
    let redis = scene.redis().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": NAME, "namespace": scene.namespaces.release },
        "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": NAME } } },
    });
    scene.plane.admin.create(&budget).await.unwrap();
    scene
        .loses_its_workload(&ripcord, &bad, RESTART, "restarting")
        .await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.tells("not reached: wait-ready, http, healthy").await;
}

/// The same while the restarted pods are waited for.
pub(crate) async fn workload_at_wait_ready() {
    let mut scene = Scene::start("gone, the workload while pods start").await;
    let redis = scene.redis().await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene
        .loses_its_workload(&ripcord, &bad, READY, "pods_starting")
        .await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.tells("not reached: http, healthy").await;
}

/// The same while the first pod is warmed up, which never answers.
pub(crate) async fn workload_at_its_warm_up() {
    let mut scene = Scene::start("gone, the workload in its warm-up").await;
    let redis = scene.redis().await;
    scene.good = "demo:v1-onemute";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    scene.warms_its_first_pod(&format!("{NAME}-r2-{bad}")).await;
    scene.deletes_its_workload().await;
    let rollback = scene.is_failed(&bad, "workload_gone").await;
    let step = &rollback["status"]["run"]["steps"][WARM];
    assert_eq!(step["attempts"], 1, "no other pod is asked: {step:#}");
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.tells("not reached: healthy").await;
    scene.tells(GONE_SAID).await;
}

/// The same while its pods prove that they are healthy.
pub(crate) async fn workload_at_its_proof() {
    let mut scene = Scene::start("gone, the workload in its proof").await;
    let proof = "- healthy: { consecutive: 3, every: 500ms, within: 2m }";
    let long = "- healthy: { consecutive: 100, every: 200ms, within: 2m }";
    scene.policy_says(proof, long);
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene
        .loses_its_workload(&ripcord, &bad, 1, "sampling")
        .await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    scene.tells("NOT proved healthy").await;
}

/// A pod goes away while the last of the restarted ones is waited for: the one that takes its place is waited for too.
pub(crate) async fn pod_at_wait_ready() {
    let mut scene = Scene::start("gone, a pod while others start").await;
    let redis = scene.redis().await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.alert(&ripcord).await;
    scene.waits_for(&name, READY, "pods_starting").await;
    let gone = scene.loses_its_first_pod().await;
    let rollback = scene.ended(&name, "Succeeded").await;
    let said = rollback["status"]["run"]["steps"][READY]["observed"]["said"].clone();
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("4 of 4 pods are ready and 4 available"),
        "{said}"
    );
    scene.all_are_warm_without(&gone).await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
}

/// A pod goes away between the look that chose it and its answer: that is no answer, and the one in its place is asked.
pub(crate) async fn pod_at_its_warm_up() {
    let mut scene = Scene::start("gone, a pod in its warm-up").await;
    let _redis = scene.redis().await;
    scene.good = "demo:v1-onemute";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.alert(&ripcord).await;
    scene.warms_its_first_pod(&name).await;
    let gone = scene.loses_its_first_pod().await;
    let rollback = scene.ended(&name, "Succeeded").await;
    let said = rollback["status"]["run"]["steps"][WARM]["observed"]["said"].clone();
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("4 of 4 pods answered POST /warmup"),
        "{said}"
    );
    scene.all_are_warm_without(&gone).await;
}

impl Scene {
    /// Sends the alert, and deletes the workload when this step waits for this reason. Its pods run on, as they do for whoever
    /// deletes it with `--cascade=orphan`.
    async fn loses_its_workload(&self, ripcord: &Replica, bad: &str, step: usize, reason: &str) {
        self.alert(ripcord).await;
        self.waits_for(&format!("{NAME}-r2-{bad}"), step, reason)
            .await;
        self.deletes_its_workload().await;
        self.is_failed(bad, "workload_gone").await;
        self.tells(GONE_SAID).await;
    }

    async fn deletes_its_workload(&self) {
        let path = format!("{}?propagationPolicy=Orphan", self.rollout_path());
        self.plane.admin.delete(&path).await.unwrap();
    }

    /// Waits until a rollback has asked the first pod to get warm, and has no answer.
    async fn warms_its_first_pod(&self, name: &str) {
        let asked = async || {
            let step = self.rollback(name).await?["status"]["run"]["steps"][WARM].clone();
            (step["attempts"] == 1 && step["intent"].is_object()).then_some(())
        };
        until(asked, LIMIT).await.expect("the first is asked");
    }

    /// Deletes the first by name of the destination's pods; its name.
    pub(super) async fn loses_its_first_pod(&self) -> String {
        let pods = self.pods_of(&self.live().await).await;
        let names = pods.iter().filter_map(|it| it["metadata"]["name"].as_str());
        let first = names.min().expect("a pod").to_owned();
        let namespace = &self.namespaces.release;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{first}");
        self.plane.admin.delete(&path).await.unwrap();
        first
    }

    /// The release is back, each of its pods was warmed up once, and this one is not among them.
    async fn all_are_warm_without(&self, gone: &str) {
        // The template is restored once, and restarted once.
        self.is_mended_by(2).await;
        let pods = self.pods_of(&self.live().await).await;
        let names: Vec<_> = pods.iter().map(|it| &it["metadata"]["name"]).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for name in names.iter().filter_map(|it| Value::as_str(it)) {
            assert_ne!(name, gone);
            assert_eq!(app::warm_ups(name), 1, "{name}");
        }
    }
}
