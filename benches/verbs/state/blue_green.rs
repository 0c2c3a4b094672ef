//! A bad blue-green release past its switch.

use serde_json::json;

use super::Ready;
use crate::scene::blue_green::strategy;
use crate::scene::cache::SHIPPED;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// Promoted, and the old pods still run. The alert asks for the procedure of that name.
pub(super) async fn promoted(scene: &mut Scene) -> Ready {
    preview(scene).await;
    scene.policy_says(SHIPPED, "procedure: blue-green");
    let (replica, _) = scene.bad_promoted(&strategy(&json!({}))).await;
    let replicas = scene.rollout().await["status"]["replicas"].clone();
    assert_eq!(replicas, 8, "the old pods are there");
    Ready::new(replica)
}

/// Promoted, and the old pods are gone.
pub(super) async fn promoted_long_ago(scene: &mut Scene) -> Ready {
    preview(scene).await;
    let strategy = strategy(&json!({ "scaleDownDelaySeconds": 1 }));
    let (replica, _) = scene.bad_promoted(&strategy).await;
    scene
        .status_is("the old pods go", |status| status["replicas"] == 4)
        .await;
    Ready::new(replica)
}

/// In an analysis after the switch, and its pods are not ready any more.
pub(super) async fn unready(scene: &mut Scene) -> Ready {
    preview(scene).await;
    let (replica, bad) = scene.bad_switched().await;
    for pod in scene.pods_of(&bad).await {
        scene.set_ready(&pod, false).await;
    }
    let none = async || scene.serving().await.is_empty().then_some(());
    until(none, LIMIT).await.expect("nobody serves");
    Ready::new(replica)
}

async fn preview(scene: &Scene) {
    scene.service(&format!("{NAME}-preview")).await;
}
