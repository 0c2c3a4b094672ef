//! The outbox against a local Slack: what is told, once each, whatever goes wrong between.
//!
//! The clock is paused and moved by the tests in small steps; between two steps the sockets get a moment of real
//! time. So an hour passes in seconds, and no timer runs ahead of the network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ripcord::policy::Policy;
use ripcord::report::audience::Everyone;
use ripcord::report::outbox::{Ledger, LedgerError, Outbox, Outcome};
use ripcord::report::reporter::Reporter;
use ripcord::report::slack::{InSlack, SlackClient, TokenSource};
use ripcord::rollback::Rollback;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::rollback as given;
use crate::support::slack::{FakeSlack, Recorded, TOKEN};

mod faults;
mod ladder;
mod mails;
mod notices;
mod trouble;

const CHANNEL: &str = "C0DEPLOYS1";
const PAYMENTS: &str = "C0PAYMENTS";
const STEP: Duration = Duration::from_millis(100);

/// Everything around an outbox: Slack, the objects, and what was recorded.
struct World {
    slack: FakeSlack,
    objects: Arc<Objects>,
    changed: watch::Sender<u64>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    /// How many rollbacks have something untold, as was last said.
    untold: Arc<AtomicUsize>,
    everyone: Mutex<Everyone>,
    start: Instant,
    running: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

/// The rollbacks, as the API server has them; also the ledger.
#[derive(Default)]
struct Objects {
    stored: Mutex<HashMap<String, Value>>,
    /// Whether writes fail.
    broken: AtomicBool,
    /// Whether writes never end.
    stuck: AtomicBool,
}

impl Objects {
    fn all(&self) -> Vec<Arc<Rollback>> {
        let stored = self.stored.lock().unwrap();
        let mut all: Vec<_> = stored.iter().collect();
        all.sort_by_key(|(name, _)| (*name).clone());
        all.into_iter()
            .map(|(_, json)| Arc::new(serde_json::from_value(json.clone()).unwrap()))
            .collect()
    }
}

impl Ledger for Objects {
    async fn write(
        &self,
        rollback: &Rollback,
        key: &'static str,
        record: Value,
    ) -> Result<(), LedgerError> {
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(LedgerError::Failed("503".to_owned()));
        }
        let mut stored = self.stored.lock().unwrap();
        let object = stored.get_mut(rollback.name()).ok_or(LedgerError::Gone)?;
        object["status"]["report"][key] = record;
        raise_version(object);
        Ok(())
    }
}

fn raise_version(object: &mut Value) {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    let version: u64 = version.parse().unwrap();
    object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
}

impl World {
    async fn new() -> Self {
        let slack = FakeSlack::start().await;
        slack.channel("ops", CHANNEL).channel("payments", PAYMENTS);
        tokio::time::pause();
        let everyone = Everyone {
            channel: Some("#ops".into()),
            on_call: vec!["S0123ABCD".parse().unwrap()],
            namespace: "ripcord".into(),
            hold: "ripcord-hold".into(),
        };
        Self {
            slack,
            objects: Arc::default(),
            changed: watch::Sender::new(0),
            outcomes: Arc::default(),
            untold: Arc::default(),
            everyone: Mutex::new(everyone),
            start: Instant::now(),
            running: Mutex::default(),
        }
    }

    /// Stores a rollback as the engine leaves it; what was told of it stays.
    fn store(&self, mut object: Value) {
        let mut stored = self.objects.stored.lock().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if let Some(old) = stored.get(&name) {
            object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            object["status"]["report"] = old["status"]["report"].clone();
            if object["status"]["report"].is_null() {
                object["status"].as_object_mut().unwrap().remove("report");
            }
        }
        raise_version(&mut object);
        stored.insert(name, object);
        drop(stored);
        self.changed.send_modify(|seq| *seq += 1);
    }

    /// A leader begins to report, in Slack.
    fn lead(&self) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token: TokenSource = Arc::new(|| TOKEN.to_owned().into());
        let slack = SlackClient::new(&self.slack.url(), Duration::from_secs(10), token).unwrap();
        self.report(InSlack(slack));
    }

    /// A leader begins to report, in this way.
    fn report<R: Reporter>(&self, reporter: R) {
        let (outcomes, start) = (Arc::clone(&self.outcomes), self.start);
        let untold = Arc::clone(&self.untold);
        let outbox = Outbox {
            reporter,
            ledger: Arc::clone(&self.objects),
            policy: Arc::new(policy),
            everyone: self.everyone.lock().unwrap().clone(),
            clock: Arc::new(move || {
                let began: Timestamp = "2026-11-22T03:12:41Z".parse().unwrap();
                began + SignedDuration::try_from(start.elapsed()).unwrap()
            }),
            observe: Arc::new(move |outcome| outcomes.lock().unwrap().push(outcome)),
            waiting: Arc::new(move |rollbacks| untold.store(rollbacks, Ordering::SeqCst)),
            spans: ripcord::telemetry::Spans::nowhere(),
        };
        let stop = CancellationToken::new();
        let objects = Arc::clone(&self.objects);
        let rollbacks = move || objects.all().into_iter().map(|it| (it, None)).collect();
        let run = outbox.run(stop.clone(), rollbacks, self.changed.subscribe());
        *self.running.lock().unwrap() = Some((stop, tokio::spawn(run)));
    }

    /// The leader dies without a last word.
    fn crash(&self) {
        let (_, task) = self.running.lock().unwrap().take().unwrap();
        task.abort();
    }

    /// Moves the clock in steps until `what` holds, twenty minutes at most.
    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + Duration::from_secs(1_200);
        while !what(self) {
            assert!(
                Instant::now() < limit,
                "it did not come to that; calls so far: {:#?}",
                self.slack
                    .calls()
                    .iter()
                    .map(|call| (&call.method, &call.outcome, &call.body["text"]))
                    .collect::<Vec<_>>()
            );
            pass(STEP).await;
        }
    }

    /// Moves the clock.
    async fn pass(&self, time: Duration, step: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            pass(step).await;
        }
    }

    /// How many rollbacks have something untold.
    fn untold(&self) -> usize {
        self.untold.load(Ordering::SeqCst)
    }

    /// Whether all is told of every rollback: the parent as it should be, and an end.
    fn told(&self) -> bool {
        let ended = |it: &Arc<Rollback>| {
            let report = &it.status.as_ref().unwrap().report.slack;
            report.told.iter().any(|key| key.starts_with("end/"))
        };
        self.objects.all().iter().all(ended)
    }

    fn messages(&self) -> Vec<Recorded> {
        self.slack.messages()
    }

    fn parents(&self) -> Vec<Recorded> {
        let mut all = self.messages();
        all.retain(|message| message.thread_ts.is_none());
        all
    }

    fn saw(&self, outcome: Outcome) -> bool {
        self.times(outcome) > 0
    }

    fn times(&self, outcome: Outcome) -> usize {
        let outcomes = self.outcomes.lock().unwrap();
        outcomes.iter().filter(|it| **it == outcome).count()
    }
}

async fn pass(step: Duration) {
    tokio::time::advance(step).await;
    // The clock does not move by itself while a blocking task runs: the sockets get their time, the timers do not.
    let moment = || std::thread::sleep(Duration::from_millis(2));
    tokio::task::spawn_blocking(moment).await.unwrap();
}

/// A policy with one target whose channel is its own.
fn policy() -> Arc<Policy> {
    let workload = ripcord::target::Workload {
        kind: ripcord::target::Kind::Rollout,
        namespace: "options-production".into(),
        name: "ledger".into(),
        deployments: vec![],
    };
    let ledger = ripcord::target::Target {
        name: "ledger".into(),
        workload,
        health: None,
        redis: None,
        warm_up: None,
        commands: std::collections::BTreeMap::new(),
        ownership: ripcord::target::Ownership::Auto,
        drills: ripcord::target::Drills::Refused,
        manifest: None,
        known_good: None,
        change_window: Duration::from_secs(3600),
        min_soak: Duration::from_secs(600),
        settle: Duration::from_secs(300),
        start_within: Duration::from_secs(120),
        approve_within: Duration::from_secs(900),
        give_up: Duration::from_secs(900),
        audience: ripcord::target::Audience {
            channel: Some(PAYMENTS.into()),
            on_call: vec![],
        },
        links: vec![],
        after: vec![],
    };
    Arc::new(Policy {
        digest: "d".into(),
        cluster: None,
        protected: BTreeSet::default(),
        hash_label: "rollouts_pod_template_hash".into(),
        targets: [("ledger".to_owned(), ledger)].into(),
        triggers: vec![],
        severities: BTreeMap::default(),
        asks: BTreeSet::default(),
        escalations: BTreeMap::default(),
        procedures: BTreeMap::default(),
    })
}

#[tokio::test]
async fn one_message_a_thread_and_one_end_that_rings() {
    let world = World::new().await;
    world.slack.enforce_pace(true);
    world.lead();
    world.store(given::claimed("options-api"));
    world.pass(Duration::from_secs(3), STEP).await;
    assert_eq!(world.messages(), [], "a claim alone tells nothing");
    world.store(given::running("options-api"));
    world.until(|world| world.messages().len() == 1).await;
    world.store(given::reverted("options-api"));
    world.until(|world| world.messages().len() == 3).await;
    world.store(given::succeeded("options-api"));
    world.until(World::told).await;

    let messages = world.messages();
    let parent = &messages[0];
    assert!(parent.text.starts_with("✅ options-api is back: r7 → r6"));
    assert!(parent.earlier[0].starts_with("⏳ options-api: pulling r7 back to r6"));
    let thread: Vec<&str> = messages[1..]
        .iter()
        .map(|message| {
            assert_eq!(message.thread_ts.as_ref(), Some(&parent.ts));
            message.text.split(" at ").next().unwrap()
        })
        .collect();
    assert_eq!(
        thread,
        [
            "all traffic on r6",
            "1/2 revert done",
            "2/2 healthy done",
            "✅ options-api is back: r7 → r6 · nobody needed · 1.9 s after the alert",
        ]
    );
    let rings: Vec<bool> = messages.iter().map(|message| message.broadcast).collect();
    assert_eq!(rings, [false, false, false, false, true]);
    assert!(messages.iter().all(|message| message.pings().is_empty()));

    let calls = world.slack.calls().len();
    world.changed.send_modify(|seq| *seq += 1);
    world
        .pass(Duration::from_secs(120), Duration::from_secs(1))
        .await;
    assert_eq!(world.slack.calls().len(), calls, "what is told stays told");
}

#[tokio::test]
async fn a_failure_calls_somebody_and_a_refusal_is_one_message() {
    let world = World::new().await;
    world.store(given::failed("options-api"));
    world.store(given::declined("other", "no_destination", ""));
    world.store(given::declined("held", "held", "held: jo: freeze"));
    world.lead();
    world.until(|world| world.messages().len() == 7).await;
    world.pass(Duration::from_secs(30), STEP).await;
    assert_eq!(world.messages().len(), 7);
    let of = |text: &str| {
        let mut all = world.messages();
        all.retain(|message| message.text.contains(text));
        all
    };
    let failed = of("🛑 options-api");
    assert!(failed[0].pings().is_empty());
    assert!(
        failed[1].broadcast
            && failed[1]
                .pings()
                .contains(&"<!subteam^S0123ABCD>".to_owned())
    );
    assert!(!of("other: P0")[0].pings().is_empty());
    assert!(of("held: P0")[0].pings().is_empty());
}

#[tokio::test]
async fn a_channel_gets_one_call_a_second_and_others_their_own() {
    let world = World::new().await;
    world.slack.enforce_pace(true);
    for name in ["a", "b", "c", "ledger"] {
        world.store(given::succeeded(name));
    }
    world.lead();
    let start = Instant::now();
    world
        .until(|world| {
            world
                .slack
                .messages()
                .iter()
                .any(|it| it.channel == PAYMENTS && it.broadcast)
        })
        .await;
    let alone = start.elapsed();
    assert!(
        alone <= Duration::from_secs(7),
        "one story of five messages took {alone:?}"
    );
    world.until(World::told).await;
    let elapsed = start.elapsed();
    assert!(
        elapsed >= Duration::from_secs(14),
        "15 messages in {elapsed:?}"
    );
    assert!(!world.saw(Outcome::Limited), "slack never had to ask");
    let order: Vec<Recorded> = world.parents();
    assert_eq!(order.len(), 4);
}

#[tokio::test]
async fn history_is_not_told_to_a_new_channel() {
    let world = World::new().await;
    world.store(given::succeeded("old"));
    world
        .pass(Duration::from_secs(25 * 3600), Duration::from_secs(3600))
        .await;
    let mut young = given::succeeded("young");
    young["status"]["run"]["finished"] = "2026-11-22T20:00:00Z".into();
    world.store(young);
    world.lead();
    world
        .until(|world| world.messages().iter().any(|it| it.broadcast))
        .await;
    assert!(
        world
            .messages()
            .iter()
            .all(|it| !it.visible().contains("old"))
    );
}

#[tokio::test]
async fn without_a_channel_nothing_is_sent() {
    let world = World::new().await;
    world.everyone.lock().unwrap().channel = None;
    world.store(given::succeeded("options-api"));
    world.lead();
    world.until(|world| world.saw(Outcome::NoChannel)).await;
    world.pass(Duration::from_secs(5), STEP).await;
    assert_eq!(world.slack.calls(), []);
}
