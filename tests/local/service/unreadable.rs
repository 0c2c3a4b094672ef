//! A workload that may not be read any more while a run waits for it: it is said, and whoever wants the end is heard.

use jiff::SignedDuration;
use reqwest::Method;
use ripcord::cluster::clock;
use ripcord::reason::Reason;
use ripcord::rollback::{Phase, Rollback};
use serde_json::json;

use super::hands::{unhealthy_destination, waiting_for_health};
use super::{ending, said};
use crate::engine::{changes, image};
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::NAME;
use crate::support::stage::scene::{self, LATENCY, Scene, firing};

const MISSING: &str = "the service account may not list pods in shop";

/// What the step that runs was last seen to wait for.
fn waits_for(rollback: &Rollback) -> Option<(Reason, String)> {
    let state = rollback.state();
    let mut steps = state.run.steps.iter().rev();
    let seen = steps.find_map(|step| step.observed.clone())?;
    Some((seen.reason, seen.said))
}

/// A run that waits for health, and may not list pods any more; its name.
async fn blinded() -> (Scene, String) {
    let scene = unhealthy_destination().await;
    let name = waiting_for_health(&scene).await;
    scene.sandbox.deny("list", "", "pods", "");
    missing(&scene).await;
    (scene, name)
}

/// Waits until it is on record which right is missing.
async fn missing(scene: &Scene) -> Rollback {
    let missing = (Reason::PermissionMissing, MISSING.to_owned());
    let told = scene.until(|rollback| waits_for(rollback).as_ref() == Some(&missing));
    let told = told.await;
    assert_eq!(told.phase(), Phase::Running);
    told
}

/// The same in the hands of another leader, which has never seen the workload.
async fn taken_over() -> (Scene, String) {
    let mut scene = unhealthy_destination().await;
    let name = waiting_for_health(&scene).await;
    let epoch = scene.only().state().run.epoch;
    scene.replicas.remove(0).stop().await;
    scene.sandbox.deny("list", "", "pods", "");
    scene.replica().await;
    assert!(missing(&scene).await.state().run.epoch > epoch);
    (scene, name)
}

/// Lets the time pass after which a run is given up.
fn fifteen_minutes_pass(scene: &Scene) {
    scene.at(clock::system()() + SignedDuration::from_mins(16));
}

/// Lets the time pass that it should take, and waits until that is on record.
async fn is_late(scene: &Scene) {
    scene.at(clock::system()() + SignedDuration::from_mins(1));
    let late = scene.until(|rollback| rollback.state().run.over_budget.is_some());
    assert_eq!(late.await.phase(), Phase::Running);
}

async fn cancel(scene: &Scene, name: &str) {
    let cancel = json!({"spec": {"cancel": {"by": "jo", "reason": "I have it"}}});
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::PATCH, &path, cancel).await.0, 200);
}

/// It is given up with a latch, and says which right is missing and that nobody knows how it stands.
async fn is_given_up(scene: Scene) -> String {
    is_late(&scene).await;
    fifteen_minutes_pass(&scene);
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "gave_up"));
    let last = said(&done);
    assert!(
        last.starts_with(&format!("not done after 900s; last observed: {MISSING}; "))
            && last.contains("the workload could not be read since "),
        "{last}"
    );
    scene
        .until_memory(|memory| memory.latch().is_some_and(|it| it.rollback == done.name()))
        .await;
    let state = done.state().run.state.clone().unwrap();
    assert!(
        state.starts_with("not known: the workload could not be read since "),
        "{state}"
    );
    scene.close().await;
    state
}

/// A cancel ends it at once.
async fn is_stopped(scene: Scene, name: &str) {
    cancel(&scene, name).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Cancelled, "cancelled"));
    let last = said(&done);
    assert!(
        last.starts_with("cancelled by jo: I have it; the workload could not be read since "),
        "{last}"
    );
    assert!(scene.memory().unwrap().latch().is_none());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_not_look_is_given_up() {
    let (scene, _) = blinded().await;
    let state = is_given_up(scene).await;
    assert!(
        state.contains("; seen at ") && state.contains(" is live"),
        "{state}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_not_look_hears_a_cancel() {
    let (scene, name) = blinded().await;
    is_stopped(scene, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_not_look_hears_its_deletion() {
    let (scene, name) = blinded().await;
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::DELETE, &path, json!({})).await.0, 200);
    let memory = scene
        .until_memory(|memory| memory.state().active.is_none())
        .await;
    assert_eq!(memory.state().shown.last, "cancelled");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_that_may_not_look_gives_up() {
    let (scene, _) = taken_over().await;
    let state = is_given_up(scene).await;
    assert!(!state.contains("seen at"), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_that_may_not_look_hears_a_cancel() {
    let (scene, name) = taken_over().await;
    is_stopped(scene, &name).await;
}

/// Whether it lists the pods of a namespace.
fn lists_pods(seen: &Seen) -> bool {
    seen.method == Method::GET && seen.path.ends_with("/pods")
}

/// A bad canary whose template is restored, while the controller sleeps; every look since is answered with this code.
async fn restored_unseen(code: u16) -> (Scene, String) {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.sandbox.pause_controller();
    let mut restored = false;
    scene.proxy().on(move |seen| {
        let workload = format!("/rollouts/{NAME}");
        restored |= seen.method == Method::PATCH && seen.path.ends_with(&workload);
        if restored && lists_pods(seen) {
            Act::Before(Fault::Answer(code))
        } else {
            Act::Forward
        }
    });
    scene.send(&firing(LATENCY)).await;
    super::restored(&scene).await;
    looks_again(&scene).await;
    let name = scene.only().name().to_owned();
    (scene, name)
}

/// Waits until the run has tried to look some more times.
async fn looks_again(scene: &Scene) {
    let looks = || {
        let seen = scene.proxy().seen();
        seen.iter().filter(|it| lists_pods(it)).count()
    };
    let before = looks();
    scene.until_called(|| looks() > before + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_restored_unseen_is_no_safe_point() {
    let (scene, name) = restored_unseen(403).await;
    let told = scene.until(|it| waits_for(it).is_some_and(|it| it.0 == Reason::Retrying));
    let (_, said) = waits_for(&told.await).unwrap();
    assert!(
        said.starts_with("the workload cannot be read: forbidden"),
        "{said}"
    );
    cancel(&scene, &name).await;
    scene.in_step().await;
    looks_again(&scene).await;
    assert_eq!(scene.only().phase(), Phase::Running, "nobody has seen it");
    fifteen_minutes_pass(&scene);
    let done = scene.done().await;
    assert!(done.state().run.gave_up.is_some(), "a person was called");
    assert_eq!(ending(&done), (Phase::Failed, "cancelled"));
    let memory = scene.memory().unwrap();
    assert_eq!(memory.latch().unwrap().finding.reason, Reason::GaveUp);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_read_again_goes_on() {
    let (scene, _) = restored_unseen(403).await;
    scene.sandbox.resume_controller();
    scene.proxy().on(|_| Act::Forward);
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silence_of_the_api_server_does_not_count() {
    let (scene, _) = restored_unseen(503).await;
    fifteen_minutes_pass(&scene);
    looks_again(&scene).await;
    scene.sandbox.resume_controller();
    scene.proxy().on(|_| Act::Forward);
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"), "{}", said(&done));
    assert!(done.state().run.gave_up.is_none());
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}
