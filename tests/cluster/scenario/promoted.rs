//! A bad canary that was promoted, where `abort` does nothing.

use serde_json::json;

use crate::scene::release::pausing;
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
            crate::scene::release::GOOD,
            &json!({ "strategy": pausing(), "rollbackWindow": { "revisions": 3 } }),
        )
        .await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    scene.deploy(crate::scene::release::BAD).await;
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
