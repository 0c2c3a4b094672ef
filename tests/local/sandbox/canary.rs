//! The canary controller: each state in which somebody may want a bad release gone.

use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn paused_canary_aborted_goes_back_and_stays_degraded() {
    let cluster = Cluster::paused().await;
    assert_eq!(cluster.ask(json!({ "abort": true })).await["abort"], true);
    cluster
        .holds(|view| {
            view.object("rollouts", NS, APP).unwrap()["status"]["abortedAt"].is_string()
                && view.objects("pods").filter(|pod| runs(pod, GOOD)).count() == 4
                && !view.objects("pods").any(|pod| runs(pod, BAD))
        })
        .await;
    let status = cluster.status();
    assert_eq!(
        (&status["phase"], &status["abort"]),
        (&json!("Degraded"), &json!(true))
    );
    assert_ne!(status["currentPodHash"], status["stableRS"]);
}

#[tokio::test]
async fn paused_canary_restored_is_healthy_at_once() {
    let cluster = Cluster::paused().await;
    cluster.restore();
    cluster.reaches("Healthy").await;
    let status = cluster.status();
    assert_eq!(status["currentPodHash"], status["stableRS"]);
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (4, 0));
    let rollout = cluster.sandbox.object("rollouts", NS, APP).unwrap();
    assert_eq!(
        rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"],
        "3"
    );
}

#[tokio::test]
async fn an_abort_before_the_controller_saw_the_release_is_lost() {
    let cluster = Cluster::deployed().await;
    cluster.sandbox.pause_controller();
    let deployed = cluster.sandbox.deploy(NS, APP, BAD).unwrap();
    assert!(!observed(&deployed));
    assert_eq!(cluster.ask(json!({ "abort": true })).await["abort"], true);
    cluster.sandbox.resume_controller();
    cluster.reaches("Paused").await;
    assert_eq!(cluster.pods(BAD), 1);
    assert!(cluster.status()["abortedAt"].is_null());
}

#[tokio::test]
async fn an_abort_during_a_full_promotion_is_lost_unless_it_withdraws_the_promotion() {
    let cluster = Cluster::paused().await;
    cluster.sandbox.pause_controller();
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.ask(json!({ "abort": true })).await;
    cluster.sandbox.resume_controller();
    cluster.reaches("Healthy").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (0, 4));

    let cluster = Cluster::paused().await;
    cluster.sandbox.pause_controller();
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster
        .ask(json!({ "abort": true, "promoteFull": false }))
        .await;
    cluster.sandbox.resume_controller();
    cluster.reaches("Degraded").await;
    assert!(cluster.status()["abortedAt"].is_string());
}

#[tokio::test]
async fn an_abort_of_a_promoted_release_does_nothing() {
    let cluster = Cluster::promoted().await;
    cluster.ask(json!({ "abort": true })).await;
    cluster
        .holds(|view| view.object("rollouts", NS, APP).unwrap()["status"]["abort"] != true)
        .await;
    let status = cluster.status();
    assert_eq!(
        (&status["phase"], &status["abortedAt"]),
        (&json!("Healthy"), &Value::Null)
    );
    assert_eq!(cluster.pods(BAD), 4);
}

#[tokio::test]
async fn a_restore_of_a_promoted_release_stops_at_the_first_pause_until_it_is_promoted() {
    let cluster = Cluster::promoted().await;
    cluster.restore();
    cluster.reaches("Paused").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (1, 3));
    let status = cluster.status();
    assert_ne!(status["currentPodHash"], status["stableRS"]);
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.reaches("Healthy").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (4, 0));
    assert_ne!(cluster.status()["promoteFull"], true);
}

#[tokio::test]
async fn a_promotion_can_be_lost_although_the_server_said_yes() {
    let cluster = Cluster::promoted().await;
    cluster.restore();
    cluster.reaches("Paused").await;
    cluster.sandbox.lose_status_requests(1);
    assert_eq!(
        cluster.ask(json!({ "promoteFull": true })).await["promoteFull"],
        true
    );
    cluster
        .holds(|view| view.object("rollouts", NS, APP).unwrap()["status"]["promoteFull"] != true)
        .await;
    cluster.reaches("Paused").await;
    assert_eq!(cluster.pods(BAD), 3);
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.reaches("Healthy").await;
    assert_eq!(cluster.pods(BAD), 0);
}
