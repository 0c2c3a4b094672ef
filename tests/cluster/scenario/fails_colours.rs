//! A Service that cannot be switched back, or what was left that cannot be scaled down: what was changed before is said with the
//! number that was there, and nothing is fought over.

use super::colours::ground::POLICY;
use crate::scene::release::{BAD, GOOD};
use crate::scene::{NAME, Scene};
use crate::support::replica::Replica;
use crate::support::story::prelude::*;

/// The role for a Service that selects one of two Deployments.
const ROLE: &str = "ripcord-services";

/// The right to change the Service is taken away while the pods of the destination come up: the bad release keeps the traffic, and
/// it is said that the other has pods now.
pub(crate) async fn switch_without_its_right() {
    let mut scene = Scene::start("fails, switch without its right").await;
    let (_ripcord, name) = scene.brings_blue_up().await;
    let looks = ["get", "list", "watch"];
    scene.may(ROLE, "services", &looks).await;
    scene.lacks("patch", "", "services", "").await;
    scene.is_not_back(&name, "rejected").await;
    assert_eq!(scene.selects().await, "green");
    assert_eq!(scene.served_by().await, [BAD; 4]);
    assert_eq!(scene.parts(), ["deployments/scale"]);
    scene.has_pods("blue", 4).await;
    let left = format!("Deployment {NAME}-blue was asked for 4 pods instead of 0");
    scene
        .tells_all(&["forbidden", &left, "not reached: healthy"])
        .await;
}

/// The right to scale is taken away while the destination is proved: that has the traffic and is healthy, and what was left keeps
/// its pods, which is said.
pub(crate) async fn scale_without_its_right() {
    let mut scene = Scene::start("fails, scale without its right").await;
    let proof = "      - healthy: { consecutive: 3, every: 500ms, within: 2m }\n";
    let more = "      - healthy: { consecutive: 20, every: 200ms, within: 2m }\n      - scale: { replicas: 0 }\n      - gone: {}\n";
    assert!(POLICY.contains(proof));
    scene.says(&POLICY.replace(proof, more));
    let (ripcord, bad) = scene.bad_green().await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r1-{bad}");
    scene.waits_for(&name, 1, "sampling").await;
    scene.may(ROLE, "deployments/scale", &["get"]).await;
    scene.lacks("patch", "apps", "deployments", "scale").await;
    let rollback = scene.ended(&name, "Failed").await;
    assert_eq!(
        rollback["status"]["reason"]["reason"], "rejected",
        "{rollback:#}"
    );
    scene.is_latched_by(&name).await;
    scene.users_are_served().await;
    assert_eq!(scene.selects().await, "blue");
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    assert_eq!(scene.parts(), ["services"]);
    assert_eq!(scene.colour("green").await["spec"]["replicas"], 4);
    let said = [
        "healthy, but scale failed · you are needed",
        "forbidden",
        "not reached: gone",
    ];
    scene.tells_all(&said).await;
}

/// Somebody scales the destination down again while its pods come up: theirs is not fought over, and nothing is switched.
pub(crate) async fn scale_undone() {
    let mut scene = Scene::start("fails, scale undone").await;
    let (_ripcord, name) = scene.brings_blue_up().await;
    scene.scale("blue", 0).await;
    scene.is_not_back(&name, "overwritten").await;
    assert_eq!(scene.selects().await, "green");
    assert_eq!(scene.served_by().await, [BAD; 4]);
    assert_eq!(scene.parts(), ["deployments/scale"]);
    assert_eq!(scene.colour("blue").await["spec"]["replicas"], 0);
    let undone = format!(
        "Deployment {NAME}-blue was asked for 4 pods, and asks for 0 again: somebody scaled it"
    );
    scene.tells_all(&[&undone, "not reached: healthy"]).await;
}

impl Scene {
    /// A bad green release, and a blue one without pods which a rollback has asked for some that are not ready yet; its name.
    async fn brings_blue_up(&mut self) -> (Replica, String) {
        self.good = "demo:v1-readyafter5s";
        let (ripcord, bad) = self.bad_green().await;
        self.scale("blue", 0).await;
        self.alert(&ripcord).await;
        let name = format!("{NAME}-r1-{bad}");
        self.waits_for(&name, 0, "pods_starting").await;
        (ripcord, name)
    }
}
