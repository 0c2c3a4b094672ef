//! The whole chain, in which nobody posts by hand: the pods count their answers, a rule of Prometheus finds the release
//! that is bad, Alertmanager tells Ripcord, and the alert ends by itself once the release is pulled back.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::blue_green;
use crate::scene::blue_green::strategy;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;
use crate::times::Chain;

/// A bad canary: the alert names it, and not the release beside it.
pub(crate) async fn errors() {
    let mut scene = Scene::start("the whole chain, canary").await;
    let ripcord = scene.good(&pausing()).await;
    is_pulled_back(&scene, &ripcord).await;
}

/// A bad release that takes all traffic, and is stable, with the first request that it answers.
pub(crate) async fn errors_everywhere() {
    let mut scene = blue_green::start("the whole chain, blue-green").await;
    let ripcord = scene.good(&strategy(&json!({}))).await;
    is_pulled_back(&scene, &ripcord).await;
}

/// Good releases under the same traffic: nothing ever fires, and Ripcord hears of nothing.
pub(crate) async fn good_releases() {
    let mut scene = Scene::start("the whole chain, good releases").await;
    let ripcord = scene.good(&pausing()).await;
    let monitoring = scene.monitored(&ripcord).await;
    scene.deploy("demo:v2-good").await;
    let promoted = scene.promoted_by_hand().await;
    monitoring.watches(&promoted).await;
    assert_eq!(monitoring.fired().await, [""; 0]);
    let path = format!(
        "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks",
        scene.namespaces.release
    );
    let rollbacks = scene.plane.admin.get(&path).await.unwrap();
    assert_eq!(rollbacks["items"], json!([]));
    assert!(scene.slack.messages().is_empty());
}

async fn is_pulled_back(scene: &Scene, ripcord: &Replica) {
    let good = scene.live().await;
    let monitoring = scene.monitored(ripcord).await;
    let before = scene.users.as_ref().unwrap().tally().bad;
    scene.deploy(BAD).await;
    let bad = scene.live().await;
    let hurt = async || (scene.users.as_ref()?.tally().bad > before).then(now);
    let first_bad = until(hurt, LIMIT).await.expect("the users notice");

    let lock = format!("{NAME}-r2-{bad}");
    let rollback = scene.ended(&lock, "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(scene.live().await, good);
    let alert = &rollback["spec"]["alerts"][0];
    assert_eq!(alert["name"], "PinnErrorRateHigh", "{alert:#}");
    assert_eq!(alert["releaseHash"], *bad, "{alert:#}");

    let ended = is_over(scene, &lock).await;
    monitoring.is_quiet().await;
    assert_eq!(monitoring.fired().await, [bad]);
    scene.is_mended().await;
    let received = at(&alert["received"]);
    scene.times(received, &rollback);
    Chain {
        scenario: scene.name,
        first_bad,
        fires: at(&alert["began"]),
        received,
        first_mutation: scene.mutations()[0].received,
        healthy: at(&rollback["status"]["run"]["healthy"]),
        ended,
    }
    .note();
}

/// Waits until the end of the one alert is on record and Slack was told of it; when it was.
async fn is_over(scene: &Scene, lock: &str) -> Timestamp {
    let mut seen = Value::Null;
    let over = async || {
        seen = scene.rollback(lock).await?;
        let items = seen.pointer("/status/alerts/items")?.as_array()?;
        let told = seen.pointer("/status/report/slack/told")?.as_array()?;
        (items.len() == 1 && items[0]["ended"].is_string() && told.contains(&json!("resolved")))
            .then(|| at(&items[0]["ended"]))
    };
    let over = until(over, LIMIT).await;
    let over = over.unwrap_or_else(|| panic!("the alert's end is on record, and told: {seen:#}"));
    let mut messages = scene.slack.messages().into_iter();
    assert!(messages.any(|it| it.text.contains("the alert has ended")));
    over
}

fn at(time: &Value) -> Timestamp {
    time.as_str().unwrap().parse().unwrap()
}
