//! A leader that is killed after a change was made and before that could be written down: the next one finds it done, and does not
//! do it again.

use serde_json::Value;

use crate::scene::release::pausing;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// In the restart of a cache reset: pods are restarted once.
pub(crate) async fn in_the_restart() {
    let mut scene = Scene::start("killed, in the restart").await;
    let redis = scene.redis().await;
    let (mut ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let second = scene.replica("second").await;
    scene.keep_unconfirmed("restart").await;
    scene.alert(&ripcord).await;
    let asked = async || {
        let moment = scene.rollout().await["spec"]["restartAt"].clone();
        moment.is_string().then_some(moment)
    };
    let moment = until(asked, LIMIT).await.expect("it is restarted");
    ripcord.kill();
    let name = format!("{NAME}-r2-{bad}");
    scene.is_unconfirmed(&name, 3, "restart").await;
    scene.let_in().await;
    let rollback = scene.ended(&name, "Succeeded").await;
    drop(second);
    let step = &rollback["status"]["run"]["steps"][3];
    assert_eq!(step["attempts"], 1, "{step:#}");
    assert_eq!(scene.rollout().await["spec"]["restartAt"], moment);
    assert_eq!(redis.keys(0).await, ["session:1"]);
    // The template is restored once, and restarted once.
    scene.is_mended_by(2).await;
}

/// In the switch of a Service: it is switched once.
pub(crate) async fn in_the_switch() {
    let mut scene = Scene::start("killed, in the switch").await;
    let (mut ripcord, bad) = scene.bad_green().await;
    let second = scene.replica("second").await;
    scene.keep_unconfirmed("switch_service").await;
    scene.alert(&ripcord).await;
    let switched = async || (scene.selects().await == "blue").then_some(());
    until(switched, LIMIT).await.expect("it is switched");
    ripcord.kill();
    let name = format!("{NAME}-r1-{bad}");
    scene.is_unconfirmed(&name, 0, "switch_service").await;
    scene.let_in().await;
    let rollback = scene.ended(&name, "Succeeded").await;
    drop(second);
    let step = &rollback["status"]["run"]["steps"][0];
    assert_eq!(step["attempts"], 1, "{step:#}");
    assert_eq!(step["observed"]["reason"], "restored", "{step:#}");
    scene.is_on_blue(&rollback).await;
    assert_eq!(scene.parts(), ["services"]);
}

impl Scene {
    /// Lets nobody write down that a change of this kind was confirmed.
    async fn keep_unconfirmed(&self, effect: &str) {
        let intent =
            format!("has(it.intent) && it.intent != null && it.intent.effect == '{effect}'");
        let confirmed = "has(it.intent.confirmed) && it.intent.confirmed != null";
        self.keep_status_out(&format!("{intent} && {confirmed}"))
            .await;
    }

    /// The change is intended by what is on record, and not known to be done.
    async fn is_unconfirmed(&self, name: &str, step: usize, effect: &str) {
        let rollback = self.rollback(name).await.unwrap();
        let intent = &rollback["status"]["run"]["steps"][step]["intent"];
        assert_eq!(intent["effect"], effect, "{rollback:#}");
        assert_eq!(intent["confirmed"], Value::Null, "{rollback:#}");
    }
}
