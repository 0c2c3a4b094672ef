//! A bad canary that was promoted, where `abort` does nothing.

use serde_json::{Value, json};

use super::ground::{BAD, NAME, pausing};
use super::judge::is_in_time;
use super::prelude::*;

/// Its steps have endless pauses: nobody walks them again.
pub(crate) async fn pauses_are_not_walked<G: Ground>() {
    let mut scene = G::start("promoted, steps with endless pauses").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let said = scene.argo(&["abort", NAME]).await;
    assert!(said.contains("aborted"), "{said}");
    let dropped = |status: &Value| status["abort"] != true;
    scene.status_is("an abort that is dropped", dropped).await;
    let status = scene.rollout().await["status"].clone();
    let still = status["stableRS"] == *bad && status["currentPodHash"] == *bad;
    assert!(
        still && status["phase"] == "Healthy" && status["abortedAt"].is_null(),
        "abort says so, and does nothing: {status:#}"
    );
    let before = scene.users().tally().bad;
    scene.users_are_hurt_since(before).await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Its steps have no pause: the way back would be walked all the same, pod by pod.
pub(crate) async fn without_pauses<G: Ground>() {
    let mut scene = G::start("promoted, steps without a pause").await;
    let steps = json!([{ "setWeight": 25 }, { "setWeight": 50 }]);
    let ripcord = scene.good(&json!({ "canary": { "steps": steps } })).await;
    scene.deploy(BAD).await;
    scene.is_promoted().await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Its steps wait an hour each: nobody waits for that again.
pub(crate) async fn timed_pauses<G: Ground>() {
    let mut scene = G::start("promoted, steps with pauses of an hour").await;
    let hour = json!({ "pause": { "duration": "1h" } });
    let steps = json!([{ "setWeight": 25 }, hour, { "setWeight": 50 }, hour]);
    let strategy = json!({ "canary": { "steps": steps } });
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    scene.is_pulled_back(&ripcord, &bad).await;
    let changes = scene.changes();
    let promoted = changes
        .iter()
        .any(|it| it.body.to_string().contains("promoteFull"));
    assert!(promoted, "it is not walked: {changes:#?}");
}

/// Paused by its spec: the controller notes the new generation before it looks at the restored template.
pub(crate) async fn paused_by_its_spec<G: Ground>() {
    let mut scene = G::start("promoted, paused by its spec").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.argo(&["pause", NAME]).await;
    scene.is_paused_by_its_spec().await;
    scene.rollout_is("Paused").await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The controller sleeps through the restore.
pub(crate) async fn controller_asleep<G: Ground>() {
    let mut scene = G::start("promoted, the controller asleep").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let asleep = scene.controller_sleeps();
    let posted = scene.alert(&ripcord).await;
    scene.is_restored().await;
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    assert!(is_in_time(&rollback), "{rollback:#}");
    scene.is_mended().await;
    scene.times(posted, &rollback);
}

/// The destination's pods take a while to be ready.
pub(crate) async fn slow_to_start<G: Ground>() {
    let mut scene = G::start("promoted, slow destination (3 s)").await;
    scene.good_is("demo:v1-readyafter3s");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.is_pulled_back(&ripcord, &bad).await;
}
