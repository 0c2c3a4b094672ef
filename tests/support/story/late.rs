//! Alerts that are over before anything is done.

use serde_json::json;

use super::ground::{BAD, NAME, now, pausing};
use super::prelude::*;

/// The alert ends while nobody leads: nothing is done when somebody does, and a copy of it that comes late starts nothing.
pub(crate) async fn resolved_before_the_start<G: Ground>() {
    let mut scene = G::start("an alert that is over before the start").await;
    scene
        .first(scene.good_image(), &json!({ "strategy": pausing() }))
        .await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    scene.users_are_hurt().await;
    let bad = scene.live().await;
    scene.nobody_leads().await;
    let ripcord = scene.replica("ripcord").await;
    let began = now();
    for body in [
        scene.notification(began),
        scene.resolution(began),
        scene.notification(began),
    ] {
        assert_eq!(scene.post(&ripcord, body).await, 200);
    }
    let name = format!("{NAME}-r2-{bad}");
    let claimed = scene.rollback(&name).await.expect("it is claimed");
    assert!(claimed["status"]["plan"].is_null(), "{claimed:#}");
    scene.somebody_may_lead().await;
    let rollback = scene.ended(&name, "Declined").await;
    scene.is_let_be(&rollback, "resolved_before_start");
    scene.rollout_is("Paused").await;
    assert_eq!(scene.wanted_image().await, BAD);
    assert_eq!(scene.rollbacks().await.len(), 1);
}
