//! A promotion that never comes: the rollback is given up where there is no safe point, and goes on all the same.

use std::time::Duration;

use reqwest::Method;
use ripcord::rollback::{Phase, Rollback};
use serde_json::json;

use super::{ending, said};
use crate::engine::{changes, image, live, promote};
use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, LATENCY, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};

/// A bad release that is promoted, a good template that is back, and a promotion that is lost again and again, until the
/// rollback is given up. Slack listens.
async fn given_up() -> (Scene, FakeSlack, Rollback) {
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C0OPS1");
    let policy = scene::policy_with(|target| {
        target.give_up = Duration::from_secs(1);
        target.audience.channel = Some("#ops".into());
        target.audience.on_call = vec!["S0123ABCD".into()];
    });
    let mut scene = Scene::empty(policy).await;
    scene.slack = Some(slack.url());
    stage::good_release(&scene.sandbox).await;
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    stage::bad_canary(&scene.sandbox).await;
    promote(&scene.sandbox).await;
    scene
        .until_memory(|memory| memory.state().history.len() == 2)
        .await;
    scene.sandbox.lose_status_requests(u32::MAX);
    scene.send(&firing(LATENCY)).await;
    let given_up = scene
        .until(|rollback| rollback.state().run.gave_up.is_some())
        .await;
    assert_eq!(given_up.phase(), Phase::Running, "there is no safe point");
    let memory = scene.memory().unwrap();
    let latch = memory.latch().expect("latched before it is on record");
    assert_eq!(
        (latch.rollback.as_str(), latch.finding.reason.code()),
        (given_up.name(), "gave_up")
    );
    slack
        .until(|slack| {
            let mut all = slack.messages().into_iter();
            all.any(|it| {
                let seen = it.visible();
                it.broadcast && seen.contains("given up") && seen.contains("S0123ABCD")
            })
        })
        .await;
    (scene, slack, given_up)
}

/// How often the promotion was asked for.
fn promotions(scene: &Scene) -> usize {
    let all = changes(&scene.sandbox);
    all.iter().filter(|it| *it == "status").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_half_way_is_promoted_all_the_same() {
    let (scene, slack, given_up) = given_up().await;
    let asked = promotions(&scene);
    scene.until_called(|| promotions(&scene) > asked + 2).await;
    assert_eq!(scene.only().phase(), Phase::Running);
    assert_eq!(
        scene.only().state().run.gave_up,
        given_up.state().run.gave_up
    );
    scene.sandbox.lose_status_requests(0);
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "gave_up"), "{}", said(&done));
    let object = scene.sandbox.object("rollouts", NAMESPACE, NAME);
    let object = object.unwrap();
    assert_eq!(
        object["status"]["stableRS"],
        live(&scene.sandbox).hash.as_str()
    );
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    let templates = changes(&scene.sandbox);
    let templates = templates.iter().filter(|it| *it == NAME);
    assert_eq!(templates.count(), 1, "the template changed once");
    let memory = scene.memory().unwrap();
    assert_eq!(memory.latch().unwrap().rollback, done.name());
    slack
        .until(|slack| {
            let all = slack.messages();
            let rings = all.iter().filter(|it| it.broadcast);
            rings.count() == 2
        })
        .await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_giving_up_ends_what_has_no_safe_point() {
    let (scene, _slack, given_up) = given_up().await;
    let cancel = json!({"spec": {"cancel": {"by": "jo", "reason": "I do it by hand"}}});
    let path = format!("rollbacks/{}", given_up.name());
    assert_eq!(scene.person(Method::PATCH, &path, cancel).await.0, 200);
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "cancelled"));
    assert_eq!(said(&done), "cancelled by jo: I do it by hand");
    let memory = scene
        .until_memory(|memory| memory.state().active.is_none())
        .await;
    assert!(memory.latch().is_some(), "a person has yet to see to it");
    let object = scene.sandbox.object("rollouts", NAMESPACE, NAME);
    let object = object.unwrap();
    assert_ne!(
        object["status"]["stableRS"],
        live(&scene.sandbox).hash.as_str()
    );
    scene.close().await;
}
