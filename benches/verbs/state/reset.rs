//! A bad canary that has filled a cache with bad values, where the runbook's scripts find all that they take for granted.

use serde_json::{Value, json};

use super::Ready;
use super::promoted::walking;
use crate::cache::Cache;
use crate::good::Good;
use crate::scene::complete::PINNED;
use crate::scene::release::BAD;
use crate::scene::{LIMIT, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// Promoted.
pub(super) async fn cache(scene: &mut Scene) -> Ready {
    neighbours(scene).await;
    let cache = Cache::start(scene).await;
    scene.resets(&cache.address());
    let (replica, bad) = scene.bad_promoted(&walking()).await;
    Ready {
        cache: Some(cache.filled_by(bad)),
        ..Ready::new(replica)
    }
}

/// Promoted, and no replica set of the good release is left.
pub(super) async fn complete(scene: &mut Scene) -> Ready {
    neighbours(scene).await;
    let cache = Cache::start(scene).await;
    scene.completes_with(PINNED, &cache.address());
    let (replica, bad) = scene.bad_without_history(&walking()).await;
    Ready {
        cache: Some(cache.filled_by(bad)),
        good: Some(Good::Without(BAD)),
        ..Ready::new(replica)
    }
}

/// The Deployments that the scripts name: one of a release that is good, with the labels that they select, and one that
/// stands for Redis.
async fn neighbours(scene: &Scene) {
    let image = "options-optimizer:stable-v1.0.0";
    let labels = json!({ "app": "options-api", "version": "stable" });
    deployment(
        scene,
        "options-api-stable",
        4,
        &labels,
        &["options-api", image],
    )
    .await;
    let labels = json!({ "app": "redis" });
    deployment(scene, "redis", 1, &labels, &["redis", "redis:8"]).await;
}

/// A Deployment of one container with an image, whose pods are available.
async fn deployment(
    scene: &Scene,
    name: &str,
    replicas: u8,
    labels: &Value,
    [container, image]: &[&str; 2],
) {
    let port = json!({ "name": "http", "containerPort": 8000 });
    let containers = json!([{ "name": container, "image": image, "ports": [port] }]);
    let template =
        json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let namespace = &scene.namespaces.release;
    scene
        .create(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template },
        }))
        .await;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    let available = async || {
        let status = scene.plane.admin.get(&path).await?["status"].clone();
        (status["availableReplicas"] == replicas).then_some(())
    };
    until(available, LIMIT).await.expect("its pods are there");
}
