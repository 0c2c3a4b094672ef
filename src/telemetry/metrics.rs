//! What is counted and measured, in the OpenMetrics text format.
//!
//! Labels come from closed sets and from names in the policy, never from a payload, so that no sender can make the
//! number of series grow. The table in `docs/metrics.md` is checked against this file.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;

use crate::reason::Reason;
use crate::rollback::Phase;
use book::{Book, Entry};
use labels::{
    AlertLabels, BuildLabels, DeliveryLabels, PolicyLabels, ReceivedLabels, ReloadLabels,
    RollbackLabels,
};

mod book;
mod labels;

pub use labels::{Delivery, Received, Reload};

/// The `Content-Type` of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds, in seconds, for how long a recovery takes: from "at once" to the time after which it is given up.
const RECOVERY: [f64; 19] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0,
    300.0, 600.0, 900.0,
];
/// Bounds, in seconds, for how long a call takes.
const CALL: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Every metric of the service. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    book: Book,
    notifications: Family<ReceivedLabels, Counter>,
    last_notification: Gauge<f64, AtomicU64>,
    alerts: Family<AlertLabels, Counter>,
    intake: Histogram,
    claim: Histogram,
    bytes_in_flight: Gauge,
    panics: Counter,
    rollbacks: Family<RollbackLabels, Counter>,
    first_mutation: Histogram,
    traffic_back: Histogram,
    healthy: Histogram,
    pending: Gauge,
    running: Gauge,
    latched: Gauge,
    leader: Gauge,
    transitions: Counter,
    hold: Gauge,
    slack: Family<DeliveryLabels, Counter>,
    slack_pending: Gauge,
    policy: Family<PolicyLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
}

// === impl Metrics ===

impl Metrics {
    /// All metrics at zero. `version` is the program's.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self {
            inner: Arc::new(Inner::new(version)),
        }
    }

    /// Everything, as Prometheus scrapes it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, self.inner.book.registry());
        text
    }

    /// Every metric with its type, labels and meaning: the table of the documentation, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        self.inner.book.table()
    }

    /// What became of a notification.
    pub fn notification(&self, result: Received) {
        self.inner
            .notifications
            .get_or_create(&ReceivedLabels { result })
            .inc();
    }

    /// When a notification was last accepted.
    pub fn last_notification(&self, at: Timestamp) {
        self.inner
            .last_notification
            .set(at.as_duration().as_secs_f64());
    }

    /// What an alert led to, and why. `decision` is a word of the program's own.
    pub fn alert(&self, decision: &'static str, reason: Reason) {
        self.inner
            .alerts
            .get_or_create(&AlertLabels { decision, reason })
            .inc();
    }

    /// How long a notification took, from its first byte to its answer.
    pub fn intake(&self, took: Duration) {
        self.inner.intake.observe(took.as_secs_f64());
    }

    /// How long the API server took to record a claim.
    pub fn claim(&self, took: Duration) {
        self.inner.claim.observe(took.as_secs_f64());
    }

    /// Adds to the room that bodies take, in bytes; a negative number gives back.
    pub fn bytes_in_flight(&self, change: i64) {
        self.inner.bytes_in_flight.inc_by(change);
    }

    /// A request's handling panicked.
    pub fn panicked(&self) {
        self.inner.panics.inc();
    }

    /// A rollback ended. `procedure` is a name from the policy.
    pub fn rollback(&self, procedure: &str, outcome: Phase) {
        let labels = RollbackLabels {
            procedure: procedure.to_owned(),
            outcome,
        };
        self.inner.rollbacks.get_or_create(&labels).inc();
    }

    /// How long after the notification the first change was made.
    pub fn first_mutation(&self, after: Duration) {
        self.inner.first_mutation.observe(after.as_secs_f64());
    }

    /// How long after the notification all traffic was on the destination.
    pub fn traffic_back(&self, after: Duration) {
        self.inner.traffic_back.observe(after.as_secs_f64());
    }

    /// How long after the notification the destination was proved healthy.
    pub fn healthy(&self, after: Duration) {
        self.inner.healthy.observe(after.as_secs_f64());
    }

    /// How many rollbacks wait for the leader.
    pub fn pending(&self, rollbacks: usize) {
        self.inner.pending.set(whole(rollbacks));
    }

    /// How many rollbacks run.
    pub fn running(&self, rollbacks: usize) {
        self.inner.running.set(whole(rollbacks));
    }

    /// How many targets are latched.
    pub fn latched(&self, targets: usize) {
        self.inner.latched.set(whole(targets));
    }

    /// Whether this replica is the leader.
    pub fn leader(&self, leads: bool) {
        self.inner.leader.set(i64::from(leads));
    }

    /// The lease went to another holder.
    pub fn lease_transition(&self) {
        self.inner.transitions.inc();
    }

    /// Whether the global hold is set.
    pub fn hold(&self, held: bool) {
        self.inner.hold.set(i64::from(held));
    }

    /// What became of a message to Slack.
    pub fn slack(&self, result: Delivery) {
        self.inner
            .slack
            .get_or_create(&DeliveryLabels { result })
            .inc();
    }

    /// How many messages to Slack are not delivered yet.
    pub fn slack_pending(&self, messages: usize) {
        self.inner.slack_pending.set(whole(messages));
    }

    /// The policy with this digest is in force, in place of the one before.
    pub fn policy(&self, digest: &str) {
        let labels = PolicyLabels {
            digest: digest.to_owned(),
        };
        self.inner.policy.clear();
        self.inner.policy.get_or_create(&labels).set(1);
    }

    /// What became of a changed policy.
    pub fn policy_reload(&self, result: Reload) {
        self.inner
            .reloads
            .get_or_create(&ReloadLabels { result })
            .inc();
    }
}

// === impl Inner ===

impl Inner {
    fn new(version: &'static str) -> Self {
        let mut book = Book::new();
        let build = Entry("build", "`version`", "Always 1: the version of the program");
        book.add_info(&build, Info::new(BuildLabels { version }));
        let inner = Self {
            notifications: book.add(
                &Entry(
                    "notifications",
                    "`result`",
                    "Notifications, by what became of them at the door",
                ),
                Family::default(),
            ),
            last_notification: book.add_seconds(
                &Entry(
                    "last_notification_timestamp",
                    "",
                    "When a notification was last accepted, in seconds since 1970",
                ),
                Gauge::default(),
            ),
            alerts: book.add(
                &Entry(
                    "alerts",
                    "`decision`, `reason`",
                    "Alerts, by what they led to and why",
                ),
                Family::default(),
            ),
            intake: book.add_seconds(
                &Entry(
                    "intake",
                    "",
                    "From the request to its answer, over all notifications",
                ),
                Histogram::new(CALL),
            ),
            claim: book.add_seconds(
                &Entry(
                    "claim",
                    "",
                    "How long the API server took to record a claim",
                ),
                Histogram::new(CALL),
            ),
            bytes_in_flight: book.add(
                &Entry(
                    "bytes_in_flight",
                    "",
                    "Bytes reserved for notifications that are being read and decided",
                ),
                Gauge::default(),
            ),
            panics: book.add(
                &Entry(
                    "handler_panics",
                    "",
                    "Requests whose handling panicked; each is a defect",
                ),
                Counter::default(),
            ),
            rollbacks: book.add(
                &Entry(
                    "rollbacks",
                    "`procedure`, `outcome`",
                    "Rollbacks that ended, by the phase they ended in",
                ),
                Family::default(),
            ),
            first_mutation: book.add_seconds(
                &Entry(
                    "received_to_first_mutation",
                    "",
                    "From the notification to the first change",
                ),
                Histogram::new(RECOVERY),
            ),
            traffic_back: book.add_seconds(
                &Entry(
                    "received_to_traffic_back",
                    "",
                    "From the notification to all traffic on the destination",
                ),
                Histogram::new(RECOVERY),
            ),
            healthy: book.add_seconds(
                &Entry(
                    "received_to_healthy",
                    "",
                    "From the notification to the proof that the destination is healthy",
                ),
                Histogram::new(RECOVERY),
            ),
            pending: book.add(
                &Entry("queue_pending", "", "Rollbacks that wait for the leader"),
                Gauge::default(),
            ),
            running: book.add(
                &Entry("rollbacks_running", "", "Rollbacks that run"),
                Gauge::default(),
            ),
            latched: book.add(
                &Entry(
                    "targets_latched",
                    "",
                    "Targets that wait for a person after a failed rollback",
                ),
                Gauge::default(),
            ),
            leader: book.add(
                &Entry(
                    "lease_leader",
                    "",
                    "1 on the replica that leads, 0 on the others",
                ),
                Gauge::default(),
            ),
            transitions: book.add(
                &Entry(
                    "lease_transitions",
                    "",
                    "How often this replica saw the lease change hands",
                ),
                Counter::default(),
            ),
            hold: book.add(
                &Entry("hold", "", "1 while the global hold stops every start"),
                Gauge::default(),
            ),
            slack: book.add(
                &Entry(
                    "slack_messages",
                    "`result`",
                    "Messages to Slack, by what became of them",
                ),
                Family::default(),
            ),
            slack_pending: book.add(
                &Entry(
                    "slack_pending",
                    "",
                    "Messages to Slack that are not delivered yet",
                ),
                Gauge::default(),
            ),
            policy: book.add(
                &Entry("policy_info", "`digest`", "Always 1: the policy in force"),
                Family::default(),
            ),
            reloads: book.add(
                &Entry(
                    "policy_reload",
                    "`result`",
                    "Changed policies, by whether they were taken",
                ),
                Family::default(),
            ),
            book,
        };
        // A series that starts at zero lets the first event be seen as an increase.
        for &result in Received::ALL {
            drop(
                inner
                    .notifications
                    .get_or_create(&ReceivedLabels { result }),
            );
        }
        for &result in Delivery::ALL {
            drop(inner.slack.get_or_create(&DeliveryLabels { result }));
        }
        for &result in Reload::ALL {
            drop(inner.reloads.get_or_create(&ReloadLabels { result }));
        }
        inner
    }
}

/// A count as a gauge takes it.
fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
