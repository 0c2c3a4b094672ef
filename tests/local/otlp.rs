//! What a collector of spans is sent: one trace for each rollback, whoever runs it, and no trouble where there is none.

mod collector;

use std::time::Duration;

use ripcord::config::settings::Settings;
use ripcord::rollback::{Phase, Rollback};
use ripcord::telemetry::otlp::{Destination, Export};
use ripcord::telemetry::{Metrics, Span, Spans};
use serde_json::json;
use tokio::time::Instant;

use self::collector::{Collector, Taken, names};
use crate::support::rollback;
use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, ERRORS, LATENCY, Scene, firing, group};
use crate::support::stage::{self, NAMESPACE};

/// What Alertmanager sends with its tracing on.
const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The trace of a rollback, as people find it.
fn trace_of(rollback: &Rollback) -> String {
    rollback.metadata.uid.clone().unwrap().replace('-', "")
}

fn only<'a>(spans: &'a [Taken], name: &str) -> &'a Taken {
    let mut found = spans.iter().filter(|it| it.span.name == name);
    let first = found.next();
    let first = first.unwrap_or_else(|| panic!("no {name} in {:?}", names(spans)));
    assert!(found.next().is_none(), "two of {name}: {:?}", names(spans));
    first
}

fn has_whole(spans: &[Taken]) -> bool {
    names(spans).contains(&"rollback")
}

/// Every span belongs to one trace, which has one root, and every other's parent is among them.
fn one_tree(spans: &[Taken], trace: &str) {
    let root = only(spans, "rollback");
    assert!(root.span.parent_span_id.is_empty());
    for taken in spans {
        assert_eq!(hex(&taken.span.trace_id), trace, "{taken:?}");
        assert!(taken.span.start_time_unix_nano <= taken.span.end_time_unix_nano);
        let parent = &taken.span.parent_span_id;
        let known = spans.iter().any(|it| it.span.span_id == *parent);
        assert!(parent.is_empty() || known, "{taken:?}");
        assert_eq!(taken.said["k8s.namespace.name"], NAMESPACE);
        assert_eq!(taken.resource["service.name"], "ripcord");
    }
}

fn links(taken: &Taken) -> Vec<String> {
    let links = taken.span.links.iter();
    links
        .map(|link| format!("{}-{}", hex(&link.trace_id), hex(&link.span_id)))
        .collect()
}

async fn post(scene: &Scene, alert: &str, traceparent: &str) {
    scene.in_step().await;
    let url = format!("http://{}/api/v1/alerts", scene.replicas[0].addr);
    let body = serde_json::to_string(&group(&[firing(alert)])).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(url).header("traceparent", traceparent).body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_one_trace_linked_to_what_led_to_it() {
    let collector = Collector::start(&[]).await;
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C0OPS1");
    let mut scene = Scene::empty(scene::policy()).await;
    scene.collector = Some(collector.url.clone());
    scene.slack = Some(slack.url());
    scene.opens().await;
    stage::bad_canary(&scene.sandbox).await;
    post(&scene, LATENCY, SENT).await;
    let done = scene.done().await;
    assert_eq!(done.phase(), Phase::Succeeded);
    let told = |spans: &[Taken]| has_whole(spans) && names(spans).contains(&"report post");
    collector.until(told).await;
    scene.close().await;

    let spans = collector.spans();
    one_tree(&spans, &trace_of(&done));
    let root = only(&spans, "rollback");
    for part in [
        "claim",
        "admit",
        "plan",
        "step revert",
        "step healthy",
        "report post",
    ] {
        let parent = &only(&spans, part).span.parent_span_id;
        assert_eq!(*parent, root.span.span_id, "{part}");
    }
    let revert = only(&spans, "step revert");
    let restore = only(&spans, "effect restore_template");
    assert_eq!(restore.span.parent_span_id, revert.span.span_id);
    let sender = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    for linked in ["rollback", "claim"] {
        assert_eq!(links(only(&spans, linked)), [sender]);
    }
    assert!(links(revert).is_empty());
    assert_eq!(root.said["ripcord.phase"], "Succeeded");
    assert_eq!(root.said["ripcord.rollback"], done.name());
    let recovery: f64 = root.said["ripcord.recovery.seconds"].parse().unwrap();
    assert!(recovery > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_goes_on_with_the_trace() {
    let collector = Collector::start(&[]).await;
    let mut scene = Scene::empty(scene::policy()).await;
    scene.collector = Some(collector.url.clone());
    scene.opens().await;
    stage::bad_canary(&scene.sandbox).await;
    scene.replica().await;
    scene.sandbox.pause_controller();
    // A sender that keeps no trace is not linked to.
    post(&scene, ERRORS, &SENT.replace("-01", "-00")).await;
    scene
        .until(|it| it.state().run.first_mutation.is_some())
        .await;
    let first = scene.replicas.remove(0);
    let before = first.identity.clone();
    first.stop().await;
    scene.sandbox.resume_controller();
    let done = scene.done().await;
    assert_eq!(done.phase(), Phase::Succeeded);
    collector.until(has_whole).await;
    let after = scene.replicas[0].identity.clone();
    scene.close().await;

    let spans = collector.spans();
    one_tree(&spans, &trace_of(&done));
    for (part, replica) in [
        ("claim", &before),
        ("plan", &before),
        ("effect restore_template", &before),
        ("resume", &after),
        ("step revert", &after),
        ("rollback", &after),
    ] {
        let found = only(&spans, part);
        assert_eq!(found.resource["service.instance.id"], *replica, "{part}");
    }
    assert!(spans.iter().all(|it| it.span.links.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_keeps_nothing_from_running() {
    let mut scene = Scene::empty(scene::policy()).await;
    scene.collector = Some(collector::nobody().await);
    scene.opens().await;
    stage::bad_canary(&scene.sandbox).await;
    post(&scene, LATENCY, SENT).await;
    assert_eq!(scene.done().await.phase(), Phase::Succeeded);
    let metrics = scene.replicas[0].metrics.clone();
    let failed = || counted(&metrics, r#"otlp_requests_total{result="failed"}"#) > 0;
    scene.until_called(failed).await;
    scene.close().await;
    assert!(counted(&metrics, r#"spans_total{result="dropped"}"#) > 0);
}

fn counted(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.encode();
    let name = format!("ripcord_{series} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

/// An exporter to a collector at `url`, with settings of its own.
fn export(url: &str, otlp: serde_json::Value) -> (Spans, Export, Metrics) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = Settings::default();
    settings.telemetry.otlp = serde_json::from_value(otlp).unwrap();
    settings.telemetry.otlp.endpoint = Some(url.to_owned());
    let destination = Destination::find(&settings.telemetry.otlp, |_| None).unwrap();
    let metrics = Metrics::new("test");
    let (spans, export) = Export::start(&destination.unwrap(), "one", metrics.clone()).unwrap();
    (spans, export, metrics)
}

fn some_span() -> Span {
    let rollback: Rollback = serde_json::from_value(rollback::running("api")).unwrap();
    let at = rollback.received().unwrap();
    Span::plan(&rollback, at, at)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_could_not_take_is_sent_again_with_the_headers_of_that_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("headers");
    std::fs::write(&path, "authorization: Bearer first\n").unwrap();
    let collector = Collector::start(&[503]).await;
    let (spans, export, metrics) = export(&collector.url, json!({"headers_file": path}));
    spans.record(some_span);
    while counted(&metrics, r#"otlp_requests_total{result="failed"}"#) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::fs::write(&path, "authorization: Bearer second\nx-tenant: shop\n").unwrap();
    collector.until(|spans| spans.len() == 1).await;
    let request = collector.requests().remove(0);
    assert_eq!(request.headers["authorization"], "Bearer second");
    assert_eq!(request.headers["x-tenant"], "shop");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    export.finish().await;
    assert_eq!(counted(&metrics, r#"spans_total{result="exported"}"#), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_refuses_for_good_is_dropped_and_counted() {
    let collector = Collector::start(&[400]).await;
    let (spans, export, metrics) = export(&collector.url, json!({}));
    spans.record(some_span);
    while counted(&metrics, r#"spans_total{result="dropped"}"#) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    spans.record(some_span);
    // What was recorded last goes out before the end.
    export.finish().await;
    assert_eq!(collector.spans().len(), 1);
    assert_eq!(counted(&metrics, r#"spans_total{result="dropped"}"#), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_up_the_end_for_a_bounded_time_only() {
    let (url, _listener) = collector::silent().await;
    let (spans, export, metrics) = export(&url, json!({"timeout": "1h"}));
    for _ in 0..10_000 {
        spans.record(some_span);
    }
    // More than there is room for.
    assert!(counted(&metrics, r#"spans_total{result="dropped"}"#) > 0);
    let began = Instant::now();
    export.finish().await;
    assert!(began.elapsed() < Duration::from_secs(30));
}
