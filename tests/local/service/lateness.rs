//! What takes too long: a start that cannot be made in time or by whoever announced it, and a budget that is exceeded.

use std::time::Duration;

use axum::http::Method;
use jiff::SignedDuration;
use ripcord::cluster::clock;
use ripcord::rollback::{Phase, Rollback};
use serde_json::json;

use super::{ending, restored, said, untouched};
use crate::engine::{changes, image};
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::scene::{self, LATENCY, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};

/// Whether this is a write of the memory.
fn remembers(seen: &Seen) -> bool {
    seen.method == Method::PUT && seen.path.contains("/targets/")
}

/// A bad canary, and a leader that can no longer write the memory.
async fn without_memory(policy: ripcord::policy::Policy) -> Scene {
    let scene = Scene::incident_behind_a_proxy(policy).await;
    scene.proxy().on(|seen| {
        if remembers(seen) {
            Act::Before(Fault::Answer(503))
        } else {
            Act::Forward
        }
    });
    scene
}

/// Sends an alert, and waits until its rollback has announced the restore that it may not make yet.
async fn about_to_restore(scene: &Scene) -> Rollback {
    let answer = scene.send(&firing(LATENCY)).await;
    assert_eq!(answer.one(), ("start", "claimed"));
    let announced = scene.until(|rollback| {
        let state = rollback.state();
        let step = state.run.steps.first();
        step.is_some_and(|step| step.intent.is_some())
    });
    announced.await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_remembered_in_time_is_not_begun() {
    let policy = scene::policy_with(|target| target.start_within = Duration::from_secs(1));
    let scene = without_memory(policy).await;
    let begun = about_to_restore(&scene).await;
    let limit = begun.received().unwrap() + SignedDuration::from_secs(1);
    // It is tried to the end of its time, and once more after that.
    let tries = || {
        let all = scene.proxy().seen();
        all.iter().filter(|seen| remembers(seen)).count()
    };
    scene.until_called(|| clock::system()() > limit).await;
    let before = tries();
    scene.until_called(|| tries() > before + 1).await;
    untouched(&scene.sandbox);
    scene.proxy().on(|_| Act::Forward);
    let done = scene.done().await;
    assert_eq!(
        ending(&done),
        (Phase::Declined, "too_late"),
        "{}",
        said(&done)
    );
    assert_eq!(done.state().run.first_mutation, None);
    untouched(&scene.sandbox);
    assert_eq!(image(&scene.sandbox), "demo:v2-half500");
    let memory = scene
        .until_memory(|memory| memory.state().active.is_none())
        .await;
    assert!(memory.state().blamed.is_empty(), "nothing was left");
    scene.close().await;
}

/// The leader goes while it is about to restore, people do something, and another leader comes.
async fn resumed(meanwhile: impl AsyncFnOnce(&Scene)) -> (Scene, Rollback) {
    let mut scene = without_memory(scene::policy()).await;
    let begun = about_to_restore(&scene).await;
    assert_eq!(begun.phase(), Phase::Running);
    scene.replicas.remove(0).stop().await;
    meanwhile(&scene).await;
    scene.proxy().on(|_| Act::Forward);
    scene.replica().await;
    let done = scene.done().await;
    assert!(
        done.state().run.epoch > begun.state().run.epoch,
        "another term"
    );
    (scene, done)
}

/// The rollback ended for this reason before it changed anything.
async fn never_began(scene: Scene, done: &Rollback, reason: &str) {
    assert_eq!(ending(done), (Phase::Declined, reason), "{}", said(done));
    untouched(&scene.sandbox);
    assert!(scene.memory().unwrap().state().blamed.is_empty());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_while_nobody_leads_is_heard() {
    let (scene, done) = resumed(async |scene| scene.hold(Some("jo: freeze"))).await;
    assert_eq!(said(&done), "held: jo: freeze");
    never_began(scene, &done, "held").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_the_target_that_comes_while_nobody_leads_is_heard() {
    let hold = json!({"spec": {"hold": {"owner": "jo", "reason": "I debug it"}}});
    let (scene, done) = resumed(async |scene| {
        let set = scene.person(Method::PATCH, "targets/api", hold).await;
        assert_eq!(set.0, 200);
    })
    .await;
    never_began(scene, &done, "target_held").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_lost_while_nobody_leads_holds() {
    let (scene, done) = resumed(async |scene| scene.lose_hold().await).await;
    never_began(scene, &done, "hold_unreadable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latch_that_comes_while_nobody_leads_is_heard() {
    let latch = json!({"status": {"latch": {
        "since": clock::system()(), "rollback": "by-jo", "finding": {"reason": "gave_up", "said": "not done"},
    }}});
    let (scene, done) = resumed(async |scene| {
        let set = scene
            .person(Method::PATCH, "targets/api/status", latch)
            .await;
        assert_eq!(set.0, 200);
    })
    .await;
    never_began(scene, &done, "latched").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_resumed_with_nothing_in_its_way_goes_on() {
    let (scene, done) = resumed(async |_| {}).await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [stage::NAME]);
    assert_eq!(done.state().run.over_budget, None);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exceeded_budget_is_recorded_and_stops_nothing() {
    let mut policy = scene::policy();
    for procedure in policy.procedures.values_mut() {
        procedure.budget = Duration::from_secs(1);
    }
    let scene = Scene::incident(policy).await;
    scene.sandbox.pause_controller();
    scene.send(&firing(LATENCY)).await;
    restored(&scene).await;
    let late = scene
        .until(|rollback| rollback.state().run.over_budget.is_some())
        .await;
    assert_eq!(late.phase(), Phase::Running);
    let over = late.state().run.over_budget.unwrap();
    let took = over.duration_since(late.received().unwrap());
    assert!(took > SignedDuration::from_secs(1), "{took:?}");
    scene.sandbox.resume_controller();
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(
        done.state().run.over_budget,
        Some(over),
        "the first time counts"
    );
    scene.close().await;
}

/// A leader that is about to restore when somebody deploys again, and a controller that does not look at that.
async fn not_looked_at(policy: ripcord::policy::Policy) -> Scene {
    let scene = Scene::incident_behind_a_proxy(policy).await;
    scene.proxy().on(|seen| {
        if remembers(seen) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    about_to_restore(&scene).await;
    assert!(scene.proxy().held(stage::LIMIT).await);
    scene.sandbox.pause_controller();
    let fix = "demo:v3-good";
    scene.sandbox.deploy(NAMESPACE, NAME, fix).unwrap();
    scene.proxy().on(|_| Act::Forward);
    scene.proxy().release();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_looks_at_nothing_is_waited_for_within_the_time_for_a_start() {
    let policy = scene::policy_with(|target| target.start_within = Duration::from_secs(1));
    let scene = not_looked_at(policy).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Declined, "too_late"));
    untouched(&scene.sandbox);
    scene.close().await;
}

/// Whether the workload was touched so that the controller looks at it.
fn nudged(scene: &Scene) -> bool {
    let workload = scene.sandbox.object("rollouts", NAMESPACE, NAME).unwrap();
    workload["metadata"]["annotations"]["ripcord.dev/nudged"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_missed_a_change_is_made_to_look_and_the_fix_wins() {
    let scene = not_looked_at(scene::policy()).await;
    scene.until_called(|| nudged(&scene)).await;
    assert_eq!(scene.only().state().run.first_mutation, None);
    assert!(scene.only().state().run.steps[0].nudged.is_some());
    scene.sandbox.resume_controller();
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Superseded, "new_release"));
    assert_eq!(image(&scene.sandbox), "demo:v3-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_held_meanwhile_is_not_even_nudged() {
    let scene = not_looked_at(scene::policy()).await;
    scene.hold(Some("jo: hands off"));
    let done = scene.done().await;
    assert_eq!(said(&done), "held: jo: hands off");
    assert_eq!(ending(&done), (Phase::Declined, "held"));
    assert!(!nudged(&scene));
    scene.close().await;
}
