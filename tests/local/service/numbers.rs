//! Numbers of Prometheus: the step that waits for one, and the looks at a release after the end.

use std::time::Duration;

use jiff::SignedDuration;
use ripcord::policy::Policy;
use ripcord::procedure::{BUILT_IN, StepSpec, metric::Metric};
use ripcord::reason::Reason;
use ripcord::rollback::after::Check;
use ripcord::rollback::{Phase, Rollback};
use ripcord::target::Measure;
use ripcord::target::measure::Bound;

use super::{ending, said};
use crate::engine::live;
use crate::support::prometheus::FakePrometheus;
use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, LATENCY, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};

/// A scene with a bad canary, a Slack and a Prometheus.
async fn incident(policy: Policy, prometheus: &FakePrometheus) -> (Scene, FakeSlack) {
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C0OPS1");
    let mut scene = Scene::empty(policy).await;
    scene.slack = Some(slack.url());
    scene.prometheus = Some(prometheus.url.clone());
    scene.opens().await;
    stage::bad_canary(&scene.sandbox).await;
    (scene, slack)
}

fn with_step(within: Duration) -> Policy {
    let mut policy = scene::policy();
    let metric = Metric {
        name: "errors".into(),
        query: "errors{ns=\"{{ namespace }}\",rollout=\"{{ workload }}\",hash=\"{{ hash }}\"}"
            .into(),
        unit: Some("%".into()),
        good_below: Some(5.0),
        good_above: None,
        consecutive: 2,
        every: Duration::from_millis(100),
        within,
    };
    let procedure = policy.procedures.get_mut(BUILT_IN).unwrap();
    procedure.steps.push(StepSpec::Metric(metric));
    policy
}

fn waits_for(rollback: &Rollback) -> Option<Reason> {
    let state = rollback.state();
    let step = state.run.steps.last()?;
    step.observed.as_ref().map(|found| found.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_done_when_the_number_is_good() {
    let prometheus = FakePrometheus::start().await;
    let (scene, _slack) = incident(with_step(Duration::from_secs(60)), &prometheus).await;
    scene.send(&firing(LATENCY)).await;
    scene
        .until(|it| waits_for(it) == Some(Reason::MetricUnknown))
        .await;
    prometheus.has("errors", 7.5);
    scene
        .until(|it| waits_for(it) == Some(Reason::MetricBad))
        .await;
    prometheus.has("errors", 0.25);
    let done = scene.done().await;
    let last = done.state().run.steps.last().unwrap().clone();
    assert_eq!(
        last.observed.unwrap().said,
        "errors 0.25 % (good below 5 %), good 2 of 2 times in a row"
    );
    let hash = live(&scene.sandbox).hash;
    let query = format!("errors{{ns=\"{NAMESPACE}\",rollout=\"{NAME}\",hash=\"{hash}\"}}");
    assert!(prometheus.asked().iter().all(|asked| *asked == query));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_stays_bad_fails_the_rollback() {
    let prometheus = FakePrometheus::start().await;
    prometheus.has("errors", 7.5);
    let (scene, _slack) = incident(with_step(Duration::from_secs(1)), &prometheus).await;
    scene.send(&firing(LATENCY)).await;
    let failed = scene.until(|it| it.phase().ended()).await;
    assert_eq!(ending(&failed), (Phase::Failed, "metric_bad"));
    assert_eq!(said(&failed), "errors 7.5 % (good below 5 %)");
    scene.close().await;
}

fn with_looks() -> Policy {
    let measure = |name: &str, unit: &str, good| Measure {
        name: name.into(),
        query: format!("{name}{{hash=\"{{{{ hash }}}}\"}}"),
        unit: Some(unit.into()),
        good,
    };
    scene::policy_with(|target| {
        target.after = vec![
            measure("p95", "ms", Bound::Below(260.0)),
            measure("hits", "%", Bound::Above(80.0)),
        ];
    })
}

/// Waits for so many looks.
async fn looks(scene: &Scene, count: usize) -> Vec<Check> {
    let looked = scene.until(|it| it.state().after.checks.len() == count);
    looked.await.state().after.checks.clone()
}

/// Moves the clock so far after the end of the rollback.
async fn after_the_end(scene: &Scene, time: SignedDuration) {
    let ended = scene.until(|it| it.phase() == Phase::Succeeded).await;
    let ended = ended.state().run.finished.unwrap();
    scene.at(ended + time);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_release_is_looked_at_three_times_and_people_are_told() {
    let prometheus = FakePrometheus::start().await;
    prometheus.has("p95", 212.0);
    prometheus.has("hits", 91.0);
    let (scene, slack) = incident(with_looks(), &prometheus).await;
    scene.send(&firing(LATENCY)).await;
    let first = looks(&scene, 1).await.remove(0);
    assert!(first.good() && first.minutes == 0, "{first:?}");
    assert_eq!(first.numbers[0].value, Some(212.0));
    let hash = live(&scene.sandbox).hash;
    let query = format!("p95{{hash=\"{hash}\"}}");
    assert!(prometheus.asked().contains(&query));
    let line = "right after the end, all is well: p95 212 ms (good below 260 ms) · hits 91 % (good above 80 %)";
    slack
        .until(|slack| slack.messages().iter().any(|it| it.text == line))
        .await;

    // The clock jumps, so that the leader has to be elected anew: what is due is seen all the same.
    prometheus.has("p95", 412.0);
    prometheus.has("hits", None::<f64>);
    after_the_end(&scene, SignedDuration::from_mins(5)).await;
    let second = looks(&scene, 2).await.remove(1);
    assert!(!second.good() && second.minutes == 5, "{second:?}");
    assert_eq!(
        second.numbers[1].said,
        "hits: no data: the query gives no series"
    );
    let bad = |text: &str| text.contains("5 min after the end, not all is well");
    slack
        .until(|slack| slack.messages().iter().any(|it| bad(&it.text)))
        .await;
    let all = slack.messages();
    let told = all.iter().find(|it| bad(&it.text)).unwrap();
    assert!(told.broadcast && told.thread_ts.is_some() && told.pings().is_empty());
    assert!(told.visible().contains("p95 412 ms (good below 260 ms)"));

    // It is tried until there is no time left, and then said.
    prometheus.down(true);
    after_the_end(&scene, SignedDuration::from_secs(30 * 60 + 115)).await;
    let third = looks(&scene, 3).await.remove(2);
    let why = third.skipped.unwrap();
    assert_eq!(why.reason, Reason::NotChecked);
    assert!(why.said.contains("HTTP 503"), "{}", why.said);
    let out = |text: &str| text.contains("not checked 30 min after the end");
    slack
        .until(|slack| {
            let all = slack.messages();
            all.iter().any(|it| out(&it.text) && it.broadcast)
        })
        .await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_release_ends_the_looks() {
    let prometheus = FakePrometheus::start().await;
    prometheus.has("p95", 212.0);
    prometheus.has("hits", 91.0);
    let (scene, slack) = incident(with_looks(), &prometheus).await;
    scene.send(&firing(LATENCY)).await;
    looks(&scene, 1).await;
    let before = live(&scene.sandbox).hash;
    let image = "demo:v3-good";
    scene.sandbox.deploy(NAMESPACE, NAME, image).unwrap();
    scene
        .until_workload(|it| it["status"]["currentPodHash"] != *before)
        .await;
    let asked = prometheus.asked().len();
    after_the_end(&scene, SignedDuration::from_mins(5)).await;
    let last = looks(&scene, 2).await.remove(1);
    assert!(last.is_last(), "{last:?}");
    let line = "5 min after the end: not checked: another release is live";
    slack
        .until(|slack| {
            let all = slack.messages();
            all.iter().any(|it| it.text.starts_with(line))
        })
        .await;
    after_the_end(&scene, SignedDuration::from_mins(30)).await;
    scene.replicas[0].caches.nudge();
    assert_eq!(prometheus.asked().len(), asked, "nothing is asked any more");
    scene.close().await;
}
