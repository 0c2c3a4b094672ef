//! A bad canary in flight.

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use super::ground::{BAD, GOOD, LIMIT, NAME, now, pausing};
use super::judge::is_in_time;
use super::prelude::*;
use crate::support::wait::until;

/// A bad canary waits at its first pause. The good template comes back, once, and takes all traffic.
pub(crate) async fn paused<G: Ground>() {
    let mut scene = G::start("canary, paused at its first step").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The same while the Rollouts controller does not move: it wakes after the template was restored.
pub(crate) async fn controller_asleep<G: Ground>() {
    let mut scene = G::start("canary, the controller asleep").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.controller_sleeps();
    let posted = scene.alert(&ripcord).await;
    scene.is_restored().await;
    assert_eq!(scene.live().await, bad, "nobody has moved yet");
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    assert!(is_in_time(&rollback), "{rollback:#}");
    scene.is_mended().await;
    scene.times(posted, &rollback);
}

/// At the second pause, half of the pods are bad.
pub(crate) async fn second_step<G: Ground>() {
    let mut scene = G::start("canary, paused at its second step").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.argo(&["promote", NAME]).await;
    let further = async || {
        let status = scene.rollout().await["status"].clone();
        (status["currentStepIndex"] == 3 && status["phase"] == "Paused").then_some(())
    };
    until(further, LIMIT).await.expect("it goes on");
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A person has aborted it: the users are served, the spec is still bad and the Rollout stays Degraded.
pub(crate) async fn aborted<G: Ground>() {
    let mut scene = G::start("canary, aborted by a person").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let said = scene.argo(&["abort", NAME]).await;
    assert!(said.contains("aborted"), "{said}");
    scene.rollout_is("Degraded").await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A person has paused it by its spec, so that the controller does nothing until that is released.
pub(crate) async fn paused_by_its_spec<G: Ground>() {
    let mut scene = G::start("canary, paused by its spec").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.argo(&["pause", NAME]).await;
    scene.is_paused_by_its_spec().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Somebody deploys the same bad image again after it was pulled back: it is pulled back again.
pub(crate) async fn deployed_again<G: Ground>() {
    let mut scene = G::start("canary, the same bad image again").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.alert(&ripcord).await;
    scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    let before = scene.users().tally().bad;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    assert_eq!(
        scene.is_known().await,
        bad,
        "the same template has the same hash"
    );
    scene.users_are_hurt_since(before).await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r4-{bad}"), "Succeeded").await;
    scene.is_mended_by(2).await;
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// The bad release only takes a field away, so that its images are the same and `undo` sees no difference.
pub(crate) async fn takes_a_field_away<G: Ground>() {
    let mut scene = G::start("canary that only takes a field away").await;
    let env = |env: &[&str]| {
        let env: Vec<_> = env
            .iter()
            .map(|name| json!({ "name": name, "value": "1" }))
            .collect();
        let ports = json!([{ "name": "http", "containerPort": 8000 }]);
        json!({ "containers": [{ "name": "app", "image": GOOD, "ports": ports, "env": env }] })
    };
    let whole = env(&["KEPT", "NEEDED"]);
    let spec = json!({ "strategy": pausing(), "template": { "spec": whole } });
    scene.first(GOOD, &spec).await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    scene.template(&env(&["KEPT"])).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    let said = scene.argo(&["undo", NAME]).await;
    assert!(said.contains("skipped rollback"), "what people do: {said}");
    scene.is_pulled_back(&ripcord, &bad).await;
    let env = scene.rollout().await["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    assert_eq!(env[1]["name"], "NEEDED");
}

/// A person's fix arrives while the restore is not looked at yet: the fix wins, and is not touched.
pub(crate) async fn a_fix_wins<G: Ground>() {
    let mut scene = G::start("canary, a fix in the middle").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.controller_sleeps();
    scene.alert(&ripcord).await;
    scene.is_restored().await;
    scene.push("demo:v3-good").await;
    drop(asleep);
    scene.ended(&format!("{NAME}-r2-{bad}"), "Superseded").await;
    scene.rollout_is("Paused").await;
    assert_eq!(scene.wanted_image().await, "demo:v3-good");
    assert_eq!(scene.changes().len(), 1, "the fix is not touched");
}

/// The controller has not looked at the bad release yet, so that revision and hashes still name the good one: whoever
/// acted on those would lock, and leave, the wrong release. The sender is asked to come back.
pub(crate) async fn not_looked_at_yet<G: Ground>() {
    let mut scene = G::start("canary, not looked at yet").await;
    let ripcord = scene.good(&pausing()).await;
    let good = scene.live().await;
    let asleep = scene.controller_sleeps();
    scene.push(BAD).await;
    // Should it come before Ripcord has heard of the change, it is about a time before all releases, and counts for nothing.
    let alert = scene.notification(now() - SignedDuration::from_hours(1));
    let refused = async || (scene.post(&ripcord, alert.clone()).await == 503).then_some(());
    until(refused, LIMIT)
        .await
        .expect("it is asked to come back");
    assert_eq!(
        scene.live().await,
        good,
        "the status still names the good one"
    );
    drop(asleep);
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Of many copies of one alert one starts, and the others change nothing: while it runs, and after its end.
pub(crate) async fn told_many_times<G: Ground>() {
    let mut scene = G::start("canary, told many times").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let posted = now();
    let body = scene.notification(posted);
    let copies = (0..6).map(|_| scene.post(&ripcord, body.clone()));
    assert_eq!(join_all(copies).await, [200; 6]);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    for _ in 0..3 {
        assert_eq!(scene.post(&ripcord, body.clone()).await, 200);
    }
    assert_eq!(rollback["spec"]["alerts"].as_array().map(Vec::len), Some(1));
    assert_eq!(scene.rollbacks().await.len(), 1);
    scene.is_mended().await;
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}
