//! A bad canary at the places of its way where an alert can find it.

use serde_json::{Value, json};

use super::ground::{BAD, LIMIT, NAME};
use super::prelude::*;
use crate::support::wait::until;

fn canary(steps: &Value) -> Value {
    json!({ "canary": { "steps": steps } })
}

/// It has no pod yet.
pub(crate) async fn no_weight<G: Ground>() {
    let mut scene = G::start("canary, paused at 0 %").await;
    let steps = json!([{ "setWeight": 0 }, { "pause": {} }]);
    let (ripcord, bad) = paused(&mut scene, &steps).await;
    assert!(scene.pods_of(&bad).await.is_empty());
    scene.is_pulled_back(&ripcord, &bad).await;
    assert_eq!(scene.users().tally().bad, 0);
}

/// It has all pods, and is not promoted.
pub(crate) async fn all_weight<G: Ground>() {
    let mut scene = G::start("canary, paused at 100 %").await;
    let steps = json!([{ "setWeight": 50 }, { "setWeight": 100 }, { "pause": {} }]);
    let (ripcord, bad) = paused(&mut scene, &steps).await;
    scene.users_are_hurt().await;
    let taken_over = async || (scene.served_by().await == [BAD; 4]).then_some(());
    until(taken_over, LIMIT).await.expect("it serves alone");
    let pulled_back = scene.is_pulled_back(&ripcord, &bad);
    let (fewest, _) = scene.fewest_endpoints(pulled_back).await;
    assert!(fewest >= 3, "one pod may be missing, no more: {fewest}");
}

/// It waits for a time to pass.
pub(crate) async fn timed_pause<G: Ground>() {
    let mut scene = G::start("canary, in a pause of an hour").await;
    let steps = json!([{ "setWeight": 25 }, { "pause": { "duration": "1h" } }]);
    let (ripcord, bad) = paused(&mut scene, &steps).await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// One bad pod serves, and the next ones are on their way.
pub(crate) async fn starting<G: Ground>() {
    let mut scene = G::start("canary, between two steps").await;
    let steps = json!([{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 75 }, { "pause": {} }]);
    let ripcord = scene.good(&canary(&steps)).await;
    scene.deploy("demo:v2-half500-readyafter5s").await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.argo(&["promote", NAME]).await;
    scene
        .status_is("the next step has begun", |status| {
            status["currentStepIndex"] == 2
                && status["phase"] == "Progressing"
                && status["updatedReplicas"].as_i64() > Some(1)
        })
        .await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A bad release that stands in a pause of these steps; the leader knows it.
async fn paused<G: Ground>(scene: &mut G, steps: &Value) -> (G::Replica, String) {
    let ripcord = scene.good(&canary(steps)).await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    (ripcord, bad)
}
