//! Rollbacks that ask a person first: what the answers, the silence and the alerts come to.

use std::time::Duration;

use reqwest::Method;
use ripcord::policy::Policy;
use ripcord::rollback::object::Mode;
use ripcord::rollback::{Phase, Rollback};
use serde_json::{Value, json};

use super::{ending, said, untouched};
use crate::engine::{changes, image};
use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, EMERGENCY, ERRORS, LATENCY, Scene, firing, resolved};
use crate::support::stage::{self, NAME};

/// The trigger of [`LATENCY`] asks; that of [`ERRORS`] acts.
fn asking() -> Policy {
    let mut policy = scene::policy();
    policy.triggers[0].mode = Mode::Ask;
    policy
}

/// Sends the alert that asks, and waits until somebody is asked.
async fn asked(scene: &Scene) -> Rollback {
    let answer = scene.send(&firing(LATENCY)).await;
    assert_eq!(answer.one(), ("ask", "awaiting_approval"));
    let asks = |rollback: &Rollback| rollback.phase() == Phase::AwaitingApproval;
    scene.until(asks).await
}

/// A person answers; `to` is the destination that is meant.
async fn answer(scene: &Scene, name: &str, decision: &str, to: Option<&str>) {
    let approval = json!({"decision": decision, "by": "jo", "to": to, "reason": "I looked"});
    let patch = json!({"spec": {"approval": approval}});
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::PATCH, &path, patch).await.0, 200);
}

fn request(name: &str) -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback", "metadata": {"name": name},
        "spec": {"target": NAME, "reason": "errors at checkout", "requestedBy": "jo"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_runs_as_it_was_planned() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    untouched(&scene.sandbox);
    let plan = waits.state().plan.clone().unwrap();
    let memory = scene
        .until_memory(|memory| memory.state().shown.state == "asking")
        .await;
    assert!(memory.state().blamed.is_empty(), "nothing is blamed yet");
    // A repeat of the alert is known, and asks nobody again.
    answer(&scene, waits.name(), "approve", Some(&plan.to.hash)).await;
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(done.state().plan, Some(plan));
    let asked = done.state().run.asked.clone().unwrap();
    assert!(asked.released.is_some() && asked.released <= done.state().run.started);
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_is_final() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    answer(&scene, waits.name(), "deny", None).await;
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Declined, "approval_denied"));
    assert_eq!(said(&done), "denied by jo: I looked");
    let again = scene.send(&firing(LATENCY)).await;
    assert_eq!(again.one(), ("decline", "approval_denied"));
    untouched(&scene.sandbox);
    assert!(scene.memory().unwrap().latch().is_none());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_no_consent() {
    let mut policy = asking();
    let target = policy.targets.get_mut(NAME).unwrap();
    target.approve_within = Duration::from_millis(300);
    let scene = Scene::incident(policy).await;
    let answer = scene.send(&firing(LATENCY)).await;
    assert_eq!(answer.one(), ("ask", "awaiting_approval"));
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Declined, "approval_expired"));
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_something_else_is_none() {
    for to in [Some("5f5f5f5f5f"), None] {
        let scene = Scene::incident(asking()).await;
        let waits = asked(&scene).await;
        answer(&scene, waits.name(), "approve", to).await;
        let done = scene.ended(waits.name()).await;
        assert_eq!(ending(&done), (Phase::Declined, "approval_stale"));
        untouched(&scene.sandbox);
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_ends_before_the_answer_ends_the_question() {
    let scene = Scene::incident(asking()).await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one().0, "ask");
    let asks = |rollback: &Rollback| rollback.phase() == Phase::AwaitingApproval;
    scene.until(asks).await;
    scene.send(&resolved(&alert)).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Declined, "resolved_before_start"));
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_may_act_by_itself_does_not_wait_for_the_answer() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    assert_eq!(scene.send(&firing(ERRORS)).await.one(), ("join", "joined"));
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(done.state().plan.as_ref().unwrap().procedure, EMERGENCY);
    assert!(done.spec.approval.is_none());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_waits_others_run() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    let made = scene.person(Method::POST, "rollbacks", request("by-jo"));
    assert_eq!(made.await.0, 201);
    let by_hand = scene.ended("by-jo").await;
    assert_eq!(ending(&by_hand), (Phase::Succeeded, "done"));
    let late = scene.ended(waits.name()).await;
    assert_eq!(ending(&late), (Phase::Superseded, "new_release"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_comes_while_it_waits_stays() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    scene
        .sandbox
        .deploy(stage::NAMESPACE, NAME, "demo:v3-fixed")
        .unwrap();
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Superseded, "new_release"));
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guards_are_asked_again_after_the_approval() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    scene.hold(Some("jo: freeze"));
    scene.in_step().await;
    let to = waits.to().unwrap().hash.clone();
    answer(&scene, waits.name(), "approve", Some(&to)).await;
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Declined, "held"));
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_question_too() {
    let scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    let cancel = json!({"spec": {"cancel": {"by": "jo", "reason": "I have it"}}});
    let path = format!("rollbacks/{}", waits.name());
    assert_eq!(scene.person(Method::PATCH, &path, cancel).await.0, 200);
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Cancelled, "cancelled"));
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_takes_the_answer() {
    let mut scene = Scene::incident(asking()).await;
    let waits = asked(&scene).await;
    scene.replica().await;
    let first = scene.replicas.remove(scene.leader().unwrap());
    first.stop().await;
    let to = waits.to().unwrap().hash.clone();
    answer(&scene, waits.name(), "approve", Some(&to)).await;
    let done = scene.ended(waits.name()).await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_needs_an_approval_needs_it_of_a_person_too() {
    let mut policy = scene::policy();
    let built_in = policy
        .procedures
        .get_mut(ripcord::procedure::BUILT_IN)
        .unwrap();
    built_in.approval = true;
    let scene = Scene::incident(policy).await;
    let made = scene.person(Method::POST, "rollbacks", request("by-jo"));
    assert_eq!(made.await.0, 201);
    let waits = scene
        .until(|rollback| rollback.phase() == Phase::AwaitingApproval)
        .await;
    let to = waits.to().unwrap().hash.clone();
    answer(&scene, "by-jo", "approve", Some(&to)).await;
    let done = scene.ended("by-jo").await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_calls_somebody_and_the_end_is_told() {
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C1");
    let mut policy = asking();
    let target = policy.targets.get_mut(NAME).unwrap();
    target.audience.on_call = vec!["S0123ABCD".into()];
    let mut scene = Scene::empty(policy).await;
    scene.slack = Some(slack.url());
    stage::good_release(&scene.sandbox).await;
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    stage::bad_canary(&scene.sandbox).await;
    let waits = asked(&scene).await;
    let called = |slack: &FakeSlack| {
        let mut all = slack.messages().into_iter();
        all.any(|it| it.text.contains("you are needed") && it.text.contains("<!subteam^S0123ABCD>"))
    };
    slack.until(called).await;
    let shown = format!("{:?}", slack.messages());
    assert!(shown.contains("ripcord approve api-r2-"), "{shown}");
    let told = |rollback: &Rollback| {
        let state = rollback.state();
        rollback.phase().ended()
            && state
                .report
                .slack
                .told
                .iter()
                .any(|it| it == "end/Declined")
    };
    answer(&scene, waits.name(), "deny", None).await;
    scene.until(told).await;
    let texts: Vec<_> = slack.messages().into_iter().map(|it| it.text).collect();
    let end = texts.last().unwrap();
    assert!(end.contains("NOT acted on: denied by jo"), "{texts:#?}");
    scene.close().await;
}
