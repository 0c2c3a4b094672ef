//! A bad canary whose traffic is split by a router. No client sees its weights here: they are judged at the API.

use serde_json::{Value, json};

use crate::scene::release::BAD;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};

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

/// The same where its spec is Argo CD's.
pub(crate) async fn nginx_of_argo_cd() {
    let mut scene = Scene::start("canary behind nginx, of Argo CD").await;
    let (ripcord, bad) = split(&mut scene, &json!({})).await;
    scene.is_tracked_by("shop").await;
    scene
        .is_aborted(&ripcord, &bad, "Argo CD application shop")
        .await;
    assert_eq!(weight(&scene).await.as_deref().unwrap_or("0"), "0");
}

async fn pulled_back(mut scene: Scene, more: &Value) {
    let (ripcord, bad) = split(&mut scene, more).await;
    scene.is_pulled_back(&ripcord, &bad).await;
    assert_eq!(weight(&scene).await.as_deref().unwrap_or("0"), "0");
}

/// The weight of the bad release, where the router splits.
async fn weight(scene: &Scene) -> Option<String> {
    let canary = format!("{}/{NAME}-front-canary", ingresses(scene));
    let ingress = scene.plane.admin.get(&canary).await?;
    let annotations = ingress["metadata"]["annotations"].clone();
    let weight = annotations["nginx.ingress.kubernetes.io/canary-weight"].as_str()?;
    Some(weight.to_owned())
}

fn ingresses(scene: &Scene) -> String {
    format!(
        "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
        scene.namespaces.release
    )
}

/// A bad canary that a router sends a part of the traffic to.
async fn split(scene: &mut Scene, more: &Value) -> (Replica, String) {
    let [stable, canary] = ["stable", "canary"].map(|role| format!("{NAME}-{role}"));
    scene.front.clone_from(&stable);
    scene.service(&canary).await;
    let backend = json!({ "service": { "name": stable, "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "front", "namespace": scene.namespaces.release },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "x.test", "http": { "paths": [path] } }] },
    });
    let ingresses = ingresses(scene);
    scene.plane.admin.post(&ingresses, &ingress).await.unwrap();
    let mut strategy = json!({
        "stableService": stable, "canaryService": canary, "steps": [{ "setWeight": 60 }, { "pause": {} }],
        "trafficRouting": { "nginx": { "stableIngress": "front" } },
    });
    json_patch::merge(&mut strategy, more);
    let ripcord = scene.good(&json!({ "canary": strategy })).await;
    scene.deploy(BAD).await;
    let split = async || (weight(scene).await? == "60").then_some(());
    until(split, LIMIT).await.expect("the router splits");
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    (ripcord, bad)
}
