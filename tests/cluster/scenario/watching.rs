//! What is seen and said, and nothing done: the shadow example of `deploy/`, and `ripcord explain --live`.

use std::fs;

use serde_json::{Value, json};

use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::until;
use crate::support::story::prelude::*;
use crate::typed::{self, Ended};

const SHADOW: &str = include_str!("../../../deploy/rbac/shadow-namespace/role.yaml");

/// With the rights of `deploy/examples/shadow` and the setting that goes with them, an alert that would act leads to a plan
/// that nobody carries out.
pub(crate) async fn shadow() {
    let mut scene = Scene::start("shadow").await;
    scene.mode = "shadow";
    let role: Value = serde_saphyr::from_str(SHADOW).unwrap();
    let namespace = &scene.namespaces.release;
    let path =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/ripcord-release");
    let rules = json!({ "rules": role["rules"] });
    scene.plane.admin.patch(&path, &rules).await.unwrap();
    for subresource in ["", "status"] {
        assert!(!may(&scene, "patch", subresource).await, "{subresource}");
    }
    assert!(may(&scene, "get", "").await);

    let (ripcord, bad) = scene.bad_canary().await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}-shadow");
    let told = async || {
        let rollback = scene.rollback(&name).await?;
        rollback.pointer("/status/report/slack/ts")?;
        (rollback["status"]["phase"] == "Shadowed").then_some(rollback)
    };
    let rollback = until(told, LIMIT).await.expect("it is planned and told");
    let said = rollback["status"]["reason"]["said"].as_str().unwrap();
    assert!(said.starts_with("would pull r2"), "{said}");
    assert_eq!(rollback["status"]["plan"]["from"]["hash"], bad);
    let mutations = scene.mutations();
    assert!(mutations.is_empty(), "{mutations:#?}");
    let refused = scene.requests().into_iter().find(|it| it.code == 403);
    assert!(refused.is_none(), "nothing is tried in vain: {refused:#?}");
    scene.rollout_is("Paused").await;
}

/// Whether Ripcord's account may do this to Rollouts.
async fn may(scene: &Scene, verb: &str, subresource: &str) -> bool {
    let user = format!("system:serviceaccount:{}:ripcord", scene.namespaces.ripcord);
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {
            "namespace": scene.namespaces.release, "verb": verb, "group": "argoproj.io",
            "resource": "rollouts", "subresource": subresource,
        }},
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = scene.plane.admin.post(path, &review).await.unwrap();
    answer["status"]["allowed"] == true
}

/// A person asks what an alert would lead to, before it comes and after.
pub(crate) async fn explained() {
    let mut scene = Scene::start("explain --live").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let before = explain(&scene).await;
    let verdict = &before["alerts"][0]["live"];
    assert_eq!(verdict["decision"], "start", "{before:#}");
    assert_eq!(verdict["reason"], "claimed");
    assert_eq!(verdict["leader"]["would"], "run", "{before:#}");
    let said = verdict["leader"]["said"].as_str().unwrap().to_owned();
    let lock = format!("{NAME}-r2-{bad}");
    let rollback = format!("{}/{lock}", scene.namespaces.release);
    assert_eq!(verdict["rollback"], rollback);
    let sight = &before["targets"][0];
    assert!(sight["live"].as_str().unwrap().contains(&bad), "{sight:#}");
    assert_eq!(sight["rights"], "all that a rollback needs");
    assert!(scene.rollback(&lock).await.is_none(), "nothing was made");
    assert!(scene.mutations().is_empty());

    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    let plan = &rollback["status"]["plan"];
    let to = plan["to"]["hash"].as_str().unwrap();
    assert!(
        said.contains(to) && said.contains(plan["chosen"].as_str().unwrap()),
        "{said}"
    );
    let after = explain(&scene).await;
    let verdict = &after["alerts"][0]["live"];
    assert_eq!(verdict["decision"], "decline", "{after:#}");
    assert_eq!(verdict["reason"], "duplicate");
}

/// What a person with all rights is told.
async fn explain(scene: &Scene) -> Value {
    let folder = scene.folder.path();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let policy = file("explained.yaml", &scene.policy);
    let payload = file("payload.json", &scene.notification(now()));
    let mut command = typed::ripcord();
    command
        .arg("explain")
        .arg(payload)
        .args(["--live", "--format", "json", "--policy"])
        .arg(policy)
        .arg("--kubeconfig")
        .arg(scene.plane.kubeconfig())
        .env("POD_NAMESPACE", &scene.namespaces.ripcord);
    let ended = Ended::of(&mut command).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serde_json::from_str(&ended.out).unwrap()
}
