//! A bad canary whose traffic is split by a router. No client sees its weights here: they are judged at the API.

use serde_json::{Value, json};

use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// The router sends 60 % to the bad release.
pub(crate) async fn nginx() {
    let scene = Scene::start("canary behind nginx at 60 %").await;
    pulled_back(scene, &json!({})).await;
}

/// The stable release is scaled down while the bad one takes its traffic, and must be there again before it does.
pub(crate) async fn nginx_dynamic_stable_scale() {
    let scene = Scene::start("canary behind nginx, dynamic scale").await;
    pulled_back(scene, &json!({ "dynamicStableScale": true })).await;
}

/// The canary has more pods than its weight asks for.
pub(crate) async fn nginx_set_canary_scale() {
    let scene = Scene::start("canary behind nginx, setCanaryScale").await;
    let steps =
        json!([{ "setCanaryScale": { "replicas": 3 } }, { "setWeight": 60 }, { "pause": {} }]);
    pulled_back(scene, &json!({ "steps": steps })).await;
}

/// A pod of the stable release is not ready. The controller moves no weight until it is: `abort` is of no use, and the
/// template that was restored takes effect as soon as the pod is back.
pub(crate) async fn nginx_stable_not_ready() {
    let mut scene = Scene::start("canary behind nginx, stable pod unready").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    // One that is going away already would not be missed.
    let pod = scene.serving().await.remove(0);
    let before = scene.rollout().await["status"]["availableReplicas"]
        .as_i64()
        .unwrap();
    scene.set_ready(&pod, false).await;
    scene
        .status_is("the controller has noticed", |status| {
            status["availableReplicas"] == before - 1
        })
        .await;
    scene.argo(&["abort", NAME]);
    scene
        .status_is("it is aborted", |status| status["abortedAt"].is_string())
        .await;
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let waits = async || {
        let rollback = scene.rollback(&name).await?;
        let observed = rollback["status"]["run"]["steps"][0]["observed"].clone();
        let said = observed["said"].as_str()?;
        said.contains("still sends weight 60").then_some(())
    };
    until(waits, LIMIT)
        .await
        .expect("it says what it waits for");
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    scene.set_ready(&pod, true).await;
    let rollback = scene.ended(&name, "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(scene.weight().await.as_deref().unwrap_or("0"), "0");
    scene.times(posted, &rollback);
}

/// The abort is taken and the template is kept out: the end says what is left.
pub(crate) async fn nginx_template_kept_out() {
    let mut scene = Scene::start("canary behind nginx, template kept out").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.good_is_kept_out().await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let rollback = scene.ended(&name, "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "rejected", "{rollback:#}");
    let left = "is aborted, and its template is still in the spec";
    assert!(reason["said"].as_str().unwrap().contains(left), "{reason}");
    scene.tells_all(&[left]).await;
    assert_eq!(scene.live().await, bad);
    assert_eq!(scene.weight().await.as_deref().unwrap_or("0"), "0");
    scene.good_is_let_in().await;
}

/// A canary behind it whose spec is Argo CD's.
pub(crate) async fn nginx_of_argo_cd() {
    let mut scene = Scene::start("canary behind nginx, of Argo CD").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.is_tracked_by("shop").await;
    scene
        .is_aborted(&ripcord, &bad, "Argo CD application shop")
        .await;
    assert_eq!(scene.weight().await.as_deref().unwrap_or("0"), "0");
}

async fn pulled_back(mut scene: Scene, more: &Value) {
    let (ripcord, bad) = scene.bad_split(more).await;
    scene.is_pulled_back(&ripcord, &bad).await;
    assert_eq!(scene.weight().await.as_deref().unwrap_or("0"), "0");
}
