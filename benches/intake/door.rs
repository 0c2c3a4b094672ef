//! What is posted to a replica, and how long it took. The release is a bad canary at its first pause.

use std::time::{Duration, Instant};

use axum::http::Request;
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::scene::{NAME, Scene, now};
use crate::support::replica::{Replica, TOKEN, client};
use crate::support::story::prelude::*;

/// How many alerts are in a large notification.
const ALERTS: usize = 100;
/// How many senders repeat a notification, and how often each does.
const SENDERS: usize = 4;
const REPEATS: usize = 25;

/// One alert, and then the same notification again and again while it is acted on.
pub(crate) async fn one(figures: &mut Figures) {
    let mut scene = Scene::start("one alert").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let http = client();
    let body = scene.notification(now());
    warm(&http, &ripcord).await;
    let began = now();
    figures.one.push(post(&http, &ripcord, &body).await);
    let senders = (0..SENDERS).map(|_| async {
        let http = client();
        let mut took = Vec::new();
        for _ in 0..REPEATS {
            took.push(post(&http, &ripcord, &body).await);
        }
        took
    });
    let repeated = futures_util::future::join_all(senders).await;
    figures.repeated.extend(repeated.concat());
    figures.one_changed.push(changed(&scene, &bad, began).await);
    leave(scene).await;
}

/// A hundred alerts about one release.
pub(crate) async fn hundred(figures: &mut Figures) {
    let mut scene = Scene::start("a hundred alerts").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let http = client();
    let mut body: Value = serde_json::from_str(&scene.notification(now())).expect("JSON");
    let alert = body["alerts"][0].clone();
    let alerts = (0..ALERTS).map(|number| {
        let mut alert = alert.clone();
        alert["labels"]["pod"] = format!("{NAME}-{number}").into();
        alert["fingerprint"] = format!("{number:016x}").into();
        alert
    });
    body["alerts"] = alerts.collect();
    warm(&http, &ripcord).await;
    let began = now();
    figures
        .hundred
        .push(post(&http, &ripcord, &body.to_string()).await);
    figures
        .hundred_changed
        .push(changed(&scene, &bad, began).await);
    leave(scene).await;
}

/// Opens the connection that is posted on, as a sender's is open.
async fn warm(http: &Client, ripcord: &Replica) {
    let body = json!({ "version": "4", "groupKey": "{}:{}", "status": "firing", "alerts": [] });
    post(http, ripcord, &body.to_string()).await;
}

/// Posts a notification, and says how long the answer took.
async fn post(http: &Client, ripcord: &Replica, body: &str) -> Duration {
    let request = http
        .post(ripcord.url())
        .bearer_auth(TOKEN)
        .header("content-type", "application/json")
        .body(body.to_owned());
    let began = Instant::now();
    let answer = request.send().await.expect("an answer");
    let (code, said) = (answer.status(), answer.text().await.expect("a body"));
    let took = began.elapsed();
    assert_eq!(code, 200, "{said}");
    took
}

/// When Ripcord first changed the workload. It did so once, for one rollback.
async fn changed(scene: &Scene, bad: &str, began: Timestamp) -> Duration {
    scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    let namespace = &scene.namespaces.release;
    let path = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/rollbacks");
    let all = scene.plane.admin.get(&path).await.expect("a list");
    assert_eq!(
        all["items"].as_array().map(Vec::len),
        Some(1),
        "one rollback: {all:#}"
    );
    let first = scene.mutations().remove(0).received;
    first.duration_since(began).unsigned_abs()
}

/// Ends what would take time from the next measurement.
async fn leave(mut scene: Scene) {
    if let Some(users) = scene.users.take() {
        users.stop().await;
    }
    let delete = Request::delete(scene.rollout_path()).body(Vec::new());
    let delete = delete.expect("a request");
    let deleted = scene.plane.admin.client().request::<Value>(delete).await;
    deleted.expect("it is deleted");
}
