//! Where Ripcord must not touch anything, and must say so.

use serde_json::{Value, json};

use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// The old replica set is kept by nobody.
pub(crate) async fn history_is_gone() {
    let mut scene = Scene::start("no old replica set").await;
    let spec = json!({ "strategy": pausing(), "revisionHistoryLimit": 0 });
    scene.first(GOOD, &spec).await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    scene.deploy(BAD).await;
    scene.argo(&["promote", NAME, "--full"]);
    scene.is_promoted().await;
    let bad = scene.is_known().await;
    let path = format!(
        "/apis/apps/v1/namespaces/{}/replicasets",
        scene.namespaces.release
    );
    let gone = async || {
        let all = scene.plane.admin.get(&path).await?;
        (all["items"].as_array()?.len() == 1).then_some(())
    };
    until(gone, LIMIT).await.expect("it is cleaned up");
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "no_destination");
}

/// The controller refuses the spec, so that no change of it would have an effect.
pub(crate) async fn invalid_spec() {
    let mut scene = Scene::start("invalid spec").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let nothing = json!({ "maxSurge": 0, "maxUnavailable": 0 });
    scene
        .edit(&json!({ "spec": { "strategy": { "canary": nothing } } }))
        .await;
    let invalid = async || {
        let conditions = scene.rollout().await["status"]["conditions"].clone();
        let mut all = conditions.as_array()?.iter();
        all.any(|it| it["type"] == "InvalidSpec").then_some(())
    };
    until(invalid, LIMIT).await.expect("it is refused");
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "spec_invalid");
}

/// The template lives in a Deployment.
pub(crate) async fn template_elsewhere() {
    let mut scene = Scene::start("template of a Deployment").await;
    let deployment = |image: &str| -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": NAME, "namespace": scene.namespaces.release },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": NAME } },
                "template": {
                    "metadata": { "labels": { "app": NAME } },
                    "spec": { "containers": [{ "name": "app", "image": image, "ports": [{ "name": "http", "containerPort": 8000 }] }] },
                },
            },
        })
    };
    scene.plane.admin.create(&deployment(GOOD)).await.unwrap();
    let reference = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": NAME });
    let path = format!(
        "/apis/apps/v1/namespaces/{}/deployments/{NAME}",
        scene.namespaces.release
    );
    let next = deployment(BAD);
    let spec = json!({ "strategy": pausing(), "template": null, "workloadRef": reference });
    scene.first(GOOD, &spec).await;
    let ripcord = scene.ripcord().await;
    scene.soaked().await;
    let before = scene.live().await;
    scene.plane.admin.patch(&path, &next).await.unwrap();
    let taken_up = async || (scene.live().await != before).then_some(());
    until(taken_up, LIMIT).await.expect("it is taken up");
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "template_elsewhere");
}

/// The alert names a service that the policy has no target for: it is on record in Ripcord's own namespace, and told.
pub(crate) async fn leads_nowhere() {
    let mut scene = Scene::start("an alert that leads to no workload").await;
    scene.policy_says(
        "target: options-api\n    severity: P0",
        "target_from: { namespace: namespace, workload: rollout }\n    severity: P0",
    );
    let (ripcord, _) = scene.bad_canary().await;
    let body = scene.notification(now()).replace(NAME, "checkout");
    for _ in 0..2 {
        assert_eq!(scene.post(&ripcord, body.clone()).await, 200);
    }
    let path = format!(
        "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks",
        scene.namespaces.ripcord
    );
    let told = async || {
        let all = scene.plane.admin.get(&path).await?;
        let [record] = all["items"].as_array()?.as_slice() else {
            return None;
        };
        record.pointer("/status/report/slack/ts")?;
        Some(record.clone())
    };
    let record = until(told, LIMIT).await.expect("it is told");
    scene.is_let_be(&record, "target_unknown");
    let refused = scene.requests().into_iter().find(|it| it.code == 403);
    assert!(refused.is_none(), "{refused:#?}");
}
