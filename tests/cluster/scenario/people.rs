//! What people's own commands do to the real controller: why Ripcord does not use them.

use serde_json::{Value, json};

use super::blue_green;
use crate::scene::blue_green::strategy;
use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::Replica;
use crate::support::story::prelude::*;
use crate::support::wait::until;

const HASH: &str = "rollouts-pod-template-hash";

/// The controller's own metadata is not copied: it has taken it off the old replica set, which serves again. It walks the
/// steps all the same.
pub(crate) async fn undo_copies_no_metadata() {
    let mut scene = Scene::start("a person's undo, injected metadata").await;
    let mut strategy = pausing();
    for role in ["stable", "canary"] {
        let metadata = json!({ "labels": { "role": role }, "annotations": { "role": role } });
        strategy["canary"][format!("{role}Metadata")] = metadata;
    }
    let _ripcord = scene.good(&strategy).await;
    let good = scene.live().await;
    let (undone, _) = undone(&scene).await;
    assert_eq!(undone, good);
    let metadata = scene.rollout().await["spec"]["template"]["metadata"].clone();
    assert_eq!(metadata, json!({ "labels": { "app": NAME } }));
}

/// The controller's own affinity is copied into the spec, so that what an `undo` brings is neither of the two releases, and
/// walks the steps.
pub(crate) async fn undo_copies_the_affinity() {
    let mut scene = Scene::start("a person's undo, an injected affinity").await;
    let mut strategy = pausing();
    let apart = json!({ "preferredDuringSchedulingIgnoredDuringExecution": { "weight": 1 } });
    strategy["canary"]["antiAffinity"] = apart;
    // The first release of all gets no affinity.
    scene.good = "demo:v0-good";
    let _ripcord = scene.good(&strategy).await;
    scene.deploy(GOOD).await;
    let good = scene.promoted_by_hand().await;
    let (undone, bad) = undone(&scene).await;
    assert!(undone != good && undone != bad, "{undone}");
    let injected = scene.replica_set(&good).await["spec"]["template"]["spec"]["affinity"].clone();
    assert!(injected.to_string().contains(HASH), "{injected:#}");
    let template = scene.rollout().await["spec"]["template"].clone();
    assert_eq!(template["spec"]["affinity"], injected);
    // That replica set has a term of its own besides.
    let terms = scene.replica_set(&undone).await["spec"]["template"]["spec"]["affinity"].clone();
    assert!(terms.to_string().contains(&bad), "{terms:#}");
}

/// The controller takes it back at once when a person points the active Service of a promoted blue-green at the old pods.
pub(crate) async fn active_service_is_taken_back() {
    let mut scene = blue_green::start("a person's switch of an active Service").await;
    let (ripcord, bad) = switched_back(&mut scene, &json!({})).await;
    let taken_back = async || (scene.selected().await == bad).then_some(());
    until(taken_back, LIMIT).await.expect("it is taken back");
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// Where promotion is a person's, the switch stays. The users are served, but the bad release is the stable one, and the
/// spec still asks for it: the alert's rollback ends that.
pub(crate) async fn active_service_stays_switched() {
    let mut scene = blue_green::start("a person's switch, promoted by hand").await;
    let by_hand = json!({ "autoPromotionEnabled": false });
    let (ripcord, bad) = switched_back(&mut scene, &by_hand).await;
    scene.rollout_is("Paused").await;
    scene.users_are_served().await;
    let status = scene.rollout().await["status"].clone();
    assert_eq!(
        (&status["stableRS"], &status["currentPodHash"]),
        (&json!(bad), &json!(bad))
    );
    assert_ne!(scene.selected().await, bad);
    assert_eq!(scene.wanted_image().await, BAD);
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// The controller drops a person's `abort` of a promoted blue-green: the bad release serves on, until Ripcord is told of it.
pub(crate) async fn abort_of_a_promoted_blue_green() {
    let mut scene = blue_green::start("a person's abort of a promoted blue-green").await;
    let (ripcord, bad) = scene.bad_promoted(&strategy(&json!({}))).await;
    let said = scene.argo(&["abort", NAME]);
    assert!(said.contains("aborted"), "{said}");
    let dropped = |status: &Value| status["abort"] != true;
    scene.status_is("the abort is dropped", dropped).await;
    scene.rollout_is("Healthy").await;
    let status = scene.rollout().await["status"].clone();
    assert_eq!(status["stableRS"], *bad, "{status:#}");
    assert_eq!(scene.selected().await, bad);
    assert_eq!(scene.served_by().await, [BAD; 4]);
    let before = scene.users().tally().bad;
    scene.users_are_hurt_since(before).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// The bad release is in its analysis after the switch, and its pods are not ready any more. The controller does not switch
/// back on a person's `abort`, and then takes the bad pods away: nobody is behind the active Service, while the good pods stand
/// idle. The alert ends that.
pub(crate) async fn abort_leaves_no_endpoint() {
    let mut scene = blue_green::start("a person's abort leaves no endpoint").await;
    let soon = json!({ "abortScaleDownDelaySeconds": 2 });
    let (ripcord, bad) = scene.bad_switched_with(&soon).await;
    scene.is_unready(&bad).await;
    let said = scene.argo(&["abort", NAME]);
    assert!(said.contains("aborted"), "{said}");
    let gone = async || {
        let none = scene.replica_set(&bad).await["spec"]["replicas"] == 0;
        (none && scene.pods_of(&bad).await.is_empty()).then_some(())
    };
    until(gone, LIMIT).await.expect("its pods are taken away");
    let status = scene.rollout().await["status"].clone();
    assert!(status["abortedAt"].is_string(), "{status:#}");
    let good = status["stableRS"].as_str().unwrap();
    assert_eq!(scene.pods_of(good).await.len(), 4, "they stand idle");
    assert_eq!(scene.selected().await, bad);
    let none = scene.ready_endpoints().await;
    assert!(none.is_empty(), "{none:#?}");
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    scene.is_active(&rollback).await;
}

/// Promotes a bad release and undoes it by hand: the release that waits at the first pause then, and the bad one.
async fn undone(scene: &Scene) -> (String, String) {
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.argo(&["undo", NAME]);
    scene.rollout_is("Paused").await;
    let status = scene.rollout().await["status"].clone();
    assert_eq!(status["stableRS"], *bad, "{status:#}");
    assert_eq!(status["currentStepIndex"], 1, "it walks the steps");
    (scene.live().await, bad)
}

/// A bad blue-green release is promoted; a person then points the active Service at the good pods.
async fn switched_back(scene: &mut Scene, more: &Value) -> (Replica, String) {
    let ripcord = scene.good(&strategy(more)).await;
    let good = scene.live().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    let switch = json!({ "spec": { "selector": { HASH: good } } });
    scene.patch(&scene.active_service(), &switch).await;
    (ripcord, bad)
}

impl Scene {
    fn active_service(&self) -> String {
        format!("/api/v1/namespaces/{}/services/{NAME}", self.namespace())
    }

    /// The release that the active Service selects.
    async fn selected(&self) -> String {
        let service = self.get(&self.active_service()).await.unwrap();
        let hash = service["spec"]["selector"][HASH].as_str();
        hash.unwrap_or_default().to_owned()
    }
}
