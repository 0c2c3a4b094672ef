//! What comes between the restore and its promotion, while the bad release still is the stable one.

use serde_json::json;

use crate::scene::release::{BAD, GOOD, containers, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;

/// A person's `undo` goes to the revision before ours, which is the bad one. It is told, and not fought over.
pub(crate) async fn undo() {
    let mut scene = Scene::start("promoted, undone in the middle").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    scene.argo(&["undo", NAME]);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "overwritten", "{rollback:#}");
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.live().await, bad);
    // The next alert finds the latch.
    let before = scene.mutations().len();
    scene.alert(&ripcord).await;
    let latch = scene.memory().await.unwrap()["status"]["latch"].clone();
    assert_eq!(latch["rollback"], rollback["metadata"]["name"]);
    assert_eq!(scene.mutations().len(), before, "it is not fought over");
    assert_eq!(scene.rollout().await["status"]["stableRS"], bad);
    scene.is_restored_once_and_says("you are needed");
}

/// A person's `undo` goes to a third release, which is neither: theirs wins.
pub(crate) async fn undo_to_another() {
    let mut scene = Scene::start("promoted, a third release in the middle").await;
    let oldest = "demo:v0-good";
    scene.good = oldest;
    let ripcord = scene.good(&pausing()).await;
    scene.deploy("demo:v1-readyafter5s").await;
    scene.promoted_by_hand().await;
    scene.soaked().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    scene.argo(&["undo", NAME, "--to-revision=1"]);
    let rollback = scene.ended(&format!("{NAME}-r3-{bad}"), "Superseded").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "new_release", "{rollback:#}");
    let before = scene.mutations().len();
    scene.rollout_is("Paused").await;
    let image = scene.rollout().await["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, oldest);
    assert_eq!(scene.mutations().len(), before);
    scene.is_restored_once_and_says("another release took over");
}

/// The pods of the old release ask for a node that is no longer there. What serves is kept, a person is called, and the
/// promotion is asked for again until they can start.
pub(crate) async fn destination_cannot_start() {
    let mut scene = Scene::start("promoted, the destination cannot start").await;
    scene.gives_up_after("10s");
    let pool = scene.add_pool().await;
    let template = json!({ "spec": { "nodeSelector": pool } });
    scene
        .first(
            GOOD,
            &json!({ "strategy": pausing(), "template": template }),
        )
        .await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    let before = scene.live().await;
    scene
        .template(&json!({ "containers": containers(BAD), "nodeSelector": null }))
        .await;
    let taken_up = async || (scene.live().await != before).then_some(());
    until(taken_up, LIMIT).await.expect("it is taken up");
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    scene.remove_pool().await;

    let name = format!("{NAME}-r2-{bad}");
    let stuck = async {
        let posted = scene.alert(&ripcord).await;
        let given_up = async || {
            let rollback = scene.rollback(&name).await?;
            let told = rollback["status"]["report"]["slack"]["told"].clone();
            let told = told.as_array()?.iter().any(|it| it == "gave_up");
            told.then_some(rollback)
        };
        let rollback = until(given_up, LIMIT).await.expect("a person is called");
        assert_eq!(rollback["status"]["phase"], "Running", "{rollback:#}");
        let waits = &rollback["status"]["run"]["steps"][0]["observed"];
        assert_eq!(waits["reason"], "promoting", "{rollback:#}");
        let latch = scene.memory().await.unwrap()["status"]["latch"].clone();
        assert_eq!(latch["rollback"], name);
        // The promotion is taken away from it once more.
        let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
        scene
            .edit(&json!({ "spec": { "strategy": { "canary": { "steps": steps } } } }))
            .await;
        let lost = async || scene.promotion_lost(posted);
        until(lost, LIMIT).await.expect("the controller forgets it");
        scene.is_being_promoted(&bad).await;
        posted
    };
    let (fewest, posted) = scene.fewest_endpoints(stuck).await;
    assert!(fewest >= 3, "one pod may be missing, no more: {fewest}");
    scene.add_pool().await;
    let rollback = scene.ended(&name, "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "gave_up", "{rollback:#}");
    scene.is_mended().await;
    scene.is_restored_once_and_says("given up between restore and promotion");
    scene.times(posted, &rollback);
}

impl Scene {
    /// The template was restored once, and a message says this.
    fn is_restored_once_and_says(&self, said: &str) {
        let mut restores = self.mutations();
        restores.retain(|it| it.subresource.is_empty());
        assert_eq!(restores.len(), 1, "{restores:#?}");
        let messages = self.slack.messages();
        let told = messages.iter().any(|it| it.text.contains(said));
        assert!(told, "{messages:#?}");
    }
}
