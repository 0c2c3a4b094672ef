//! A blue-green whose way back fails: a right is missing, the pods cannot start, a pod goes away. The active Service leads to the
//! bad release until the good one is ready, and never to nothing.

use serde_json::json;

use super::blue_green;
use crate::scene::blue_green::strategy;
use crate::scene::release::{BAD, GOOD, containers};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// Nothing may be written to the workload any more when the alert comes: nothing is touched, and it is said which right is
/// missing.
pub(crate) async fn revert_without_its_right() {
    let mut scene = start("fails, blue-green without its right").await;
    let (ripcord, bad) = scene.bad_promoted(&strategy(&json!({}))).await;
    scene.is_declined_without_its_right(&ripcord, &bad).await;
    assert_eq!(scene.served_by().await, [BAD; 4]);
}

/// The promotion is refused after the restore, and the controller waits for one: a person is called, users keep what they have,
/// and it is done as soon as it is allowed.
pub(crate) async fn promotion_without_its_right() {
    let mut scene = start("fails, blue-green not promoted").await;
    let by_hand = json!({ "autoPromotionEnabled": false, "scaleDownDelaySeconds": 1 });
    let strategy = strategy(&by_hand);
    let (_ripcord, name) = scene.is_given_up_unpromoted(&strategy).await;
    assert_eq!(scene.served_by().await, [BAD; 4]);
    scene.is_promoted_at_last(&name).await;
    let rollback = scene.rollback(&name).await.unwrap();
    scene.is_active(&rollback).await;
}

/// The pods of the good release have no node to start on: what serves is kept beyond the time to give up, a person is called, and
/// it is done when they can.
pub(crate) async fn promotion_in_time() {
    let mut scene = start("fails, blue-green in its time").await;
    scene.gives_up_after("10s");
    let pool = scene.add_pool().await;
    let strategy = strategy(&json!({ "scaleDownDelaySeconds": 1 }));
    let template = json!({ "spec": { "nodeSelector": pool } });
    let spec = json!({ "strategy": strategy, "template": template });
    scene.first(GOOD, &spec).await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    let before = scene.live().await;
    let pod = json!({ "containers": containers(BAD), "nodeSelector": null });
    scene.template(&pod).await;
    scene.is_taken_up(&before, BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    let gone = async || (scene.rollout().await["status"]["replicas"] == 4).then_some(());
    until(gone, LIMIT).await.expect("the old pods go");
    scene.remove_pool().await;
    let name = format!("{NAME}-r2-{bad}");
    let stuck = async {
        scene.alert(&ripcord).await;
        scene.is_given_up(&name).await
    };
    let (fewest, rollback) = scene.fewest_endpoints(stuck).await;
    assert!(fewest >= 4, "what serves is kept: {fewest}");
    let waits = &rollback["status"]["run"]["steps"][0]["observed"];
    assert_eq!(waits["reason"], "promoting", "{rollback:#}");
    assert_eq!(scene.served_by().await, [BAD; 4]);
    scene.add_pool().await;
    let rollback = scene.ended(&name, "Failed").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "gave_up");
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    scene.is_restored_once_and_says("given up between restore and promotion");
}

/// A pod of the destination is gone in the middle of its proof: the one that takes its place is proved too.
pub(crate) async fn healthy_without_one_of_its_pods() {
    let mut scene = start("fails, blue-green without one of its pods").await;
    let proof = "- healthy: { consecutive: 3, every: 1s, within: 2m }";
    let long = "- healthy: { consecutive: 20, every: 200ms, within: 2m }";
    scene.policy_says(proof, long);
    let (ripcord, bad) = scene.bad_promoted(&strategy(&json!({}))).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.alert(&ripcord).await;
    scene.waits_for(&name, 1, "sampling").await;
    let gone = scene.loses_its_first_pod().await;
    let rollback = scene.ended(&name, "Succeeded").await;
    let said = rollback["status"]["run"]["steps"][1]["observed"]["said"].clone();
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("4 of 4 answered well 20 times in a row"),
        "{said}"
    );
    let pods = scene.pods_of(&scene.live().await).await;
    let there = pods.iter().any(|it| it["metadata"]["name"] == *gone);
    assert!(!there, "{pods:#?}");
    scene.is_mended().await;
    scene.is_active(&rollback).await;
}

/// A blue-green whose alert asks for the shipped procedure of that name.
async fn start(name: &'static str) -> Scene {
    let mut scene = blue_green::start(name).await;
    scene.policy_says("procedure: emergency-canary", "procedure: blue-green");
    scene
}
