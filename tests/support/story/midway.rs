//! What people do between the restore and its promotion, while the bad release still is the stable one.

use super::ground::{BAD, NAME, pausing};
use super::prelude::*;

/// A person's `undo` goes to the revision before ours, which is the bad one. It is told, and not fought over.
pub(crate) async fn undo<G: Ground>() {
    let mut scene = G::start("promoted, undone in the middle").await;
    scene.good_is("demo:v1-readyafter5s");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    scene.argo(&["undo", NAME]).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "overwritten", "{rollback:#}");
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.live().await, bad);
    // The next alert finds the latch.
    let before = scene.changes().len();
    scene.alert(&ripcord).await;
    let latch = scene.memory().await.unwrap()["status"]["latch"].clone();
    assert_eq!(latch["rollback"], rollback["metadata"]["name"]);
    assert_eq!(scene.changes().len(), before, "it is not fought over");
    assert_eq!(scene.rollout().await["status"]["stableRS"], bad);
    scene.is_restored_once_and_says("you are needed");
}

/// A person's `undo` goes to a third release, which is neither: theirs wins.
pub(crate) async fn undo_to_another<G: Ground>() {
    let mut scene = G::start("promoted, a third release in the middle").await;
    let oldest = "demo:v0-good";
    scene.good_is(oldest);
    let ripcord = scene.good(&pausing()).await;
    scene.deploy("demo:v1-readyafter5s").await;
    scene.promoted_by_hand().await;
    scene.soaked().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    scene.argo(&["undo", NAME, "--to-revision=1"]).await;
    let rollback = scene.ended(&format!("{NAME}-r3-{bad}"), "Superseded").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "new_release", "{rollback:#}");
    let before = scene.changes().len();
    scene.rollout_is("Paused").await;
    assert_eq!(scene.wanted_image().await, oldest);
    assert_eq!(scene.changes().len(), before);
    scene.is_restored_once_and_says("another release took over");
}
