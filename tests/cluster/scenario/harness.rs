//! What the scenarios stand on: pods live and answer as their image's tag says, and the API server takes what is shipped.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::plane::audit::Audited;
use crate::plane::witness::Witness;
use crate::scene::{LIMIT, Scene};
use crate::support::replica::{client, until};
use crate::support::story::prelude::*;

/// Pods by the words of their tag.
pub(crate) async fn pods_behave() {
    let scene = Scene::start("pods").await;
    for word in [
        "good",
        "slow",
        "half500",
        "unhealthy",
        "neverready",
        "readyafter2s",
        "dies",
    ] {
        pod(&scene, word).await;
    }
    for word in ["good", "slow", "half500", "unhealthy", "readyafter2s"] {
        until(async || is_ready(&scene, word, true).await, LIMIT)
            .await
            .expect(word);
    }
    let late = scene
        .plane
        .admin
        .get(&path(&scene, "readyafter2s"))
        .await
        .unwrap();
    let ready = condition(&late).unwrap();
    let [began, ready] = [&late["status"]["startTime"], &ready["lastTransitionTime"]].map(|at| {
        let at: jiff::Timestamp = at.as_str().unwrap().parse().unwrap();
        at
    });
    // They are whole seconds.
    assert!(
        ready.duration_since(began).as_secs() >= 1,
        "{began} {ready}"
    );

    assert_eq!(
        ask(&scene, "good", "/price").await,
        Some((200, json!(null)))
    );
    assert_eq!(
        ask(&scene, "good", "/health/pinn").await,
        Some((200, json!("healthy")))
    );
    assert_eq!(
        ask(&scene, "unhealthy", "/health/pinn").await,
        Some((200, json!("degraded")))
    );
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(ask(&scene, "half500", "/price").await.unwrap().0);
    }
    assert_eq!(codes, [200, 500, 200, 500]);
    let began = std::time::Instant::now();
    ask(&scene, "slow", "/price").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));

    // One that is not ready runs, and one that has died does not.
    assert!(is_ready(&scene, "neverready", false).await.is_some());
    assert_eq!(
        ask(&scene, "neverready", "/price").await,
        Some((200, json!(null)))
    );
    let died = async || {
        is_ready(&scene, "dies", false).await?;
        ask(&scene, "dies", "/price").await.is_none().then_some(())
    };
    until(died, LIMIT).await.expect("it dies");
}

/// A pod counts what it has answered, by code, by time and by whether it was the model's, and neither itself being read nor
/// what another has answered. One that crashes has answered all its life.
pub(crate) async fn pods_count() {
    let scene = Scene::start("pods count").await;
    for word in ["half500", "slow", "fallsback", "crashes"] {
        pod(&scene, word).await;
        until(async || is_ready(&scene, word, true).await, LIMIT)
            .await
            .expect(word);
    }
    let counted = page(&scene, "half500").await;
    assert_eq!(counted.matches("http_requests_total{").count(), 0);
    for _ in 0..3 {
        ask(&scene, "half500", "/price").await.unwrap();
        page(&scene, "half500").await;
    }
    ask(&scene, "half500", "/health/pinn").await.unwrap();
    ask(&scene, "slow", "/price").await.unwrap();
    let counted = page(&scene, "half500").await;
    for line in [
        r#"http_requests_total{handler="price",code="200"} 2"#,
        r#"http_requests_total{handler="price",code="500"} 1"#,
        r#"http_requests_total{handler="health",code="200"} 1"#,
        r#"pinn_prediction_latency_seconds_bucket{le="0.26"} 3"#,
        "pinn_prediction_latency_seconds_count 3",
        "pinn_fallback_predictions_total 0",
    ] {
        assert!(counted.lines().any(|it| it == line), "{line}: {counted}");
    }
    let slow = page(&scene, "slow").await;
    let line = r#"pinn_prediction_latency_seconds_bucket{le="0.26"} 0"#;
    assert!(slow.lines().any(|it| it == line), "{slow}");
    for _ in 0..4 {
        ask(&scene, "fallsback", "/price").await.unwrap();
    }
    let fallen = page(&scene, "fallsback").await;
    let line = "pinn_fallback_predictions_total 2";
    assert!(fallen.lines().any(|it| it == line), "{fallen}");
    // Twenty times; being looked at does not count.
    page(&scene, "crashes").await;
    let mut given = 0;
    while ask(&scene, "crashes", "/price").await.is_some() {
        given += 1;
    }
    assert_eq!(given, 20);
    assert!(ask(&scene, "crashes", "/health/pinn").await.is_none());
}

/// All of `deploy/`, the parts that no scenario uses included, is valid for a real API server.
pub(crate) async fn manifests_are_accepted() {
    let scene = Scene::start("manifests").await;
    let judged = scene
        .plane
        .dry_run(scene.folder.path(), &scene.namespaces.ripcord);
    judged.await.unwrap();
}

/// What the proxy notes that stands in for the audit log on somebody's cluster is what the log notes of Ripcord.
pub(crate) async fn witness_agrees() {
    let mut scene = Scene::start("the witness").await;
    scene.witness = Some(Witness::start(&scene.plane.kubeconfig()).await.unwrap());
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_pulled_back(&ripcord, &bad).await;
    drop(ripcord);
    let mut both = [Noted::default(), Noted::default()];
    let agree = async || {
        both = [scene.requests(), scene.witnessed()].map(|all| noted(&all));
        (both[0] == both[1]).then_some(())
    };
    let agree = until(agree, LIMIT).await;
    assert!(agree.is_some(), "{both:#?}");
    // It is not that both saw nothing.
    let [(writes, reads), _] = both;
    for write in [
        "patch rollouts/ ",
        "create rollbacks/ ",
        "patch rollbacks/status ",
    ] {
        assert!(
            writes.iter().any(|it| it.starts_with(write)),
            "{write}: {writes:#?}"
        );
    }
    assert!(
        reads.iter().any(|it| it.starts_with("watch rollouts/ ")),
        "{reads:#?}"
    );
}

/// The writes, each as often as it was made, and what was read at all.
type Noted = (Vec<String>, BTreeSet<String>);

fn noted(all: &[Audited]) -> Noted {
    let line = |it: &Audited| {
        let Audited {
            verb,
            resource,
            subresource,
            namespace,
            name,
            code,
            ..
        } = it;
        // Of what is created, the log has the defaults, too. A name that is only selected is none in a path.
        let (name, body) = match verb.as_str() {
            "patch" => (name.as_str(), it.body.to_string()),
            "create" => ("", String::new()),
            _ => (
                if it.is_write() { name.as_str() } else { "" },
                String::new(),
            ),
        };
        format!("{verb} {resource}/{subresource} {namespace}/{name} {code} {body}")
    };
    let (writes, reads): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.is_write());
    let mut writes: Vec<_> = writes.into_iter().map(line).collect();
    writes.sort();
    (writes, reads.into_iter().map(line).collect())
}

async fn pod(scene: &Scene, word: &str) {
    let container = json!({ "name": "app", "image": format!("demo:v1-{word}") });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": word, "namespace": scene.namespaces.release },
        "spec": { "containers": [container] },
    });
    // The account that pods run as comes a moment after its namespace.
    until(async || scene.plane.admin.create(&pod).await.ok(), LIMIT)
        .await
        .expect("a pod");
}

fn path(scene: &Scene, word: &str) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{word}",
        scene.namespaces.release
    )
}

async fn is_ready(scene: &Scene, word: &str, ready: bool) -> Option<()> {
    let pod = scene.plane.admin.get(&path(scene, word)).await?;
    let wanted = if ready { "True" } else { "False" };
    pod["status"]["podIP"].as_str()?;
    (condition(&pod)?["status"] == wanted).then_some(())
}

fn condition(pod: &Value) -> Option<&Value> {
    let mut conditions = pod["status"]["conditions"].as_array()?.iter();
    conditions.find(|it| it["type"] == "Ready")
}

/// The metrics of a pod.
async fn page(scene: &Scene, word: &str) -> String {
    let answer = get(scene, word, "/metrics").await.expect("an answer");
    answer.text().await.unwrap()
}

async fn get(scene: &Scene, word: &str, what: &str) -> Option<Response> {
    let pod = scene.plane.admin.get(&path(scene, word)).await?;
    let address = pod["status"]["podIP"].as_str()?;
    let url = format!("http://{address}:8000{what}");
    client().get(url).send().await.ok()
}

/// The code and the state of an answer, if a pod gives one.
async fn ask(scene: &Scene, word: &str, what: &str) -> Option<(u16, Value)> {
    let answer = get(scene, word, what).await?;
    let code = answer.status().as_u16();
    let body: Value = answer.json().await.ok()?;
    Some((code, body["overall_status"].clone()))
}
