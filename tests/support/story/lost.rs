//! Requests to the controller that are lost without a word: a person's `abort`, and what Ripcord itself asks for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ground::{BAD, LIMIT, NAME, pausing};
use super::prelude::*;
use crate::support::wait::until;

/// Our promotion waits for slow pods when a person edits the steps: the controller begins anew, and its own write takes
/// the request away. It is made again.
pub(crate) async fn promotion<G: Ground>() {
    let mut scene = G::start("promoted, our promotion is lost").await;
    // Long enough for a person on a busy machine.
    scene.good_is("demo:v1-readyafter10s");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let posted = scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    scene
        .edit(&json!({ "spec": { "strategy": { "canary": { "steps": steps } } } }))
        .await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    // It was asked for before the steps were changed, and once more for what they are now.
    let changes = scene.changes();
    let asked = changes.iter().map(|it| it.body.as_array().unwrap());
    let asked = asked.filter(|it| it.iter().any(|it| it["path"] == "/status/promoteFull"));
    let generation = |it: &Vec<Value>| {
        let tested = it.iter().find(|it| it["path"] == "/metadata/generation");
        tested.unwrap()["value"].as_i64()
    };
    let of: BTreeSet<_> = asked.map(generation).collect();
    assert!(of.len() > 1, "{changes:#?}");
    scene.times(posted, &rollback);
}

/// A person's `abort` comes before the controller has looked at the bad release: it goes on.
pub(crate) async fn abort_before_the_controller_looks<G: Ground>() {
    let mut scene = G::start("canary, abort lost before a look").await;
    let ripcord = scene.good(&pausing()).await;
    let asleep = scene.controller_sleeps();
    scene.push(BAD).await;
    let said = scene.argo(&["abort", NAME]).await;
    assert!(said.contains("aborted"), "{said}");
    assert_eq!(scene.rollout().await["status"]["abort"], true);
    drop(asleep);
    scene.rollout_is("Paused").await;
    let status = scene.rollout().await["status"].clone();
    assert!(status["abort"] != true && status["abortedAt"].is_null());
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A person's `abort` comes when a full promotion was asked for: the bad release is promoted.
pub(crate) async fn abort_of_a_promotion<G: Ground>() {
    let mut scene = G::start("canary, abort lost to a promotion").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.controller_sleeps();
    scene.argo(&["promote", NAME, "--full"]).await;
    let said = scene.argo(&["abort", NAME]).await;
    assert!(said.contains("aborted"), "{said}");
    let status = scene.rollout().await["status"].clone();
    assert!(status["abort"] == true && status["promoteFull"] == true);
    drop(asleep);
    // Nobody asks for the promotion a second time: that would take the abort away.
    let promoted = |status: &Value| {
        let bad = status["stableRS"] == *bad && status["currentPodHash"] == *bad;
        bad && status["phase"] == "Healthy" && status["abort"] != true
    };
    scene.status_is("the bad release", promoted).await;
    let status = scene.rollout().await["status"].clone();
    assert!(status["abortedAt"].is_null(), "{status:#}");
    assert_eq!(scene.is_known().await, bad, "the bad release is promoted");
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A person goes back to the good release and promotes that in full, before the controller has looked at it: the plugin says
/// so and asks for nothing, and what is asked for by hand then is taken away. The steps are walked, and the users are hurt on.
pub(crate) async fn promotion_by_a_person<G: Ground>() {
    let mut scene = G::start("promoted, a person's promotion is lost").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let asleep = scene.controller_sleeps();
    scene.argo(&["undo", NAME, "--to-revision=1"]).await;
    assert_eq!(scene.wanted_image().await, scene.good_image());
    let said = scene.argo(&["promote", NAME, "--full"]).await;
    assert!(said.contains("fully promoted"), "{said}");
    assert_ne!(scene.rollout().await["status"]["promoteFull"], true);
    let status = format!("{}/status", scene.rollout_path());
    let asked = json!({ "status": { "promoteFull": true } });
    scene.patch(&status, &asked).await;
    assert_eq!(scene.rollout().await["status"]["promoteFull"], true);
    drop(asleep);
    scene.rollout_is("Paused").await;
    let status = scene.rollout().await["status"].clone();
    assert!(
        status["promoteFull"] != true && status["stableRS"] == bad,
        "{status:#}"
    );
    let good = scene.is_known().await;
    assert_ne!(good, bad, "it waits at the first pause");
    let before = scene.users().tally().bad;
    scene.users_are_hurt_since(before).await;
    // It is on somebody's way back already.
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r3-{good}"), "Declined").await;
    scene.is_let_be(&rollback, "way_back");
}

/// The controller does not look at the restored template: it is made to by a touch that changes nothing else, and the
/// template is not restored a second time.
pub(crate) async fn restore<G: Ground>() {
    let mut scene = G::start("canary, the restore is not looked at").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.controller_sleeps();
    let posted = scene.alert(&ripcord).await;
    scene.is_restored().await;
    let nudged = async || (scene.nudges() > 0).then_some(());
    until(nudged, LIMIT).await.expect("it is made to look");
    assert_eq!(scene.live().await, bad, "nobody has moved yet");
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    let annotations = scene.rollout().await["metadata"]["annotations"].clone();
    assert!(annotations["ripcord.dev/nudged"].is_string());
    scene.times(posted, &rollback);
}
