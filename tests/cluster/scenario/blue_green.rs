//! A bad blue-green release.

use serde_json::{Value, json};

use crate::scene::blue_green::strategy;
use crate::scene::release::BAD;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

pub(super) async fn start(name: &'static str) -> Scene {
    let scene = Scene::start(name).await;
    scene.service(&format!("{NAME}-preview")).await;
    scene
}

/// Promoted, and the old pods still run: `abort` would do nothing.
pub(crate) async fn promoted() {
    let mut scene = start("blue-green, promoted, old pods there").await;
    // Longer than a busy machine needs.
    let strategy = strategy(&json!({ "scaleDownDelaySeconds": 3600 }));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let status = scene.rollout().await["status"].clone();
    assert_eq!(status["replicas"], 8, "the old pods are there: {status:#}");
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// Promoted, and the old pods are gone.
pub(crate) async fn promoted_long_ago() {
    let mut scene = start("blue-green, promoted, old pods gone").await;
    let strategy = strategy(&json!({ "scaleDownDelaySeconds": 1 }));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let gone = async || (scene.rollout().await["status"]["replicas"] == 4).then_some(());
    until(gone, LIMIT).await.expect("the old pods go");
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// Promoted by hand: the way back would wait for a person too.
pub(crate) async fn promoted_by_hand() {
    let mut scene = start("blue-green, promoted by hand").await;
    let strategy = strategy(&json!({ "autoPromotionEnabled": false }));
    let (ripcord, bad) = scene.bad_promoted(&strategy).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// It waits for a person's promotion; no user has seen it.
pub(crate) async fn before_promotion() {
    let mut scene = start("blue-green, before its promotion").await;
    let strategy = strategy(&json!({ "autoPromotionEnabled": false }));
    let ripcord = scene.good(&strategy).await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
    assert_eq!(scene.users.as_ref().unwrap().tally().bad, 0);
}

/// In its analysis after the switch. There is a ready endpoint at every moment.
pub(crate) async fn in_analysis() {
    let mut scene = start("blue-green, analysis after the switch").await;
    let (ripcord, bad) = scene.bad_switched().await;
    let pulled_back = async {
        let posted = scene.alert(&ripcord).await;
        let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
        (posted, rollback)
    };
    let (fewest, (posted, rollback)) = scene.fewest_endpoints(pulled_back).await;
    assert!(
        fewest >= 4,
        "never fewer ready endpoints than before: {fewest}"
    );
    scene.is_mended().await;
    scene.is_active(&rollback).await;
    scene.is_in_budget(&rollback);
    scene.times(posted, &rollback);
}

/// The same, and its pods are not ready any more: `abort` would leave no endpoint at all, for ever.
pub(crate) async fn in_analysis_and_unready() {
    let mut scene = start("blue-green, the new pods unready").await;
    let (ripcord, bad) = scene.bad_switched().await;
    scene.is_unready(&bad).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

impl Scene {
    /// Lets no pod of the release that serves be ready any more, and waits until nobody serves.
    pub(super) async fn is_unready(&self, bad: &str) {
        for pod in self.pods_of(bad).await {
            self.set_ready(&pod, false).await;
        }
        let none = async || self.served_by().await.is_empty().then_some(());
        until(none, LIMIT).await.expect("nobody serves");
    }

    /// The active Service selects the destination, and nothing but the controller's own key was added to it.
    pub(super) async fn is_active(&self, rollback: &Value) {
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
