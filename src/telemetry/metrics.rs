//! What is counted and measured, in the `OpenMetrics` text format.
//!
//! Labels come from closed sets and from names in the policy, never from a payload, so that no sender can make the
//! number of series grow. The table in `docs/metrics.md` is checked against this file.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::reason::Reason;
use crate::rollback::Phase;
use book::Book;
use groups::{Door, Replica, Rollbacks, Traces};
use labels::{
    AlertLabels, DeliveryLabels, ExportedLabels, PolicyLabels, ReceivedLabels, RefusedLabels,
    ReloadLabels, ReporterLabels, RollbackLabels, SpanLabels, TargetLabels,
};

mod book;
mod groups;
mod labels;

pub use labels::{Delivery, Exported, Received, Refused, Reload, SpanFate, Via};

/// The `Content-Type` of what [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the service. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    book: Book,
    door: Door,
    rollbacks: Rollbacks,
    replica: Replica,
    traces: Traces,
}

// === impl Metrics ===

impl Metrics {
    /// All metrics at zero. `version` is the program's.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut book = Book::new();
        let inner = Inner {
            door: Door::new(&mut book),
            rollbacks: Rollbacks::new(&mut book),
            replica: Replica::new(&mut book, version),
            traces: Traces::new(&mut book),
            book,
        };
        Self {
            inner: Arc::new(inner),
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
            .door
            .notifications
            .get_or_create(&ReceivedLabels { result })
            .inc();
    }

    /// When a notification was last accepted.
    pub fn last_notification(&self, at: Timestamp) {
        self.inner
            .door
            .last_notification
            .set(at.as_duration().as_secs_f64());
    }

    /// What an alert led to, and why. `decision` is a word of the program's own.
    pub fn alert(&self, decision: &'static str, reason: Reason) {
        self.inner
            .door
            .alerts
            .get_or_create(&AlertLabels { decision, reason })
            .inc();
    }

    /// How long a notification took, from its first byte to its answer.
    pub fn intake(&self, took: Duration) {
        self.inner.door.intake.observe(took.as_secs_f64());
    }

    /// How long the API server took to record a claim.
    pub fn claim(&self, took: Duration) {
        self.inner.door.claim.observe(took.as_secs_f64());
    }

    /// Adds to the room that bodies take, in bytes; a negative number gives back.
    pub fn bytes_in_flight(&self, change: i64) {
        self.inner.door.bytes_in_flight.inc_by(change);
    }

    /// A request's handling panicked.
    pub fn panicked(&self) {
        self.inner.door.panics.inc();
    }

    /// A rollback ended. `procedure` is a name from the policy.
    pub fn rollback(&self, procedure: &str, outcome: Phase) {
        let labels = RollbackLabels {
            procedure: procedure.to_owned(),
            outcome,
        };
        self.inner.rollbacks.ended.get_or_create(&labels).inc();
    }

    /// Begins at zero what this procedure may lead to, so that the first end is seen as an increase. It is a name from the
    /// policy.
    pub fn procedure(&self, procedure: &str) {
        for outcome in Phase::ALL.into_iter().filter(|phase| phase.ended()) {
            let labels = RollbackLabels {
                procedure: procedure.to_owned(),
                outcome,
            };
            drop(self.inner.rollbacks.ended.get_or_create(&labels));
        }
    }

    /// How long after the notification the first change was made.
    pub fn first_mutation(&self, after: Duration) {
        self.inner
            .rollbacks
            .first_mutation
            .observe(after.as_secs_f64());
    }

    /// How long after the notification all traffic was on the destination.
    pub fn traffic_back(&self, after: Duration) {
        self.inner
            .rollbacks
            .traffic_back
            .observe(after.as_secs_f64());
    }

    /// How long after the notification the destination was proved healthy.
    pub fn healthy(&self, after: Duration) {
        self.inner.rollbacks.healthy.observe(after.as_secs_f64());
    }

    /// How many rollbacks wait for the leader.
    pub fn pending(&self, rollbacks: usize) {
        self.inner.rollbacks.pending.set(whole(rollbacks));
    }

    /// How many rollbacks wait for a person's approval.
    pub fn asking(&self, rollbacks: usize) {
        self.inner.rollbacks.asking.set(whole(rollbacks));
    }

    /// How many rollbacks run.
    pub fn running(&self, rollbacks: usize) {
        self.inner.rollbacks.running.set(whole(rollbacks));
    }

    /// How many targets are latched.
    pub fn latched(&self, targets: usize) {
        self.inner.rollbacks.latched.set(whole(targets));
    }

    /// Whether a person holds this target, which is a name from the policy.
    pub fn target_held(&self, target: &str, held: bool) {
        let family = &self.inner.rollbacks.held;
        family.get_or_create(&of(target)).set(i64::from(held));
    }

    /// How many rights Ripcord lacks that this target needs, which is a name from the policy.
    pub fn permissions_missing(&self, target: &str, rights: usize) {
        let family = &self.inner.rollbacks.missing;
        family.get_or_create(&of(target)).set(whole(rights));
    }

    /// The policy no longer has this target.
    pub fn target_gone(&self, target: &str) {
        self.inner.rollbacks.held.remove(&of(target));
        self.inner.rollbacks.missing.remove(&of(target));
    }

    /// More or fewer rollbacks stand still because the API server refuses their journal.
    pub fn journals_refused(&self, change: i64) {
        self.inner.rollbacks.refused.inc_by(change);
    }

    /// The API server refused a call of a journal for good.
    pub fn journal_refusal(&self, reason: Refused) {
        self.inner
            .rollbacks
            .refusals
            .get_or_create(&RefusedLabels { reason })
            .inc();
    }

    /// Whether this replica is the leader.
    pub fn leader(&self, leads: bool) {
        self.inner.replica.leader.set(i64::from(leads));
    }

    /// The lease went to another holder.
    pub fn lease_transition(&self) {
        self.inner.replica.transitions.inc();
    }

    /// Whether a person holds everything.
    pub fn hold(&self, held: bool) {
        self.inner.replica.hold.set(i64::from(held));
    }

    /// Whether the global hold cannot be read, which counts as held.
    pub fn hold_unreadable(&self, unreadable: bool) {
        let gauge = &self.inner.replica.hold_unreadable;
        gauge.set(i64::from(unreadable));
    }

    /// How many rights Ripcord lacks in its own namespace.
    pub fn own_permissions_missing(&self, rights: usize) {
        self.inner.replica.missing.set(whole(rights));
    }

    /// What became of a message to people.
    pub fn report(&self, reporter: Via, result: Delivery) {
        self.inner
            .replica
            .reports
            .get_or_create(&DeliveryLabels { reporter, result })
            .inc();
    }

    /// How many rollbacks have something that was not told yet in this way.
    pub fn reports_pending(&self, reporter: Via, rollbacks: usize) {
        self.inner
            .replica
            .reports_pending
            .get_or_create(&ReporterLabels { reporter })
            .set(whole(rollbacks));
    }

    /// The policy with this digest is in force, in place of the one before.
    pub fn policy(&self, digest: &str) {
        let labels = PolicyLabels {
            digest: digest.to_owned(),
        };
        self.inner.replica.policy.clear();
        self.inner.replica.policy.get_or_create(&labels).set(1);
    }

    /// What became of a changed policy.
    pub fn policy_reload(&self, result: Reload) {
        self.inner
            .replica
            .reloads
            .get_or_create(&ReloadLabels { result })
            .inc();
    }

    /// What became of a request to the collector of spans.
    pub fn export(&self, result: Exported) {
        self.inner
            .traces
            .requests
            .get_or_create(&ExportedLabels { result })
            .inc();
    }

    /// What became of so many spans.
    pub fn spans(&self, result: SpanFate, spans: usize) {
        self.inner
            .traces
            .spans
            .get_or_create(&SpanLabels { result })
            .inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }
}

fn of(target: &str) -> TargetLabels {
    TargetLabels {
        target: target.to_owned(),
    }
}

/// A count as a gauge takes it.
fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
