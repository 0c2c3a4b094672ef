//! The whole chain, in which nobody posts by hand: the pods count their answers, a shipped rule of Prometheus finds the
//! release that is bad, Alertmanager tells Ripcord by the shipped route, the shipped policy decides, and the alert ends by
//! itself once the release is pulled back. One story for each trigger that pulls back.
//!
//! In one of them the rules are as they are shipped. In the others their times are divided, and nothing else of them is changed
//! (`tests/support/scaled.rs`): by as little as lets a story end within half a minute, since a machine that is busy answers no
//! faster. For the same reason no more than two are played at once, and nothing beside them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::blue_green;
use crate::scene::blue_green::strategy;
use crate::scene::monitoring::{MINUTES, Monitoring, Sample};
use crate::scene::release::{BAD, pausing};
use crate::scene::{NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;
use crate::times::Chain;

/// By what nothing is divided, and five minutes are, and what is shorter.
const AS_SHIPPED: u64 = 1;
const FIVE_MINUTES: u64 = 20;
const SHORTER: u64 = 10;
/// For how many seconds good releases are watched: longer than any rule waits.
const LONG: u32 = 20;

/// A condition, from the shipped files.
#[derive(Clone, Copy, Debug)]
struct Trigger {
    alert: &'static str,
    procedure: &'static str,
    severity: &'static str,
    /// What is bad in it.
    image: &'static str,
    /// Whether users get bad answers from it.
    hurts: bool,
    sample: Sample,
}

const LATENCY: Trigger = Trigger {
    alert: "PinnLatencyP95High",
    procedure: "emergency-canary",
    severity: "P0",
    image: "demo:v2-slow",
    hurts: false,
    sample: measured("condition=\"latency\","),
};
const ERRORS: Trigger = Trigger {
    alert: "PinnErrorRateHigh",
    procedure: "emergency-canary",
    severity: "P0",
    image: BAD,
    hurts: true,
    sample: measured("condition=\"errors\","),
};
const FALLBACK: Trigger = Trigger {
    alert: "PinnFallbackRateHigh",
    procedure: "blue-green",
    severity: "P1",
    image: "demo:v2-fallsback",
    hurts: false,
    sample: measured("condition=\"fallback\","),
};
const HEALTH: Trigger = Trigger {
    alert: "PinnHealthCheckFailing",
    procedure: "blue-green",
    severity: "P1",
    image: "demo:v2-unhealthy",
    hurts: false,
    sample: Sample {
        name: "probe_success",
        more: "",
        value: Some("0"),
    },
};
const MEMORY: Trigger = Trigger {
    alert: "PinnMemoryHigh",
    procedure: "cache-reset",
    severity: "P2",
    image: "demo:v2-greedy",
    hurts: false,
    sample: measured("condition=\"memory\","),
};
const DOWN: Trigger = Trigger {
    alert: "PinnDown",
    procedure: "emergency-canary",
    severity: "P0",
    image: "demo:v2-crashes",
    hurts: true,
    sample: measured("condition=\"down\","),
};

/// What the rules record of a condition, whenever it holds.
const fn measured(more: &'static str) -> Sample {
    Sample {
        name: "release:bad",
        more,
        value: None,
    }
}

/// A canary that is slow: the alert names it, and not the release beside it.
pub(crate) async fn latency() {
    let mut scene = Scene::start("chain: latency, canary").await;
    let ripcord = scene.good(&pausing()).await;
    let monitoring = scene.monitored(&ripcord, SHORTER).await;
    is_pulled_back(&scene, &monitoring, LATENCY).await;
}

/// A canary of which half of the requests fail.
pub(crate) async fn errors() {
    let mut scene = Scene::start("chain: errors, canary").await;
    let ripcord = scene.good(&pausing()).await;
    let monitoring = scene.monitored(&ripcord, SHORTER).await;
    is_pulled_back(&scene, &monitoring, ERRORS).await;
}

/// The same by the rules as they are, each second of them.
pub(crate) async fn errors_undivided() {
    let mut scene = Scene::start("chain: errors, canary, undivided").await;
    let ripcord = scene.good(&pausing()).await;
    let monitoring = scene.monitored(&ripcord, AS_SHIPPED).await;
    is_pulled_back(&scene, &monitoring, ERRORS).await;
}

/// A bad release that takes all traffic, and is stable, with the first request that it answers.
pub(crate) async fn errors_everywhere() {
    let mut scene = blue_green::start("chain: errors, blue-green").await;
    let ripcord = scene.good(&strategy(&json!({}))).await;
    let monitoring = scene.monitored(&ripcord, SHORTER).await;
    is_pulled_back(&scene, &monitoring, ERRORS).await;
}

/// A release that answers every second time without its model: no user notices. The policy only watches this trigger as it
/// is shipped, so somebody has let it act.
pub(crate) async fn fallback() {
    let mut scene = blue_green::start("chain: fallback, blue-green").await;
    scene.policy_says("P1\n    mode: shadow", "P1\n    mode: act");
    let ripcord = scene.good(&strategy(&json!({}))).await;
    let monitoring = scene.monitored(&ripcord, FIVE_MINUTES).await;
    is_pulled_back(&scene, &monitoring, FALLBACK).await;
}

/// A release whose pods answer, and say that they are not well.
pub(crate) async fn health() {
    let mut scene = blue_green::start("chain: health, blue-green").await;
    let ripcord = scene.good(&soon_alone()).await;
    let monitoring = scene.monitored(&ripcord, SHORTER).await;
    is_pulled_back(&scene, &monitoring, HEALTH).await;
}

/// A promoted release whose four pods take too much memory: an alert of each that did so for long enough before it was told to
/// stop, and one rollback that also empties the cache. This trigger, too, is only watched as it is shipped.
pub(crate) async fn memory() {
    let mut scene = Scene::start("chain: memory, canary promoted").await;
    scene.policy_says(
        "procedure: cache-reset\n    mode: shadow",
        "procedure: cache-reset\n    mode: act",
    );
    let redis = scene.filled().await;
    scene.has_cache(&redis.address());
    let ripcord = scene.good(&json!({ "canary": {} })).await;
    let monitoring = scene.monitored(&ripcord, FIVE_MINUTES).await;
    let rollback = is_pulled_back(&scene, &monitoring, MEMORY).await;
    // One may come back, and is no other alert.
    let records = rollback.pointer("/status/alerts/items").unwrap();
    let records = records.as_array().unwrap().iter();
    let alerts: BTreeSet<_> = records.map(|it| it["fingerprint"].as_str()).collect();
    assert!((1..=4).contains(&alerts.len()), "{alerts:?}");
    assert_eq!(redis.keys(0).await, ["session:1"]);
}

/// All pods of a release end, and those of the one before are gone: nothing answers any more. Nor does what asks the pods for
/// their health, which would notice before.
pub(crate) async fn down() {
    let mut scene = blue_green::start("chain: down, blue-green").await;
    let ripcord = scene.good(&soon_alone()).await;
    let mut monitoring = scene.monitored(&ripcord, SHORTER).await;
    monitoring.prometheus.probes_nothing();
    is_pulled_back(&scene, &monitoring, DOWN).await;
}

/// Good releases under the same traffic: nothing ever fires, and Ripcord hears of nothing.
pub(crate) async fn good_releases() {
    let mut scene = Scene::start("chain: good releases").await;
    let ripcord = scene.good(&pausing()).await;
    let monitoring = scene.monitored(&ripcord, FIVE_MINUTES).await;
    scene.deploy("demo:v2-good").await;
    let promoted = scene.promoted_by_hand().await;
    monitoring.watches(&promoted, LONG).await;
    assert_eq!(monitoring.fired().await, []);
    assert_eq!(scene.rollbacks().await, [] as [Value; 0]);
    assert!(scene.slack.messages().is_empty());
}

/// Blue-green, where the pods that serve no more go at once: they would be asked for as long as they are kept.
fn soon_alone() -> Value {
    strategy(&json!({ "scaleDownDelaySeconds": 1 }))
}

async fn is_pulled_back(scene: &Scene, monitoring: &Monitoring, trigger: Trigger) -> Value {
    let good = scene.live().await;
    scene.deploy(trigger.image).await;
    let bad = scene.live().await;

    let lock = runs(scene, &bad).await;
    scene.ended(&lock, "Succeeded").await;
    // Besides the template, a cache reset changes when the pods were started.
    let changes = if trigger.procedure == "cache-reset" {
        2
    } else {
        1
    };
    scene.is_mended_by(changes).await;
    assert_eq!(scene.live().await, good);

    let (rollback, ended) = is_over(scene, &lock).await;
    let spec = &rollback["spec"];
    let decided = [&spec["severity"], &spec["procedure"]];
    assert_eq!(decided, [trigger.severity, trigger.procedure], "{spec:#}");
    for alert in spec["alerts"].as_array().unwrap() {
        assert_eq!(alert["name"], trigger.alert, "{alert:#}");
        assert_eq!(alert["releaseHash"], *bad, "{alert:#}");
    }
    monitoring.is_quiet().await;
    let fired = (trigger.alert.to_owned(), bad.clone());
    assert_eq!(monitoring.fired().await, [fired]);
    scene.is_mended_by(changes).await;
    note(scene, monitoring, trigger, &rollback, ended).await;
    rollback
}

/// Waits until the traffic of a release is back; the rollback's name. Where the machine was so busy that an alert ended again before
/// anything was done about it, that is said of the one before.
async fn runs(scene: &Scene, bad: &str) -> String {
    let mut all = Vec::new();
    let runs = async || {
        all = scene.rollbacks().await;
        let back = |it: &&Value| it.pointer("/status/run/trafficBack").is_some();
        let run = all.iter().find(back)?;
        run["metadata"]["name"].as_str().map(str::to_owned)
    };
    let runs = until(runs, MINUTES).await;
    let runs = runs.unwrap_or_else(|| panic!("it is pulled back: {all:#?}"));
    assert!(runs.starts_with(&format!("{NAME}-r2-{bad}")), "{runs}");
    for other in all.iter().filter(|it| it["metadata"]["name"] != *runs) {
        let why = &other["status"]["reason"]["reason"];
        assert_eq!(why, "resolved_before_start", "{other:#}");
    }
    runs
}

async fn note(
    scene: &Scene,
    monitoring: &Monitoring,
    trigger: Trigger,
    rollback: &Value,
    ended: Timestamp,
) {
    let alert = &rollback["spec"]["alerts"][0];
    let received = at(&alert["received"]);
    scene.times(received, rollback);
    let first_mutation = scene.mutations()[0].received;
    let last_bad = scene.users.as_ref().unwrap().tally().last_bad;
    let run = &rollback["status"]["run"];
    let bad = rollback["spec"]["release"]["hash"].as_str().unwrap();
    let first_bad = monitoring.first(trigger.sample, bad).await;
    if trigger.hurts {
        let last = last_bad.expect("users are hurt");
        assert!(last > first_bad, "{last}: they are until it is pulled back");
    }
    Chain {
        scenario: scene.name,
        first_bad,
        fires: at(&alert["began"]),
        received,
        first_mutation,
        traffic_back: at(&run["trafficBack"]),
        last_bad: last_bad.filter(|at| *at > received),
        healthy: at(&run["healthy"]),
        ended,
    }
    .note();
}

/// Waits until the end of all alerts is on record and Slack was told of it; the rollback, and when the last one ended.
async fn is_over(scene: &Scene, lock: &str) -> (Value, Timestamp) {
    let mut seen = Value::Null;
    let over = async || {
        seen = scene.rollback(lock).await?;
        let items = seen.pointer("/status/alerts/items")?.as_array()?;
        let told = seen.pointer("/status/report/slack/told")?.as_array()?;
        let ends = items.iter().filter_map(|it| it["ended"].as_str());
        let last = ends.map(|it| it.parse().unwrap()).max();
        told.contains(&json!("resolved")).then_some(last)?
    };
    let over = until(over, MINUTES).await;
    let over = over.unwrap_or_else(|| panic!("the alerts' end is on record, and told: {seen:#}"));
    let messages = scene.slack.messages();
    let told = messages.iter().any(|it| it.text.contains("ended"));
    assert!(told, "{messages:#?}");
    (seen, over)
}

fn at(time: &Value) -> Timestamp {
    time.as_str().unwrap().parse().unwrap()
}
