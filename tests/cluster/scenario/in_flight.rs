//! A bad canary at every place of its way where an alert can find it.

use serde_json::{Value, json};

use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

fn canary(steps: &Value) -> Value {
    json!({ "canary": { "steps": steps } })
}

/// The controller puts metadata of its own into the replica sets. They are not written back, so that the stable one serves
/// again; with them the controller would make a new one and walk the steps.
pub(crate) async fn injected_metadata() {
    let mut scene = Scene::start("canary, injected metadata").await;
    let mut strategy = pausing();
    for role in ["stable", "canary"] {
        let metadata = json!({ "labels": { "role": role }, "annotations": { "role": role } });
        strategy["canary"][format!("{role}Metadata")] = metadata;
    }
    let ripcord = scene.good(&strategy).await;
    let good = scene.live().await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    let injected = scene.replica_set(&good).await["spec"]["template"]["metadata"].clone();
    assert_eq!(injected["labels"]["role"], "stable");
    assert_eq!(injected["annotations"]["role"], "stable");
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.serves_again(&rollback, &good, ["1", "3"]).await;
    let metadata = scene.rollout().await["spec"]["template"]["metadata"].clone();
    assert_eq!(metadata, json!({ "labels": { "app": NAME } }));
}

/// Its pods never become ready, and the controller has noticed.
pub(crate) async fn past_its_deadline() {
    let mut scene = Scene::start("canary, past its progress deadline").await;
    let (ripcord, bad) = late(&mut scene, &json!({})).await;
    assert!(scene.rollout().await["status"]["abort"] != true);
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The same, and the controller aborted it by itself.
pub(crate) async fn aborted_at_its_deadline() {
    let mut scene = Scene::start("canary, aborted at its deadline").await;
    let (ripcord, bad) = late(&mut scene, &json!({ "progressDeadlineAbort": true })).await;
    scene
        .status_is("it is aborted", |status| status["abortedAt"].is_string())
        .await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A pod of the stable release is not ready at the moment. The bad one goes all the same, and it counts as mended only
/// when that pod is back.
pub(crate) async fn stable_not_ready() {
    let mut scene = Scene::start("canary, a stable pod not ready").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let mut pods = scene.serving().await;
    pods.retain(|it| it["spec"]["containers"][0]["image"] == GOOD);
    // One that is going away already would not be missed.
    let pod = pods.remove(0);
    scene.set_ready(&pod, false).await;
    let noticed = async || {
        let mut serve = scene.served_by().await;
        serve.sort();
        (serve == [GOOD, GOOD, BAD]).then_some(())
    };
    until(noticed, LIMIT).await.expect("three serve");
    let name = format!("{NAME}-r2-{bad}");
    let gone = async {
        let posted = scene.alert(&ripcord).await;
        let gone = async || (scene.served_by().await == [GOOD; 3]).then_some(());
        until(gone, LIMIT)
            .await
            .expect("the bad one serves no more");
        let waits = async || {
            let rollback = scene.rollback(&name).await?;
            let step = &rollback["status"]["run"]["steps"][0];
            (step["observed"]["reason"] == "settling").then_some(())
        };
        until(waits, LIMIT).await.expect("it waits for that pod");
        posted
    };
    let (fewest, posted) = scene.fewest_endpoints(gone).await;
    assert!(fewest >= 3, "never fewer than before: {fewest}");
    scene.set_ready(&pod, true).await;
    let rollback = scene.ended(&name, "Succeeded").await;
    scene.is_mended().await;
    scene.times(posted, &rollback);
}

/// A release whose pods never become ready, past the time that it has for that.
async fn late(scene: &mut Scene, more: &Value) -> (Replica, String) {
    let mut spec = json!({
        "strategy": canary(&json!([{ "setWeight": 50 }, { "pause": {} }])), "progressDeadlineSeconds": 5,
    });
    json_patch::merge(&mut spec, more);
    scene.first(GOOD, &spec).await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    scene.deploy("demo:v2-neverready").await;
    scene.rollout_is("Degraded").await;
    let conditions = scene.rollout().await["status"]["conditions"].clone();
    let mut conditions = conditions.as_array().unwrap().iter();
    let progressing = conditions.find(|it| it["type"] == "Progressing").unwrap();
    let reason = progressing["reason"].as_str().unwrap();
    assert!(["ProgressDeadlineExceeded", "RolloutAborted"].contains(&reason));
    let bad = scene.is_known().await;
    (ripcord, bad)
}
