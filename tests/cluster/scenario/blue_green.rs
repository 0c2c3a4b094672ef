//! A bad blue-green release.

use serde_json::{Value, json};

use crate::scene::release::BAD;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;

/// Blue-green behind the usual Service, with a preview Service.
fn strategy(more: &Value) -> Value {
    let mut strategy =
        json!({ "activeService": NAME, "previewService": format!("{NAME}-preview") });
    json_patch::merge(&mut strategy, more);
    json!({ "blueGreen": strategy })
}

async fn start(name: &'static str) -> Scene {
    let scene = Scene::start(name).await;
    let preview = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": format!("{NAME}-preview"), "namespace": scene.namespaces.release },
        "spec": { "selector": { "app": NAME }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    });
    scene.plane.admin.create(&preview).await.unwrap();
    scene
}

/// Promoted, and the old pods still run: `abort` would do nothing.
pub(crate) async fn promoted() {
    let mut scene = start("blue-green, promoted, old pods there").await;
    let (ripcord, bad) = scene.bad_promoted(&strategy(&json!({}))).await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    scene.times(posted, &rollback);
}

/// Promoted, and the old pods are gone.
pub(crate) async fn promoted_long_ago() {
    let mut scene = start("blue-green, promoted, old pods gone").await;
    let strategy = strategy(&json!({ "scaleDownDelaySeconds": 1 }));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let gone = async || (scene.rollout().await["status"]["replicas"] == 4).then_some(());
    until(gone, LIMIT).await.expect("the old pods go");
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    scene.times(posted, &rollback);
}

/// Promoted by hand: the way back would wait for a person too.
pub(crate) async fn promoted_by_hand() {
    let mut scene = start("blue-green, promoted by hand").await;
    let strategy = strategy(&json!({ "autoPromotionEnabled": false }));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    scene.times(posted, &rollback);
}

/// It waits for a person's promotion; no user has seen it.
pub(crate) async fn before_promotion() {
    let mut scene = start("blue-green, before its promotion").await;
    let strategy = strategy(&json!({ "autoPromotionEnabled": false }));
    let ripcord = scene.good(&strategy).await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    assert_eq!(scene.users.as_ref().unwrap().tally().bad, 0);
    scene.times(posted, &rollback);
}

impl Scene {
    /// The active Service selects the destination, and nothing but the controller's own key was added to it.
    async fn is_active(&self, rollback: &Value) {
        let namespace = &self.namespaces.release;
        let path = format!("/api/v1/namespaces/{namespace}/services/{NAME}");
        let service = self.plane.admin.get(&path).await.unwrap();
        let to = &rollback["status"]["plan"]["to"]["hash"];
        let wanted = json!({ "app": NAME, "rollouts-pod-template-hash": to });
        assert_eq!(service["spec"]["selector"], wanted);
        let ours = self.requests();
        let touched = ours
            .iter()
            .any(|it| it.is_write() && it.resource == "services");
        assert!(
            !touched,
            "a Service that a Rollout manages is never written"
        );
    }
}
