//! What people do by hand, and what it comes to: requests, cancels, deletions, deploys.

use reqwest::Method;
use ripcord::procedure::StepPlan;
use ripcord::rollback::Phase;
use ripcord::sandbox::Sandbox;
use serde_json::{Value, json};

use super::{ending, restored, said, untouched};
use crate::engine::{changes, image};
use crate::support::stage::scene::{self, ERRORS, LATENCY, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};

/// A request for a rollback, as a person writes it.
fn request(name: &str) -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback", "metadata": {"name": name},
        "spec": {
            "target": NAME, "reason": "errors at checkout", "requestedBy": "jo",
            "steps": [{"exec": {"command": ["redis-cli", "FLUSHALL"]}}],
            "url": "http://elsewhere.example/", "command": "true",
        },
    })
}

/// The first release answers, but not as healthy; the second is bad too.
pub(crate) async fn unhealthy_destination() -> Scene {
    let mut scene = Scene::empty(scene::policy()).await;
    stage::first_release(&scene.sandbox, "demo:v1-unhealthy");
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    scene
        .until_workload(|object| object["status"]["phase"] == "Healthy")
        .await;
    stage::bad_canary(&scene.sandbox).await;
    scene
}

/// Starts a rollback and waits until it looks for health in vain.
pub(super) async fn waiting_for_health(scene: &Scene) -> String {
    scene.send(&firing(LATENCY)).await;
    let waits = scene.until(|rollback| {
        let state = rollback.state();
        let step = state
            .run
            .steps
            .get(1)
            .and_then(|step| step.observed.clone());
        step.is_some_and(|found| found.reason.code() == "unhealthy")
    });
    waits.await.name().to_owned()
}

/// The last journal that the engine wrote of a rollback: its phase and its reason code.
fn last_journal(sandbox: &Sandbox, name: &str) -> (String, String) {
    let all = sandbox.requests();
    let value = |path: &str| {
        let operations = all.iter().rev().filter(|call| call.path.contains(name));
        let mut operations = operations.filter_map(|call| call.body.as_array()).flatten();
        let found = operations.find(|operation| operation["path"] == path);
        found
            .map(|operation| operation["value"].clone())
            .unwrap_or_default()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&value("/status/phase")),
        text(&value("/status/reason")["reason"]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_what_and_never_how() {
    let scene = Scene::incident(scene::policy()).await;
    let (code, made) = scene
        .person(Method::POST, "rollbacks", request("by-jo"))
        .await;
    assert_eq!(code, 201, "{made}");
    let spec = made["spec"].as_object().unwrap();
    for unknown in ["steps", "url", "command"] {
        assert!(!spec.contains_key(unknown), "{unknown} was kept");
    }
    let done = scene.ended("by-jo").await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    let plan = done.state().plan.clone().unwrap();
    assert_eq!(plan.procedure, ripcord::procedure::BUILT_IN);
    assert_eq!(
        plan.steps.iter().map(StepPlan::name).collect::<Vec<_>>(),
        ["revert", "healthy"]
    );
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    // An alert about what was just pulled back is no reason to do anything.
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("decline", "duplicate")
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_while_held_is_declined() {
    let scene = Scene::incident(scene::policy()).await;
    scene.hold(Some("jo: freeze"));
    assert_eq!(
        scene
            .person(Method::POST, "rollbacks", request("by-jo"))
            .await
            .0,
        201
    );
    assert_eq!(
        ending(&scene.ended("by-jo").await),
        (Phase::Declined, "held")
    );
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_deleted_ends_and_goes() {
    let scene = unhealthy_destination().await;
    let name = waiting_for_health(&scene).await;
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::DELETE, &path, json!({})).await.0, 200);
    let gone =
        |view: &ripcord::sandbox::Store| view.object("rollbacks", NAMESPACE, &name).is_none();
    assert!(scene.sandbox.wait(gone, stage::LIMIT).await);
    assert_eq!(
        last_journal(&scene.sandbox, &name),
        ("Cancelled".into(), "deleted".into())
    );
    let memory = scene
        .until_memory(|memory| memory.state().active.is_none())
        .await;
    assert_eq!(memory.state().shown.last, "cancelled");
    // What was done is remembered although the record is gone.
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("decline", "duplicate")
    );
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_cancelled_ends_at_a_safe_point() {
    let scene = unhealthy_destination().await;
    let name = waiting_for_health(&scene).await;
    let cancel = json!({"spec": {"cancel": {"by": "jo", "reason": "I have it"}}});
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::PATCH, &path, cancel).await.0, 200);
    let done = scene.ended(&name).await;
    assert_eq!(ending(&done), (Phase::Cancelled, "cancelled"));
    assert_eq!(said(&done), "cancelled by jo: I have it");
    assert!(done.state().run.state.as_ref().unwrap().contains("is live"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_restore_and_promotion_a_cancel_waits() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    scene.send(&firing(LATENCY)).await;
    restored(&scene).await;
    let name = scene.only().name().to_owned();
    let cancel = json!({"spec": {"cancel": {"by": "jo"}}});
    let path = format!("rollbacks/{name}");
    assert_eq!(scene.person(Method::PATCH, &path, cancel).await.0, 200);
    scene.in_step().await;
    assert_eq!(scene.only().phase(), Phase::Running);
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Cancelled, "cancelled"));
    scene
        .until_workload(|object| object["status"]["phase"] == "Healthy")
        .await;
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_comes_in_the_middle_stays() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    restored(&scene).await;
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v3-fixed")
        .unwrap();
    scene.sandbox.resume_controller();
    assert_eq!(
        ending(&scene.done().await),
        (Phase::Superseded, "new_release")
    );
    assert_eq!(image(&scene.sandbox), "demo:v3-fixed");
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert!(scene.memory().unwrap().latch().is_none());
    // It takes a while until the alert sees that it is mended.
    let mark = scene.mark();
    assert_eq!(scene.send(&alert).await.one(), ("decline", "duplicate"));
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    // What begins with the new release is about the new release.
    assert_eq!(
        scene.send(&firing(ERRORS)).await.one(),
        ("start", "claimed")
    );
    scene.close().await;
}

/// It comes after the end, while the alert goes on from before: less than a minute is what clocks may differ by.
#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_comes_right_after_the_end_stays() {
    let scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    assert_eq!(ending(&scene.done().await).0, Phase::Succeeded);
    let restored = changes(&scene.sandbox);
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v3-fixed")
        .unwrap();
    scene
        .until_memory(|memory| {
            let live = memory.state().live.clone();
            live.is_some_and(|live| live.revision == 4)
        })
        .await;
    assert_eq!(scene.send(&alert).await.one(), ("decline", "duplicate"));
    assert_eq!(image(&scene.sandbox), "demo:v3-fixed");
    assert_eq!(changes(&scene.sandbox), restored);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_comes_before_the_start_stays() {
    let mut scene = Scene::empty(scene::policy()).await;
    stage::good_release(&scene.sandbox).await;
    stage::bad_canary(&scene.sandbox).await;
    scene.nobody_leads();
    scene.replica().await;
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v3-fixed")
        .unwrap();
    scene
        .until_workload(|object| {
            object["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "3"
        })
        .await;
    scene.somebody_may_lead().await;
    assert_eq!(
        ending(&scene.done().await),
        (Phase::Superseded, "new_release")
    );
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_puts_the_bad_template_back_is_not_fought() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    restored(&scene).await;
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v2-half500")
        .unwrap();
    scene.sandbox.resume_controller();
    overwritten(&scene).await;
    assert_eq!(scene.send(&alert).await.one(), ("decline", "latched"));
    // Once a person has seen to the owner, the same alert starts again.
    let name = scene.only().name().to_owned();
    let seen = json!({"spec": {"acknowledge": name}});
    assert_eq!(
        scene.person(Method::PATCH, "targets/api", seen).await.0,
        200
    );
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    let second = scene.ended(&format!("{name}-2")).await;
    assert_eq!(ending(&second), (Phase::Succeeded, "done"));
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_puts_it_back_during_the_proof_is_not_fought() {
    let scene = unhealthy_destination().await;
    waiting_for_health(&scene).await;
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v2-half500")
        .unwrap();
    overwritten(&scene).await;
    scene.close().await;
}

/// The rollback failed because the bad template is back, and there it stays.
async fn overwritten(scene: &Scene) {
    let done = scene.done().await;
    assert_eq!(
        ending(&done),
        (Phase::Failed, "overwritten"),
        "{}",
        said(&done)
    );
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(memory.latch().unwrap().rollback, done.name());
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert_eq!(image(&scene.sandbox), "demo:v2-half500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_target_has_taken_is_told_and_not_asked_for_ever() {
    let scene = Scene::incident(scene::policy()).await;
    let lock = ripcord::rollback::name::lock(NAME, &crate::engine::live(&scene.sandbox), 1);
    let mut foreign = request(&lock);
    foreign["spec"]["target"] = json!("somebody-else");
    assert_eq!(
        scene.person(Method::POST, "rollbacks", foreign).await.0,
        201
    );
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("decline", "name_taken")
    );
    untouched(&scene.sandbox);
    scene.close().await;
}
