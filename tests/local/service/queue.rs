//! Who runs when: targets side by side, and the rollbacks of one target in a row.

use reqwest::Method;
use ripcord::cli::demo::fixture;
use ripcord::policy::Policy;
use ripcord::rollback::{Phase, Rollback};
use ripcord::sandbox::Sandbox;
use ripcord::target::Release;
use serde_json::{Value, json};

use super::{ending, restored};
use crate::engine::{image, live, promote};
use crate::support::stage::scene::{self, LATENCY, Scene, firing};
use crate::support::stage::{self, LIMIT, NAME, NAMESPACE};

/// A second target.
const WEB: &str = "web";

/// Two targets, each with a workload of its own name.
fn two_targets() -> Policy {
    let mut policy = scene::policy();
    let mut web = policy.targets[NAME].clone();
    web.name = WEB.into();
    web.workload.name = WEB.into();
    policy.targets.insert(WEB.into(), web);
    policy
}

/// A person's wish to leave a release.
fn request(name: &str, target: &str, severity: &str) -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback", "metadata": {"name": name},
        "spec": {"target": target, "severity": severity, "requestedBy": "jo"},
    })
}

/// Waits until the Rollout of the second target has this image, phase, and number of releases.
async fn until_web(sandbox: &Sandbox, image: &str, phase: &str, revision: &str) {
    let there = sandbox.wait(
        |view| {
            view.object("rollouts", NAMESPACE, WEB).is_some_and(|it| {
                it["spec"]["template"]["spec"]["containers"][0]["image"] == image
                    && it["status"]["phase"] == phase
                    && it["metadata"]["annotations"]["rollout.argoproj.io/revision"] == revision
            })
        },
        LIMIT,
    );
    assert!(there.await, "{:#?}", sandbox.objects("rollbacks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_targets_are_pulled_back_at_the_same_time() {
    let mut scene = Scene::empty(two_targets()).await;
    let steps = json!([{"setWeight": 25}, {"pause": {}}]);
    let web = fixture::rollout(NAMESPACE, WEB, "demo:v1-good", &steps);
    scene.sandbox.apply(web).unwrap();
    stage::good_release(&scene.sandbox).await;
    until_web(&scene.sandbox, "demo:v1-good", "Healthy", "1").await;
    scene.replica().await;
    stage::bad_canary(&scene.sandbox).await;
    scene
        .sandbox
        .deploy(NAMESPACE, WEB, "demo:v2-half500")
        .unwrap();
    until_web(&scene.sandbox, "demo:v2-half500", "Paused", "2").await;
    // As long as the controller does not look, neither gets any further than its restore.
    scene.sandbox.pause_controller();
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    let wish = request("by-jo", WEB, "P1");
    assert_eq!(scene.person(Method::POST, "rollbacks", wish).await.0, 201);
    restored(&scene).await;
    until_web(&scene.sandbox, "demo:v1-good", "Paused", "2").await;
    let both = scene.rollbacks();
    let phases: Vec<_> = both.iter().map(Rollback::phase).collect();
    assert_eq!(phases, [Phase::Running; 2]);
    scene.sandbox.resume_controller();
    for rollback in both {
        let done = scene.ended(rollback.name()).await;
        assert_eq!(ending(&done), (Phase::Succeeded, "done"));
        assert_eq!(done.state().run.over_budget, None);
    }
    until_web(&scene.sandbox, "demo:v1-good", "Healthy", "3").await;
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_target_one_runs_and_of_those_that_wait_the_most_severe_is_next() {
    // Two good releases, so that there is something to return to twice.
    let scene = Scene::open(scene::policy()).await;
    let oldest = live(&scene.sandbox);
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v2-good")
        .unwrap();
    scene
        .until_workload(|it| it["status"]["phase"] == "Paused")
        .await;
    promote(&scene.sandbox).await;
    scene
        .until_memory(|memory| memory.state().history.len() == 2)
        .await;
    let newer = live(&scene.sandbox);
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v3-half500")
        .unwrap();
    scene
        .until_workload(|it| it["status"]["phase"] == "Paused")
        .await;
    scene.sandbox.pause_controller();
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    let first = scene
        .until(|rollback| rollback.state().run.first_mutation.is_some())
        .await;

    // Both wait. What the first restores is the fourth release; the severe wish is to leave that too.
    let minor = request("minor", NAME, "P2");
    assert_eq!(scene.person(Method::POST, "rollbacks", minor).await.0, 201);
    let mut severe = request("severe", NAME, "P0");
    let fourth = Release {
        revision: 4,
        ..newer
    };
    severe["spec"]["release"] = serde_json::to_value(&fourth).unwrap();
    assert_eq!(scene.person(Method::POST, "rollbacks", severe).await.0, 201);
    scene.in_step().await;
    let waiting = |scene: &Scene, name: &str| {
        let all = scene.rollbacks();
        let found = all.iter().find(|it| it.name() == name).unwrap();
        let state = found.state();
        state.phase == Phase::Pending && state.run.epoch == 0
    };
    assert!(waiting(&scene, "severe") && waiting(&scene, "minor"));

    scene.sandbox.resume_controller();
    let first = scene.ended(first.name()).await;
    assert_eq!(ending(&first), (Phase::Succeeded, "done"));
    let severe = scene.ended("severe").await;
    assert_eq!(ending(&severe), (Phase::Succeeded, "done"));
    let minor = scene.ended("minor").await;
    assert_eq!(ending(&minor), (Phase::Declined, "duplicate"));
    let (first, severe) = (&first.state().run, &severe.state().run);
    assert!(severe.started > first.finished, "one after the other");
    let minor = minor.state().run.finished;
    assert!(minor > severe.finished, "the severe one was next");
    assert_eq!(live(&scene.sandbox).hash, oldest.hash);
    scene.close().await;
}
