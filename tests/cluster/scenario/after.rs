//! Numbers of a real Prometheus: a step waits for one, and the release is looked at right after the end.

use serde_json::Value;

use crate::prometheus::Prometheus;
use crate::scene::release::GOOD;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::shipped;
use crate::support::story::prelude::*;

/// What fails of the requests to the destination, in per cent.
const ERRORS: &str = r#"100 * sum(rate(http_requests_total{handler="price", code=~"5..", namespace="{{ namespace }}", rollouts_pod_template_hash="{{ hash }}"}[5s]) or vector(0)) / sum(rate(http_requests_total{handler="price", namespace="{{ namespace }}", rollout="{{ workload }}", rollouts_pod_template_hash="{{ hash }}"}[5s]))"#;

/// A scene whose replicas ask a Prometheus that watches the release.
async fn watched(name: &'static str) -> (Scene, Prometheus) {
    let mut scene = Scene::start(name).await;
    // Nobody listens for alerts there: these stories post theirs by hand.
    let prometheus = Prometheus::start(
        scene.folder.path(),
        scene.plane.admin.client(),
        &scene.namespaces.release,
        "127.0.0.1:1",
        10,
    )
    .await;
    scene.prometheus = Some(prometheus.url().to_owned());
    (scene, prometheus)
}

/// What was seen right after the end, once that is told.
async fn looked(scene: &Scene, lock: &str) -> Value {
    let looked = async || {
        let rollback = scene.rollback(lock).await?;
        let check = rollback.pointer("/status/after/checks/0")?.clone();
        let told = rollback.pointer("/status/report/slack/told")?.as_array()?;
        told.iter().any(|it| it == "after/0m").then_some(check)
    };
    let looked = until(looked, LIMIT).await;
    looked.expect("it is looked at, and told")
}

/// The rollback ends when few enough requests fail, and that is still so right after the end.
pub(crate) async fn numbers_are_good() {
    let (mut scene, _prometheus) = watched("numbers after a rollback").await;
    let shipped = "      - healthy: { consecutive: 3, every: 500ms, within: 2m }\n";
    let step = format!(
        "{shipped}      - metric: {{ name: errors, query: '{ERRORS}', unit: \"%\", good_below: 5, consecutive: 3, every: 1s, within: 1m }}\n"
    );
    scene.policy_says(shipped, &step);
    let ready =
        r#"count(up{namespace="{{ namespace }}", rollouts_pod_template_hash="{{ hash }}"} == 1)"#;
    scene.target_has(&format!(
        "after: [{{ name: errors, query: '{ERRORS}', unit: \"%\", good_below: 5 }}, {{ name: pods scraped, query: '{ready}', good_above: 0 }}, {{ name: hit rate, query: 'cache_hits', unit: \"%\", good_above: 80 }}]"
    ));
    let (ripcord, bad) = scene.bad_canary().await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    let steps = &rollback["status"]["run"]["steps"];
    assert_eq!(steps[2]["observed"]["reason"], "metric_good", "{steps:#}");

    let check = looked(&scene, &format!("{NAME}-r2-{bad}")).await;
    let numbers = &check["numbers"];
    assert_eq!(check["minutes"], 0, "{check:#}");
    assert_eq!(
        (&numbers[0]["good"], &numbers[1]["good"]),
        (&true.into(), &true.into()),
        "{check:#}"
    );
    // What nobody measures is not good.
    assert_eq!(numbers[2]["good"], false, "{check:#}");
    assert_eq!(
        numbers[2]["said"],
        "hit rate: no data: the query gives no series"
    );
    let mut messages = scene.slack.messages().into_iter();
    assert!(
        messages.any(|it| it.broadcast && it.text.contains("right after the end, not all is well"))
    );
}

/// The looks that are shipped, by the rules that are: each number is measured, and each is good.
pub(crate) async fn looks_as_shipped() {
    let (mut scene, prometheus) = watched("the shipped looks").await;
    scene.target_has(shipped::looks().trim());
    let (ripcord, bad) = scene.bad_canary().await;
    let good = scene.rollout().await["status"]["stableRS"].clone();
    // What takes longest to be measured for the first time.
    let hits = format!("release:cache_hits:ratio{{rollouts_pod_template_hash={good}}}");
    let measured = async || (!prometheus.ask(&hits).await.is_empty()).then_some(());
    until(measured, LIMIT).await.expect("it is measured");

    scene.is_pulled_back(&ripcord, &bad).await;
    let check = looked(&scene, &format!("{NAME}-r2-{bad}")).await;
    let numbers = check["numbers"].as_array().unwrap();
    assert_eq!(numbers.len(), 5, "{check:#}");
    for number in numbers {
        assert_eq!(number["good"], true, "{check:#}");
    }
    scene.tells("right after the end, all is well: P95").await;
}

/// The number is not good enough in its time: the destination is healthy and keeps the traffic, and it is said what failed.
pub(crate) async fn numbers_stay_bad() {
    let (mut scene, _prometheus) = watched("numbers that stay bad").await;
    let ready =
        "count(up{namespace=\"{{ namespace }}\", rollouts_pod_template_hash=\"{{ hash }}\"} == 1)";
    scene.measures(&format!(
        "name: pods scraped, query: '{ready}', good_above: 100"
    ));
    let (ripcord, bad) = scene.bad_canary().await;
    scene.fails(&ripcord, &bad, "metric_bad").await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    scene.tells("(good above 100)").await;
    scene.tells("healthy, but metric failed").await;
}

/// Prometheus has gone away when it is asked: that proves nothing.
pub(crate) async fn nobody_measures() {
    let (mut scene, prometheus) = watched("numbers that nobody has").await;
    scene.measures(&format!("name: errors, query: '{ERRORS}', good_below: 5"));
    let (ripcord, bad) = scene.bad_canary().await;
    drop(prometheus);
    scene.fails(&ripcord, &bad, "metric_unknown").await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    scene.tells("healthy, but metric failed").await;
}

impl Scene {
    /// Lets the alert's procedure end with this number, which has five seconds to be good.
    fn measures(&mut self, measure: &str) {
        let shipped = "      - healthy: { consecutive: 3, every: 500ms, within: 2m }\n";
        let step = format!(
            "{shipped}      - metric: {{ {measure}, consecutive: 1, every: 500ms, within: 5s }}\n"
        );
        self.policy_says(shipped, &step);
    }
}
