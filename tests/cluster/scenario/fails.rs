//! Steps of the shipped procedures that fail: a right is missing, the time is over, an answer is wrong, a pod is gone. Each says
//! what state is left, and what was not done. Those of caches are in `cache` and `fails_cache`, of a blue-green in `fails_blue_green`, of a Service that is
//! switched in `fails_colours`, of the complete rollback in `fails_complete`, of a revert that is refused in `ladder`, of what never
//! starts in `midway` and `complete`, of what goes away in `gone`.

use serde_json::{Value, json};

use super::blue_green;
use super::cache::GONE;
use super::hands::Person;
use crate::scene::complete::PINNED;
use crate::scene::release::{GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The role for a workload that is a Rollout.
const RELEASE: &str = "ripcord-release";

/// Nothing may be written to the workload any more when the alert comes: nothing is touched, and it is said which right is
/// missing.
pub(crate) async fn revert_without_its_right() {
    let mut scene = Scene::start("fails, revert without its right").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_declined_without_its_right(&ripcord, &bad).await;
}

/// The promotion is refused after the restore: it cannot be left there, so that it is asked for again, a person is called, and
/// it is done as soon as it is allowed.
pub(crate) async fn promotion_without_its_right() {
    let mut scene = Scene::start("fails, promotion without its right").await;
    let (_ripcord, name) = scene.is_given_up_unpromoted(&pausing()).await;
    scene.is_promoted_at_last(&name).await;
}

/// The controller stays down after the restore: the time that it should take is over, then the run is given up half-way with a
/// latch, and a person is called for both. What it has to do is done once it wakes, and the end says so.
pub(crate) async fn controller_stays_down() {
    let mut scene = Scene::start("fails, the controller stays down").await;
    scene.gives_up_after("10s");
    scene.policy_says(
        "emergency-canary:\n    budget: 30s",
        "emergency-canary:\n    budget: 5s",
    );
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    let asleep = scene.controller_sleeps();
    scene.alert(&ripcord).await;
    scene.is_restored().await;
    scene.is_told(&name, "over_budget").await;
    let rollback = scene.is_given_up(&name).await;
    let waits = &rollback["status"]["run"]["steps"][0]["observed"];
    assert_eq!(waits["reason"], "controller_lag", "{rollback:#}");
    assert_eq!(scene.live().await, bad, "nobody has moved yet");
    drop(asleep);
    let rollback = scene.ended(&name, "Failed").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "gave_up");
    scene.is_mended().await;
    let state = rollback["status"]["run"]["state"].as_str().unwrap();
    let live = format!("r3 {} is live", scene.live().await);
    assert!(state.starts_with(&live), "{live}: {state}");
    scene.is_restored_once_and_says("given up between restore and promotion");
}

/// The right to list pods is taken away while the last bad one is waited for: people are told which right is missing, the run is
/// late and then given up, and the end says that nobody knows how it stands. Nothing is flushed meanwhile.
pub(crate) async fn reads_without_their_right() {
    let mut scene = Scene::start("fails, reads without their right").await;
    let redis = scene.redis().await;
    scene.gives_up_after("30s");
    scene.policy_says(
        "cache-reset:\n    budget: 3m",
        "cache-reset:\n    budget: 5s",
    );
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene.alert(&ripcord).await;
    scene.waits_for(&name, GONE, "pods_remaining").await;
    scene.may_list_no_pods().await;
    scene.waits_for(&name, GONE, "permission_missing").await;
    let missing = format!(
        "the service account may not list pods in {}",
        scene.namespaces.release
    );
    scene.tells(&missing).await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
    scene.is_told(&name, "over_budget").await;
    let rollback = scene.is_failed(&bad, "gave_up").await;
    let said = rollback["status"]["reason"]["said"].as_str().unwrap();
    let wanted = format!("not done after 30s; last observed: {missing}; the workload could not be");
    assert!(said.starts_with(&wanted), "{said}");
    let state = rollback["status"]["run"]["state"].as_str().unwrap();
    assert!(state.starts_with("not known: "), "{state}");
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene
        .tells("not reached: flush-redis, restart, wait-ready, http, healthy")
        .await;
}

/// The same right is taken away while the destination is proved: a person who wants the end is heard.
pub(crate) async fn reads_without_their_right_stopped() {
    let mut scene = Scene::start("fails, reads without their right, stopped").await;
    scene.good = "demo:v1-unhealthy";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    scene.alert(&ripcord).await;
    scene.waits_for(&name, 1, "unhealthy").await;
    scene.may_list_no_pods().await;
    scene.waits_for(&name, 1, "permission_missing").await;
    let stopped = jo.types(&["stop", &name, "--reason", "I have it"]).await;
    assert_eq!(stopped.code, Some(0), "{}{}", stopped.out, stopped.err);
    assert!(stopped.out.contains("not known: "), "{}", stopped.out);
    let rollback = scene.ended(&name, "Cancelled").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "cancelled");
    let latch = scene.memory().await.unwrap()["status"]["latch"].clone();
    assert!(latch.is_null(), "{latch:#}");
}

/// The destination of a blue-green answers as degraded: the traffic stays there, and it is said what it answers.
pub(crate) async fn healthy_with_a_wrong_answer() {
    let mut scene = blue_green::start("fails, healthy with a wrong answer").await;
    scene.policy_says("procedure: emergency-canary", "procedure: blue-green");
    let proof = "- healthy: { consecutive: 3, every: 1s, within: 2m }";
    scene.policy_says(proof, &proof.replace("2m", "3s"));
    scene.good = "demo:v1-unhealthy";
    let strategy = crate::scene::blue_green::strategy(&json!({}));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let rollback = scene.fails(&ripcord, &bad, "unhealthy").await;
    assert_eq!(rollback["status"]["plan"]["procedure"], "blue-green");
    assert_eq!(scene.served_by().await, ["demo:v1-unhealthy"; 4]);
    scene.tells("overall_status=\\\"degraded\\\"").await;
    scene.tells("NOT proved healthy").await;
}

/// The pods of the destination take longer to answer than they may: the traffic stays there, and it is said that nobody answered.
pub(crate) async fn healthy_in_time() {
    let mut scene = Scene::start("fails, healthy in its time").await;
    let proof = "- healthy: { consecutive: 3, every: 500ms, within: 2m }";
    scene.policy_says(proof, &proof.replace("2m", "3s"));
    scene.policy_says("timeout: 2s", "timeout: 100ms");
    // The health of the demo application is never slow; its predictions are.
    scene.policy_says(
        "health:\n      path: /health/pinn",
        "health:\n      path: /price",
    );
    scene.good = "demo:v1-slow";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "unhealthy").await;
    assert_eq!(scene.served_by().await, ["demo:v1-slow"; 4]);
    scene.tells("no answer within 100ms").await;
    scene.tells("NOT proved healthy").await;
}

/// A pod of the destination is gone in the middle of its proof: the one that takes its place is proved too.
pub(crate) async fn healthy_without_one_of_its_pods() {
    let mut scene = Scene::start("fails, healthy without one of its pods").await;
    let proof = "- healthy: { consecutive: 3, every: 500ms, within: 2m }";
    scene.policy_says(
        proof,
        "- healthy: { consecutive: 20, every: 200ms, within: 2m }",
    );
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.alert(&ripcord).await;
    scene.waits_for(&name, 1, "sampling").await;
    let pods = scene.pods_of(&scene.live().await).await;
    let gone = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!(
        "/api/v1/namespaces/{}/pods/{gone}",
        scene.namespaces.release
    );
    scene.plane.admin.delete(&path).await.unwrap();
    let rollback = scene.ended(&name, "Succeeded").await;
    let said = rollback["status"]["run"]["steps"][1]["observed"]["said"].clone();
    assert!(
        said.as_str()
            .unwrap()
            .starts_with("4 of 4 answered well 20 times in a row"),
        "{said}"
    );
    let pods = scene.pods_of(&scene.live().await).await;
    assert!(
        pods.iter().all(|it| it["metadata"]["name"] != *gone),
        "{pods:#?}"
    );
    scene.is_mended().await;
}

/// Pods of the bad release do not stop in time: nothing is flushed that they could fill again, and what is left is said.
pub(crate) async fn gone_in_time() {
    let mut scene = Scene::start("fails, gone in its time").await;
    let redis = scene.redis().await;
    scene.policy_says("- gone: { within: 2m }", "- gone: { within: 3s }");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene.fails(&ripcord, &bad, "step_timeout").await;
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene.tells("4 pods of r2").await;
    scene
        .tells("not reached: flush-redis, restart, wait-ready, http, healthy")
        .await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
}

/// The workload may not be written to any more when its pods are to be restarted: what came before is done, no pod is
/// restarted, and that is said.
pub(crate) async fn restart_without_its_right() {
    let mut scene = Scene::start("fails, restart without its right").await;
    let redis = scene.redis().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene.alert(&ripcord).await;
    scene
        .waits_for(&format!("{NAME}-r2-{bad}"), GONE, "pods_remaining")
        .await;
    scene.may_change_nothing().await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
    scene.is_failed(&bad, "rejected").await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    assert_eq!(scene.rollout().await["spec"]["restartAt"], Value::Null);
    scene.tells("forbidden").await;
    scene.tells("not reached: wait-ready, http, healthy").await;
}

/// The last of the restarted pods is not ready in time.
pub(crate) async fn ready_in_time() {
    let mut scene = Scene::start("fails, ready in its time").await;
    let redis = scene.redis().await;
    scene.policy_says(
        "- wait-ready: { within: 2m }",
        "- wait-ready: { within: 1s }",
    );
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "step_timeout").await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.tells("3 of 4 pods are ready").await;
    scene.tells("not reached: http, healthy").await;
}

/// A pod never answers its warm-up: the others are warm, and it is said which one is not.
pub(crate) async fn warm_up_in_time() {
    let mut scene = Scene::start("fails, warm-up in its time").await;
    let redis = scene.redis().await;
    scene.policy_says("port: 8000, status: 200", "port: 8000, timeout: 1s");
    scene.policy_says("concurrency: 1, within: 2m", "concurrency: 1, within: 5s");
    scene.good = "demo:v1-onemute";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "warm_up_failed").await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.tells("3 of 4 pods answered POST /warmup").await;
    scene.tells("answers nothing within 1s").await;
    scene.tells("not reached: healthy").await;
}

/// The container of the pinned image is not in the live template: nobody is asked for what cannot be done, and nothing is written.
pub(crate) async fn image_without_its_container() {
    let mut scene = Scene::start("fails, image without its container").await;
    let _redis = scene.completes(PINNED).await;
    scene.policy_says("container: app, reference", "container: other, reference");
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "no_destination");
    scene
        .tells("the live template has no container other")
        .await;
}

/// The Redis is down after the complete rollback has brought the good release up: that is back, and the rest is said.
pub(crate) async fn flush_after_all_else() {
    let mut scene = Scene::start("fails, flush after all else").await;
    let redis = scene.completes(PINNED).await;
    let flush = "mode: prefix, within: 1m";
    for _ in 0..2 {
        scene.policy_says(flush, &flush.replace("1m", "3s"));
    }
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    drop(redis);
    scene.approved(&ripcord, &bad).await;
    let rollback = scene.is_failed(&bad, "cache_unreachable").await;
    assert_eq!(rollback["status"]["plan"]["procedure"], "complete");
    assert_eq!(scene.served_by().await, [PINNED; 4]);
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
    scene.tells("not reached: http, healthy").await;
}

impl Scene {
    /// Takes the right to change the workload away and sends the alert: nothing is touched, nobody is blamed, and it is said which
    /// right is missing.
    pub(super) async fn is_declined_without_its_right(&self, ripcord: &Replica, bad: &str) {
        self.may_change_nothing().await;
        self.alert(ripcord).await;
        let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
        let reason = &rollback["status"]["reason"];
        assert_eq!(reason["reason"], "permission_missing", "{rollback:#}");
        assert!(self.mutations().is_empty(), "{:#?}", self.mutations());
        self.is_put_right().await;
        let said = reason["said"].as_str().unwrap();
        assert!(said.contains("patch rollouts.argoproj.io in "), "{said}");
        let blamed = self.memory().await.unwrap()["status"]["blamed"].clone();
        assert!(blamed.as_array().is_none_or(Vec::is_empty), "{blamed}");
    }

    /// Waits until Slack was told this of a rollback; the rollback.
    async fn is_told(&self, name: &str, what: &str) -> Value {
        let told = async || {
            let rollback = self.rollback(name).await?;
            let told = rollback["status"]["report"]["slack"]["told"].clone();
            let told = told.as_array()?.iter().any(|it| it == what);
            told.then_some(rollback)
        };
        until(told, LIMIT).await.expect("a person is called")
    }

    /// Takes the right to list pods away from Ripcord, and waits until that is so.
    async fn may_list_no_pods(&self) {
        self.may(RELEASE, "pods", &["get"]).await;
        self.lacks("list", "", "pods", "").await;
    }

    /// Lets the promotion be refused after the restore, until the rollback is given up and a person called; the rollback's name.
    pub(super) async fn is_given_up_unpromoted(&mut self, strategy: &Value) -> (Replica, String) {
        self.gives_up_after("10s");
        let (ripcord, bad) = self.bad_promoted(strategy).await;
        let name = format!("{NAME}-r2-{bad}");
        // A blue-green whose old pods are kept goes back to them without a promotion.
        let gone = async || (self.rollout().await["status"]["replicas"] == 4).then_some(());
        until(gone, LIMIT).await.expect("the old pods go");
        let asleep = self.controller_sleeps();
        self.alert(&ripcord).await;
        self.is_restored().await;
        self.may(RELEASE, "rollouts/status", &["get"]).await;
        self.lacks("patch", "argoproj.io", "rollouts", "status")
            .await;
        drop(asleep);
        let rollback = self.is_given_up(&name).await;
        let observed = rollback["status"]["run"]["steps"][0]["observed"].to_string();
        assert!(observed.contains("rollouts/status"), "{observed}");
        (ripcord, name)
    }

    /// The promotion is allowed again, and done.
    pub(super) async fn is_promoted_at_last(&self, name: &str) {
        self.may(RELEASE, "rollouts/status", &["patch"]).await;
        let rollback = self.ended(name, "Failed").await;
        assert_eq!(rollback["status"]["reason"]["reason"], "gave_up");
        self.rollout_is("Healthy").await;
        self.users_are_served().await;
        assert_eq!(self.served_by().await, [GOOD; 4]);
        self.is_restored_once_and_says("given up between restore and promotion");
    }

    /// Waits until a rollback that runs on is given up: a person is called, and the target latched.
    pub(super) async fn is_given_up(&self, name: &str) -> Value {
        let rollback = self.is_told(name, "gave_up").await;
        assert_eq!(rollback["status"]["phase"], "Running", "{rollback:#}");
        self.is_latched_by(name).await;
        rollback
    }

    /// A rollback failed for this reason before the traffic was moved: it is said that the release is not back, a person is called,
    /// and the target latched; the rollback.
    pub(super) async fn is_not_back(&self, name: &str, reason: &str) -> Value {
        let rollback = self.ended(name, "Failed").await;
        assert_eq!(
            rollback["status"]["reason"]["reason"], reason,
            "{rollback:#}"
        );
        let traffic_back = rollback.pointer("/status/run/trafficBack");
        assert!(traffic_back.is_none(), "{rollback:#}");
        self.is_latched_by(name).await;
        self.tells("is NOT back").await;
        self.tells("you are needed").await;
        rollback
    }

    /// Lets Ripcord do this and nothing else with a resource of the release's namespace, by one of its roles.
    pub(super) async fn may(&self, role: &str, resource: &str, verbs: &[&str]) {
        let namespace = &self.namespaces.release;
        let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles");
        let path = format!("{roles}/{role}");
        let mut rules = self.plane.admin.get(&path).await.unwrap()["rules"].clone();
        for rule in rules.as_array_mut().unwrap() {
            if rule["resources"] == json!([resource]) {
                rule["verbs"] = json!(verbs);
            }
        }
        let patch = json!({ "rules": rules });
        self.plane.admin.patch(&path, &patch).await.unwrap();
    }
}
