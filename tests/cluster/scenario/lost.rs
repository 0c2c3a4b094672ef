//! Requests to the controller that are lost without a word: a person's `abort`, and Ripcord's own promotion.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plane::audit::Audited;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;

/// Our promotion waits for slow pods when a person edits the steps: the controller begins anew, and its own write takes
/// the request away. It is made again.
pub(crate) async fn promotion() {
    let mut scene = Scene::start("promoted, our promotion is lost").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let posted = scene.alert(&ripcord).await;
    scene.is_being_promoted(&bad).await;
    let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    scene
        .edit(&json!({ "spec": { "strategy": { "canary": { "steps": steps } } } }))
        .await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    let lost = scene.promotion_lost(posted);
    let lost = lost.expect("the controller takes the request away, and promotes nothing");
    let mut asked = scene.mutations();
    asked.retain(|it| it.body.to_string().contains("promoteFull"));
    let again = asked
        .iter()
        .filter(|it| it.received > lost.received)
        .count();
    assert!(again > 0 && again < asked.len(), "{asked:#?}");
    scene.times(posted, &rollback);
}

/// A person's `abort` comes before the controller has looked at the bad release: it goes on.
pub(crate) async fn abort_before_the_controller_looks() {
    let mut scene = Scene::alone("canary, abort lost before a look").await;
    let ripcord = scene.good(&pausing()).await;
    let asleep = scene.plane.freeze().unwrap();
    scene.push(BAD).await;
    let said = scene.argo(&["abort", NAME]);
    assert!(said.contains("aborted"), "{said}");
    assert_eq!(scene.rollout().await["status"]["abort"], true);
    drop(asleep);
    scene.rollout_is("Paused").await;
    let status = scene.rollout().await["status"].clone();
    assert!(status["abort"] != true && status["abortedAt"].is_null());
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A person's `abort` comes when a full promotion was asked for: the bad release is promoted.
pub(crate) async fn abort_of_a_promotion() {
    let mut scene = Scene::alone("canary, abort lost to a promotion").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.plane.freeze().unwrap();
    scene.argo(&["promote", NAME, "--full"]);
    let said = scene.argo(&["abort", NAME]);
    assert!(said.contains("aborted"), "{said}");
    let status = scene.rollout().await["status"].clone();
    assert!(status["abort"] == true && status["promoteFull"] == true);
    drop(asleep);
    scene.is_promoted().await;
    assert_eq!(scene.is_known().await, bad, "the bad release is promoted");
    scene.is_pulled_back(&ripcord, &bad).await;
}

impl Scene {
    /// The write with which the controller took away the request for a promotion, after this time, and promoted nothing.
    pub(super) fn promotion_lost(&self, since: Timestamp) -> Option<Audited> {
        let writes = self.plane.audit(&self.namespaces.release).unwrap();
        let mut writes = writes.into_iter().filter(|it| it.user == "argo-rollouts");
        writes.find(|it| {
            let status = &it.body["status"];
            it.received > since
                && status.get("promoteFull").is_some_and(Value::is_null)
                && status.get("stableRS").is_none()
        })
    }

    /// Waits until the good release is live and its promotion is asked for, while the bad one still is the stable one.
    pub(super) async fn is_being_promoted(&self, bad: &str) {
        let asked = async || {
            let status = self.rollout().await["status"].clone();
            let between = status["currentPodHash"] != bad && status["stableRS"] == bad;
            (between && status["promoteFull"] == true).then_some(())
        };
        until(asked, LIMIT).await.expect("it is being promoted");
    }
}
