//! A bad canary that was promoted, where `abort` does nothing.

use serde_json::json;

use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{NAME, Scene};

/// Its steps have endless pauses: nobody walks them again.
pub(crate) async fn pauses_are_not_walked() {
    let mut scene = Scene::start("promoted, steps with endless pauses").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let said = scene.argo(&["abort", NAME]);
    assert!(said.contains("aborted"), "{said}");
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.live().await, bad, "abort says so, and does nothing");
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Paused by its spec: the controller notes the new generation before it looks at the restored template.
pub(crate) async fn paused_by_its_spec() {
    let mut scene = Scene::start("promoted, paused by its spec").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.argo(&["pause", NAME]);
    scene.rollout_is("Paused").await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The controller sleeps through the restore.
pub(crate) async fn controller_asleep() {
    let mut scene = Scene::alone("promoted, the controller asleep").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let asleep = scene.plane.freeze().unwrap();
    let posted = scene.alert(&ripcord).await;
    scene.is_restored().await;
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.times(posted, &rollback);
}

/// A window in which the controller itself skips the steps of an older release.
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
    scene.deploy(BAD).await;
    scene.argo(&["promote", NAME, "--full"]);
    scene.is_promoted().await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The destination's pods take a while to be ready.
pub(crate) async fn slow_to_start() {
    let mut scene = Scene::start("promoted, slow destination (3 s)").await;
    scene.good = "demo:v1-readyafter3s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.is_pulled_back(&ripcord, &bad).await;
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
