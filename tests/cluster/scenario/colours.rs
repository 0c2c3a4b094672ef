//! Two plain Deployments behind a Service: what somebody switched to is pulled back by switching again.

pub(super) mod ground;

use std::fs;

use serde_json::json;

use self::ground::POLICY;
use super::doctor::{found, is};
use crate::scene::release::GOOD;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// Both colours have pods: one write, and the one that was left keeps its pods.
pub(crate) async fn switched_back() {
    let mut scene = Scene::start("colours, switched back").await;
    let (ripcord, bad) = scene.bad_green().await;
    let work = async {
        let posted = scene.alert(&ripcord).await;
        let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await;
        (posted, rollback)
    };
    let (fewest, (posted, rollback)) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 4, "{fewest} ready endpoints");
    scene.is_on_blue(&rollback).await;
    scene.times(posted, &rollback);
    assert_eq!(scene.parts(), ["services"]);
    assert_eq!(scene.colour("green").await["spec"]["replicas"], 4);
    scene
        .tells_all(&["Service options-api-pinn-fixes selects r1"])
        .await;
    // An alert that comes again is no reason to do anything.
    scene.alert(&ripcord).await;
    assert_eq!(scene.parts(), ["services"]);
}

/// The destination has no pods: it gets as many as serve now, and they are ready before the Service leads there.
pub(crate) async fn brought_up() {
    let mut scene = Scene::start("colours, brought up").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    let work = async {
        scene.alert(&ripcord).await;
        scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await
    };
    let (fewest, rollback) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 4, "{fewest} ready endpoints");
    scene.is_on_blue(&rollback).await;
    assert_eq!(scene.parts(), ["deployments/scale", "services"]);
    let scaled = &rollback["status"]["run"]["steps"][0]["scaled"];
    let blue = format!("{NAME}-blue");
    assert_eq!(*scaled, json!({ "deployment": blue, "from": 0, "to": 4 }));
}

/// Where the procedure says so, what was left is scaled down at the end. All rights that are shipped were used, and no other.
pub(crate) async fn scaled_down() {
    let mut scene = Scene::start("colours, scaled down").await;
    let (_, steps) = POLICY.split_once("      - revert: {}\n").unwrap();
    let more = "      - switch-service: { within: 1m }\n".to_owned()
        + steps.trim_end()
        + "\n      - scale: { replicas: 0 }\n      - gone: {}\n";
    scene.says(&POLICY.replace(&("      - revert: {}\n".to_owned() + steps), &more));
    let (ripcord, bad) = scene.bad_green().await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await;
    scene.is_on_blue(&rollback).await;
    assert_eq!(scene.parts(), ["services", "deployments/scale"]);
    let left = scene.colour("green").await;
    assert_eq!(left["spec"]["replicas"], 0);
    let scaled = &rollback["status"]["run"]["steps"][2]["scaled"];
    assert_eq!((&scaled["from"], &scaled["to"]), (&json!(4), &json!(0)));
    scene.uses_the_rights_that_are_granted();
}

/// Nothing is switched to what never gets ready, and people are told.
pub(crate) async fn never_ready() {
    let mut scene = Scene::start("colours, never ready").await;
    scene.says(&POLICY.replace("- revert: {}", "- switch-service: { within: 5s }"));
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    // No further pod is let in.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": { "name": "full", "namespace": scene.namespaces.release },
        "spec": { "hard": { "pods": "4" } },
    });
    scene.plane.admin.create(&quota).await.unwrap();
    let namespace = &scene.namespaces.release;
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas/full");
    let counted = async || {
        let used = scene.plane.admin.get(&path).await?["status"]["used"].clone();
        (used["pods"] == "4").then_some(())
    };
    until(counted, LIMIT).await.expect("the quota holds");
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "step_timeout", "{rollback:#}");
    assert_eq!(scene.selects().await, "green");
    assert_eq!(scene.parts(), ["deployments/scale"]);
    scene.tells_all(&["0 of 4 pods of", "still selects"]).await;
}

/// The destination's pods stop being ready while the first change is put on record: nothing is switched before they are again.
pub(crate) async fn destination_falters() {
    let mut scene = Scene::start("colours, the destination falters").await;
    let (ripcord, bad) = scene.bad_green().await;
    let memory = json!({
        "apiGroups": ["ripcord.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["targets/status"],
    });
    scene.keep_out(&memory, "false", "Forbidden").await;
    let namespace = &scene.namespaces.release;
    let all = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/targets");
    let path = format!("{all}/options-api/status?dryRun=All");
    let write = async || {
        let none = json!({ "status": { "shown": { "last": "none" } } });
        scene.plane.admin.patch(&path, &none).await
    };
    let kept = async || write().await.is_err().then_some(());
    until(kept, LIMIT).await.expect("it is kept out");
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r1-{bad}");
    let effect = async |wanted: &str| {
        let at = "/status/run/steps/0/intent/effect";
        let rollback = scene.rollback(&name).await?;
        (rollback.pointer(at)? == wanted).then_some(())
    };
    let intended = async || effect("switch_service").await;
    until(intended, LIMIT).await.expect("it is on record");
    let blue = scene.pods("?labelSelector=colour=blue").await;
    for pod in &blue {
        scene.set_ready(pod, false).await;
    }
    scene.let_in().await;
    let waits = async || {
        let rollback = scene.rollback(&name).await?;
        let observed = rollback.pointer("/status/run/steps/0/observed/reason")?;
        (observed == "pods_starting").then_some(())
    };
    until(waits, LIMIT).await.expect("it waits for the pods");
    assert_eq!(scene.selects().await, "green");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
    for pod in &scene.pods("?labelSelector=colour=blue").await {
        scene.set_ready(pod, true).await;
    }
    scene.ended(&name, "Succeeded").await;
    scene.users_are_served().await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    assert_eq!(scene.parts(), ["services"]);
}

/// A person switches back and away again in the middle of ours: theirs is not fought over.
pub(crate) async fn person_switches() {
    let mut scene = Scene::start("colours, a person switches").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r1-{bad}");
    let waits = async || {
        let rollback = scene.rollback(&name).await?;
        let observed = rollback.pointer("/status/run/steps/0/observed/reason")?;
        (observed == "pods_starting").then_some(())
    };
    until(waits, LIMIT).await.expect("it waits for the pods");
    scene.deploy_colour("red", GOOD).await;
    scene.switch("red").await;
    let rollback = scene.ended(&name, "Superseded").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "new_release", "{rollback:#}");
    assert_eq!(scene.selects().await, "red");
    assert_eq!(scene.parts(), ["deployments/scale"]);
}

/// The right to change the Service is gone: nothing is touched.
pub(crate) async fn right_is_missing() {
    let mut scene = Scene::start("colours, a right is missing").await;
    let (ripcord, bad) = scene.bad_green().await;
    let looks = ["get", "list", "watch"];
    scene.may("ripcord-services", "services", &looks).await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Declined").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "permission_missing", "{rollback:#}");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
    scene.is_put_right().await;
    let said = reason["said"].as_str().unwrap();
    assert!(said.contains("patch services in"), "{said}");
}

/// A Rollout leads the Service: that is the controller's.
pub(crate) async fn of_a_rollout() {
    let mut scene = Scene::start("colours, of a Rollout").await;
    let (ripcord, _) = scene.bad_green().await;
    let managed = json!({ "argo-rollouts.argoproj.io/managed-by-rollouts": "shop" });
    scene
        .edit_service(&json!({ "metadata": { "annotations": managed } }))
        .await;
    let declined = scene.is_told_of("service_of_rollout", &ripcord).await;
    scene.is_let_be(&declined, "service_of_rollout");
}

/// Argo CD owns the Service and would switch it back.
pub(crate) async fn of_argo_cd() {
    let mut scene = Scene::start("colours, of Argo CD").await;
    scene.says(POLICY);
    scene.says_who_is_called();
    let (ripcord, bad) = scene.bad_green().await;
    let id = format!("shop:/Service:{}/{NAME}", scene.namespaces.release);
    let tracked = json!({ "argocd.argoproj.io/tracking-id": id });
    scene
        .edit_service(&json!({ "metadata": { "annotations": tracked } }))
        .await;
    let name = format!("{NAME}-r1-{bad}");
    scene
        .is_left(&ripcord, &name, &["Argo CD application shop"])
        .await;
}

/// `doctor` and `drill` see what would be done, and change nothing.
pub(crate) async fn looked_at() {
    let mut scene = Scene::start("colours, looked at").await;
    let (_ripcord, _) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let words = ["drill", "--outside", "--target", "options-api"];
    let (report, code) = found(&scene, &admin, &words).await;
    assert_eq!(code, Some(0), "{report:#}");
    let rights = format!("rights in {} for services", scene.namespaces.release);
    is(&report, "the service", &rights, "ok");
    is(&report, "target options-api", "workload", "ok");
    let sections = report["sections"].as_array().unwrap();
    let drill = sections.last().unwrap()["checks"].as_array().unwrap();
    let tried: Vec<_> = drill
        .iter()
        .filter_map(|it| it["found"].as_str())
        .filter(|it| it.ends_with("the API server would take it"))
        .collect();
    assert_eq!(tried.len(), 2, "{report:#}");
    assert!(
        tried[0].contains("-blue ask for 4 pods instead of 0"),
        "{tried:?}"
    );
    assert!(
        tried[1].contains("let the Service select colour=blue"),
        "{tried:?}"
    );
    assert_eq!(scene.selects().await, "green");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
}
