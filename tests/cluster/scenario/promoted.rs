//! A bad canary that was promoted, where `abort` does nothing.

use serde_json::{Value, json};

use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{NAME, Scene};
use crate::support::story::prelude::*;

/// A window in which the controller itself skips the steps of an older release, as it does for a person who undoes a release
/// that was good.
pub(crate) async fn rollback_window() {
    let mut scene = Scene::start("promoted, with a rollback window").await;
    scene
        .first(
            GOOD,
            &json!({ "strategy": pausing(), "rollbackWindow": { "revisions": 3 } }),
        )
        .await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    let good = scene.live().await;
    scene.deploy("demo:v2-good").await;
    let newer = scene.promoted_by_hand().await;
    scene.argo(&["undo", NAME]);
    scene.is_taken_up(&newer, "the undo").await;
    let skipped = |status: &Value| status["phase"] == "Healthy" && status["stableRS"] == *good;
    scene
        .status_is("the older one without a step", skipped)
        .await;
    scene.soaked().await;

    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r4-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// The controller puts an affinity of its own into the replica set. It is not written back, so that the old replica set
/// serves again; with it the controller would make a new one and walk the steps.
pub(crate) async fn injected_affinity() {
    let mut scene = Scene::start("promoted, an injected affinity").await;
    let mut strategy = pausing();
    let apart = json!({ "preferredDuringSchedulingIgnoredDuringExecution": { "weight": 1 } });
    strategy["canary"]["antiAffinity"] = apart;
    // The first release of all gets no affinity.
    scene.good = "demo:v0-good";
    let ripcord = scene.good(&strategy).await;
    scene.good = GOOD;
    scene.deploy(GOOD).await;
    let good = scene.promoted_by_hand().await;
    scene.soaked().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    let template = scene.replica_set(&good).await["spec"]["template"].clone();
    let affinity = template["spec"]["affinity"].to_string();
    assert!(affinity.contains("rollouts-pod-template-hash"));
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r3-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.serves_again(&rollback, &good, ["2", "4"]).await;
    let affinity = scene.rollout().await["spec"]["template"]["spec"]["affinity"].to_string();
    assert!(!affinity.contains("rollouts-pod-template-hash"));
    scene.times(posted, &rollback);
}
