//! Three deploys, of which two are bad. `kubectl argo rollouts undo` would go to the revision before, which is bad too.

use serde_json::Value;

use super::ground::{BAD, LIMIT, NAME, now, pausing};
use super::prelude::*;
use crate::support::wait::until;

/// Bad as well, and another release.
const WORSE: &str = "demo:v3-half500";

/// A second bad release over the first, both in flight: all goes back to the stable one.
pub(crate) async fn in_flight<G: Ground>() {
    let mut scene = G::start("stacked, two bad canaries").await;
    let ripcord = scene.good(&pausing()).await;
    let good = scene.live().await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.deploy(WORSE).await;
    scene.rollout_is("Paused").await;
    let worse = scene.is_known().await;
    assert!(bad != worse && bad != good);
    let alone = async || {
        let serve = scene.served_by().await;
        let serves = |image: &str| serve.iter().any(|it| it == image);
        (serves(WORSE) && !serves(BAD)).then_some(())
    };
    until(alone, LIMIT).await.expect("the first serves no more");
    let before = scene.users().tally().bad;
    scene.users_are_hurt_since(before).await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&lock(3, &worse), "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(to(&rollback), good);
    assert_eq!(scene.live().await, good);
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// The first bad release was promoted and pulled back, then a second one is promoted: the first is never gone back to.
pub(crate) async fn after_a_rollback<G: Ground>() {
    let mut scene = G::start("stacked, the second after a rollback").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    let first = scene.ended(&lock(2, &bad), "Succeeded").await;
    scene.is_mended().await;
    let good = to(&first);
    let before = scene.users().tally().bad;
    scene.deploy(WORSE).await;
    let worse = scene.promoted_by_hand().await;
    scene.users_are_hurt_since(before).await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&lock(4, &worse), "Succeeded").await;
    scene.is_mended_by(2).await;
    assert_eq!(to(&rollback), good);
    assert_eq!(scene.live().await, good);
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// Both were promoted before any alert, the first for too short a time to count as good: it is skipped.
pub(crate) async fn both_promoted<G: Ground>() {
    let mut scene = G::start("stacked, both promoted, none soaked").await;
    scene.policy_says("min_soak: 1s", "min_soak: 30s");
    let ripcord = scene.good(&pausing()).await;
    let good = scene.live().await;
    scene.soaked_for(30).await;
    let worse = both_are_promoted(&scene).await;
    scene.users_are_hurt().await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&lock(3, &worse), "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(to(&rollback), good);
    let chosen = &rollback["status"]["plan"]["chosen"];
    assert!(chosen.to_string().contains("it was stable for"), "{chosen}");
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// The same when nobody had complained of the first for long enough: by all that is known it is good, and it is gone back
/// to. The alert that does not end then latches the target, and a person is called.
pub(crate) async fn both_promoted_and_soaked<G: Ground>() {
    let mut scene = G::start("stacked, both promoted and soaked").await;
    scene.policy_says("settle: 5m", "settle: 1s");
    let ripcord = scene.good(&pausing()).await;
    let good = scene.live().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.soaked().await;
    scene.deploy(WORSE).await;
    let worse = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    let began = scene.alert(&ripcord).await;
    let name = lock(3, &worse);
    let rollback = scene.ended(&name, "Succeeded").await;
    assert_eq!(to(&rollback), bad);
    let chosen = &rollback["status"]["plan"]["chosen"];
    assert!(chosen.to_string().contains("it was stable for"), "{chosen}");
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.live().await, bad);

    // It fires on: the release was not the cause, or not the only one. Alertmanager repeats it.
    let latched = async || {
        let again = scene.notification(began);
        assert_eq!(scene.post(&ripcord, again).await, 200);
        let latch = scene.memory().await?["status"]["latch"].clone();
        (!latch.is_null()).then_some(latch)
    };
    let latch = until(latched, LIMIT).await.expect("it is latched");
    assert_eq!(latch["rollback"], *name);
    assert_eq!(latch["finding"]["reason"], "still_firing", "{latch:#}");
    let told = async || {
        let mut messages = scene.slack().messages().into_iter();
        messages
            .find(|it| it.text.contains("it still alerts · you are needed"))
            .map(drop)
    };
    let told = until(told, LIMIT).await;
    assert!(told.is_some(), "{:#?}", scene.slack().messages());
    // Nothing more is done by itself, and never more than once.
    assert_eq!(scene.post(&ripcord, scene.notification(now())).await, 200);
    assert_eq!(scene.restores().len(), 1);
    assert_eq!(scene.live().await, bad);
    assert_eq!(scene.rollbacks().await.len(), 1);
    let blamed = scene.memory().await.unwrap()["status"]["blamed"].to_string();
    assert!(
        blamed.contains(&worse) && !blamed.contains(&good),
        "{blamed}"
    );
}

async fn both_are_promoted<G: Ground>(scene: &G) -> String {
    scene.deploy(BAD).await;
    scene.promoted_by_hand().await;
    scene.deploy(WORSE).await;
    scene.promoted_by_hand().await
}

fn lock(revision: u32, hash: &str) -> String {
    format!("{NAME}-r{revision}-{hash}")
}

/// Where a rollback led.
fn to(rollback: &Value) -> String {
    let hash = rollback["status"]["plan"]["to"]["hash"].as_str();
    hash.unwrap().to_owned()
}
