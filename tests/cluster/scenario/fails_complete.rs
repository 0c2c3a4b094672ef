//! The complete rollback, approved, and then failing: its image is kept out, its pods are not ready, the bad ones do not stop.

use serde_json::json;

use crate::plane::audit::Audited;
use crate::scene::complete::PINNED;
use crate::scene::release::{BAD, containers, pausing};
use crate::scene::{LIMIT, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// A rule of admission keeps the pinned image out: nothing is touched, and a person is called.
pub(crate) async fn image_kept_out() {
    let mut scene = Scene::start("fails, image kept out").await;
    let redis = scene.completes(PINNED).await;
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    let rollouts = json!({
        "apiGroups": ["argoproj.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["rollouts"],
    });
    let image = "object.spec.template.spec.containers[0].image";
    scene
        .keep_out(&rollouts, &format!("{image} != '{PINNED}'"), "Forbidden")
        .await;
    let path = format!("{}?dryRun=All", scene.rollout_path());
    let pinned =
        json!({ "spec": { "template": { "spec": { "containers": containers(PINNED) } } } });
    let write = async || scene.plane.admin.patch(&path, &pinned).await;
    let kept = async || write().await.is_err().then_some(());
    until(kept, LIMIT).await.expect("it is kept out");
    let name = scene.approved(&ripcord, &bad).await;
    let rollback = scene.is_not_back(&name, "rejected").await;
    scene.let_in().await;
    let steps = rollback["status"]["run"]["steps"].as_array().unwrap();
    let mut phases = steps.iter().map(|it| &it["phase"]);
    assert_eq!(phases.next().unwrap(), "Failed", "{rollback:#}");
    assert!(phases.all(|it| it == "Skipped"), "{rollback:#}");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
    assert_eq!(scene.served_by().await, [BAD; 4]);
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    assert_eq!(scene.rollbacks().await.len(), 1, "it is not tried again");
    scene.tells("this is kept out").await;
}

/// A pod of the release that was brought up is not ready when that is asked: the traffic stays there, and nothing is flushed.
pub(crate) async fn ready_in_time() {
    let mut scene = Scene::start("fails, complete ready in its time").await;
    let redis = scene.completes(PINNED).await;
    let ready = "- wait-ready: { within: 2m }";
    for _ in 0..2 {
        scene.policy_says(ready, &ready.replace("2m", "2s"));
    }
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    // What was seen of the revert cannot be written down, so that the next step does not begin.
    scene
        .keep_status_out("it.step == 'revert' && it.phase == 'Done'")
        .await;
    scene.approved(&ripcord, &bad).await;
    let stands = async || {
        let requests = scene.requests();
        let status = |it: &&Audited| it.resource == "rollbacks" && it.subresource == "status";
        let refused = requests.iter().filter(status).any(|it| it.code == 422);
        refused.then_some(())
    };
    until(stands, LIMIT).await.expect("the revert is done");
    let pods = scene.pods_of(&scene.live().await).await;
    scene.set_ready(&pods[0], false).await;
    let noted = async || (scene.rollout().await["status"]["availableReplicas"] == 3).then_some(());
    until(noted, LIMIT).await.expect("it is noted");
    scene.let_in().await;
    scene.is_failed(&bad, "step_timeout").await;
    assert_eq!(scene.served_by().await, [PINNED; 3]);
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene.tells("3 of 4 pods are ready").await;
    scene
        .tells("not reached: gone, flush-redis, http, healthy")
        .await;
}

/// Pods of the bad release do not stop in time: the good one has the traffic, and nothing is flushed.
pub(crate) async fn gone_in_time() {
    let mut scene = Scene::start("fails, complete gone in its time").await;
    let redis = scene.completes(PINNED).await;
    let gone = "- gone: { within: 2m }";
    for _ in 0..2 {
        scene.policy_says(gone, &gone.replace("2m", "3s"));
    }
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene.approved(&ripcord, &bad).await;
    scene.is_failed(&bad, "step_timeout").await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
    assert_eq!(scene.served_by().await, [PINNED; 4]);
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene.tells("4 pods of r2").await;
    scene.tells("not reached: flush-redis, http, healthy").await;
}
