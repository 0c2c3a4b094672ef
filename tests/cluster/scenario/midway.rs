//! What comes between the restore and its promotion, while the bad release still is the stable one.

use serde_json::json;

use crate::scene::release::{BAD, GOOD, containers, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

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
