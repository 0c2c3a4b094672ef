//! Two Alertmanagers that gossip and two replicas of Ripcord: many senders, one rollback.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::build;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::alertmanager::{Alertmanager, NAMES, configuration};
use crate::support::replica::{Replica, TOKEN, client, until};
use crate::support::story::prelude::*;

/// Debian's Alertmanager, the oldest that is served.
pub(crate) async fn oldest_alertmanagers() {
    let programs = NAMES.map(PathBuf::from);
    one_rollback("a pair of Alertmanagers, oldest", &programs, 19_094).await;
}

/// The newest that can be built.
pub(crate) async fn newest_alertmanagers() {
    let program = build::bin().join("alertmanager");
    one_rollback("a pair of Alertmanagers, newest", &[program], 29_094).await;
}

/// Alertmanagers under the shipped route, as Prometheus sends to both. Each sends to both replicas.
async fn start(
    scene: &Scene,
    to: [&Replica; 2],
    programs: &[PathBuf],
    port: u16,
) -> [Alertmanager; 2] {
    let token = scene.folder.path().join("token-for-ripcord");
    fs::write(&token, TOKEN).unwrap();
    // People are paged at an address where nobody listens: that holds up nothing.
    let pager = "127.0.0.1:1".parse().unwrap();
    let text = configuration(&to.map(Replica::address), pager, token.to_str().unwrap());
    let text = text.replace("options-production", &scene.namespaces.release);
    let one = async |name: &str, port: u16, peer: u16| {
        let folder = scene.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let peers = [
            format!("--cluster.listen-address=127.0.0.1:{port}"),
            format!("--cluster.advertise-address=127.0.0.1:{port}"),
            format!("--cluster.peer=127.0.0.1:{peer}"),
        ];
        Alertmanager::start_as(programs, &folder, &text, &peers).await
    };
    let (first, second) = tokio::join!(one("first", port, port + 1), one("second", port + 1, port));
    let pair = [first, second];
    for it in &pair {
        is_one_of_two(it).await;
    }
    pair
}

/// Waits until an Alertmanager has found the other one, and is done with that.
async fn is_one_of_two(alertmanager: &Alertmanager) {
    let url = format!("{}/api/v2/status", alertmanager.url);
    let http = client();
    let mut seen = Value::Null;
    let ready = async || {
        let answer = http.get(&url).send().await.ok()?;
        seen = answer.json::<Value>().await.ok()?["cluster"].clone();
        let both = seen["peers"].as_array().is_some_and(|it| it.len() == 2);
        (both && seen["status"] == "ready").then_some(())
    };
    let ready = until(ready, LIMIT).await;
    assert!(ready.is_some(), "{seen:#}");
}

async fn one_rollback(name: &'static str, programs: &[PathBuf], port: u16) {
    let mut scene = Scene::start(name).await;
    let leader = scene.good(&pausing()).await;
    let follower = scene.replica("follower").await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    let senders = start(&scene, [&leader, &follower], programs, port).await;
    let began = now();
    tell(&scene, &senders, began, None).await;
    let lock = format!("{NAME}-r2-{bad}");
    let rollback = scene.ended(&lock, "Succeeded").await;
    scene.is_mended().await;
    scene.is_in_budget(&rollback);
    tell(&scene, &senders, began, Some(now())).await;
    let path = format!(
        "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks",
        scene.namespaces.release
    );
    let resolved = async || {
        let found = scene.plane.admin.get(&format!("{path}/{lock}")).await?;
        let items = found.pointer("/status/alerts/items")?.as_array()?.clone();
        (items.len() == 2 && items.iter().all(|it| it["ended"].is_string())).then_some(())
    };
    until(resolved, LIMIT)
        .await
        .expect("the ends are on record");
    let all = scene.plane.admin.get(&path).await.unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "{all:#}");
    assert_eq!(
        rollback["status"]["run"]["epoch"], 1,
        "one leader did it all"
    );
    scene.is_mended().await;
    let messages = scene.slack.messages();
    let heads = messages.iter().filter(|it| it.thread_ts.is_none()).count();
    assert_eq!(heads, 1, "one thread: {messages:#?}");
    for replica in [&leader, &follower] {
        let reached = async || replica.said("a notification was recorded");
        let reached = until(reached, LIMIT).await;
        assert!(reached.is_some(), "{} was told of it too", replica.name);
    }
    scene.times(began, &rollback);
}

/// Tells both of two alerts that began a while ago and end at `ends`, or still fire.
async fn tell(
    scene: &Scene,
    senders: &[Alertmanager; 2],
    began: Timestamp,
    ends: Option<Timestamp>,
) {
    let alert = |name: &str| {
        let mut alert = json!({
            "labels": { "alertname": name, "namespace": scene.namespaces.release, "rollout": NAME, "severity": "critical" },
            "annotations": { "summary": "P95 412 ms > 260 ms" },
            // Long enough ago that no route waits for more of its group.
            "startsAt": (began - SignedDuration::from_secs(1)).to_string(),
        });
        if let Some(ends) = ends {
            alert["endsAt"] = ends.to_string().into();
        }
        alert
    };
    let alerts: Value = ["PinnLatencyP95High", "PinnErrorRateHigh"]
        .map(alert)
        .to_vec()
        .into();
    for sender in senders {
        sender.post(&alerts).await;
    }
}
