//! Where GitOps owns the spec: an update in flight is aborted, and nothing else is done to the workload.

use std::time::Duration;

use ripcord::rollback::Phase;
use ripcord::sandbox::Sandbox;
use ripcord::target::Ownership;
use serde_json::{Value, json};

use super::hands::unhealthy_destination;
use super::{ending, said, untouched};
use crate::engine::{changes, image, promote};
use crate::support::proxy::{Act, Fault};
use crate::support::stage::scene::{self, ERRORS, LATENCY, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};

const BAD: &str = "demo:v2-half500";

/// What Argo CD leaves on the workload that it tracks.
fn tracked() -> Value {
    let id = format!("shop:argoproj.io/Rollout:{NAMESPACE}/{NAME}");
    json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": id}}})
}

/// A bad canary of Argo CD's that waits at its first pause.
async fn incident(policy: ripcord::policy::Policy) -> Scene {
    let scene = Scene::incident(policy).await;
    scene.patch_workload("", tracked()).await;
    scene
}

/// Waits until the workload serves the stable release, while its spec holds the bad one.
async fn aborted(scene: &Scene) {
    let aborted = |object: &Value| object["status"]["phase"] == "Degraded";
    scene.until_workload(aborted).await;
    assert_eq!(image(&scene.sandbox), BAD);
}

fn template_is_left(sandbox: &Sandbox) {
    let all = changes(sandbox);
    assert!(all.iter().all(|part| part == "status"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_in_flight_is_aborted_once_and_repeats_cost_nothing() {
    let scene = incident(scene::policy()).await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    let done = scene.done().await;
    assert_eq!(
        ending(&done),
        (Phase::Succeeded, "done"),
        "{:#?}",
        done.status
    );
    let state = done.state();
    let evidence = state.run.steps[0].observed.clone().unwrap();
    assert_eq!(evidence.reason.code(), "aborted");
    assert!(
        evidence.said.contains("Argo CD application shop"),
        "{}",
        evidence.said
    );
    assert!(
        state.run.first_mutation.is_some() && state.run.first_mutation <= state.run.traffic_back
    );
    aborted(&scene).await;
    assert_eq!(changes(&scene.sandbox), ["status"]);
    let mark = scene.mark();
    for again in [alert, firing(LATENCY), firing(ERRORS)] {
        assert_eq!(scene.send(&again).await.one(), ("decline", "duplicate"));
    }
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    // Its owner reverts it: nobody aborts or restores that.
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v1-good")
        .unwrap();
    scene
        .until_workload(|object| object["status"]["phase"] == "Healthy")
        .await;
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("decline", "duplicate")
    );
    assert_eq!(scene.only().name(), done.name());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_goes_on_after_an_abort_latches() {
    let at_once = |target: &mut ripcord::target::Target| target.settle = Duration::ZERO;
    let scene = incident(scene::policy_with(at_once)).await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    scene.done().await;
    assert_eq!(scene.send(&alert).await.one(), ("decline", "still_firing"));
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(memory.latch().unwrap().rollback, scene.only().name());
    assert_eq!(scene.send(&alert).await.one(), ("decline", "latched"));
    assert_eq!(changes(&scene.sandbox), ["status"]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_that_is_lost_is_asked_for_again() {
    let scene = incident(scene::policy()).await;
    scene.sandbox.lose_status_requests(2);
    scene.send(&firing(LATENCY)).await;
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    aborted(&scene).await;
    assert_eq!(changes(&scene.sandbox), ["status"; 3]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_promotion_that_was_asked_for_is_withdrawn_with_the_abort() {
    let scene = incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    scene
        .patch_workload("/status", json!({"status": {"promoteFull": true}}))
        .await;
    scene.send(&firing(LATENCY)).await;
    scene
        .until_workload(|object| object["status"]["abort"] == true)
        .await;
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    aborted(&scene).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promoted_is_left_to_its_owner_at_once_and_once() {
    let scene = incident(scene::policy()).await;
    promote(&scene.sandbox).await;
    scene
        .until_memory(|memory| memory.state().history.len() == 2)
        .await;
    let alert = firing(LATENCY);
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "owned_elsewhere")
    );
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Declined, "owned_elsewhere"));
    assert!(
        said(&done).contains("Argo CD application shop") && said(&done).contains("is promoted"),
        "{}",
        said(&done)
    );
    untouched(&scene.sandbox);
    let mark = scene.mark();
    for again in [alert, firing(ERRORS)] {
        assert_eq!(
            scene.send(&again).await.one(),
            ("decline", "owned_elsewhere")
        );
    }
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    assert!(scene.memory().unwrap().latch().is_none());
    assert!(scene.memory().unwrap().state().blamed.is_empty());
    scene.close().await;
}

/// It is promoted while the request is on its way: its conditions no longer hold, and nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_promoted_before_the_abort_arrives_is_left_to_its_owner() {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.patch_workload("", tracked()).await;
    scene.proxy().on(|seen| {
        if seen.mutates() && seen.path.ends_with(&format!("/rollouts/{NAME}/status")) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.send(&firing(LATENCY)).await;
    assert!(
        scene.proxy().held(stage::LIMIT).await,
        "it is about to abort"
    );
    promote(&scene.sandbox).await;
    scene.proxy().on(|_| Act::Forward);
    scene.proxy().release();
    let done = scene.done().await;
    assert_eq!(
        ending(&done),
        (Phase::Declined, "owned_elsewhere"),
        "{:#?}",
        done.status
    );
    let memory = scene.memory().unwrap();
    assert!(memory.state().blamed.is_empty(), "nothing was done to it");
    assert!(!done.touched(), "and it does not count as if it had been");
    untouched(&scene.sandbox);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_takes_the_abort_back_is_not_fought() {
    let scene = unhealthy_destination().await;
    scene.patch_workload("", tracked()).await;
    scene.send(&firing(LATENCY)).await;
    let proving = scene.until(|rollback| {
        let state = rollback.state();
        let step = state.run.steps.get(1).and_then(|it| it.observed.clone());
        step.is_some_and(|found| found.reason.code() == "unhealthy")
    });
    proving.await;
    scene
        .patch_workload("/status", json!({"status": {"abort": false}}))
        .await;
    let done = scene.done().await;
    assert_eq!(
        ending(&done),
        (Phase::Failed, "overwritten"),
        "{}",
        said(&done)
    );
    assert!(
        said(&done).contains("took the abort back"),
        "{}",
        said(&done)
    );
    scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(changes(&scene.sandbox), ["status"]);
    scene.close().await;
}

/// The users are served already: that is proved, and nothing is done, however often it is alerted on.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_aborted_is_proved_once() {
    let scene = incident(scene::policy()).await;
    scene
        .patch_workload("/status", json!({"status": {"abort": true}}))
        .await;
    aborted(&scene).await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    untouched(&scene.sandbox);
    assert_eq!(scene.send(&alert).await.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), done.name());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_says_who_owns_a_spec() {
    let gitops = |target: &mut ripcord::target::Target| target.ownership = Ownership::Gitops;
    let scene = Scene::incident(scene::policy_with(gitops)).await;
    scene.send(&firing(LATENCY)).await;
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    template_is_left(&scene.sandbox);
    scene.close().await;

    let nobody = |target: &mut ripcord::target::Target| target.ownership = Ownership::None;
    let scene = incident(scene::policy_with(nobody)).await;
    scene.send(&firing(LATENCY)).await;
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}
