//! The metrics themselves, by what they are about: registered under their names, described, and at zero.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::book::{Book, Entry};
use super::labels::{
    AlertLabels, BuildLabels, Delivery, DeliveryLabels, Exported, ExportedLabels, PolicyLabels,
    Received, ReceivedLabels, Refused, RefusedLabels, Reload, ReloadLabels, ReporterLabels,
    RollbackLabels, SpanFate, SpanLabels, TargetLabels, Via,
};

/// Bounds, in seconds, for how long a recovery takes: from "at once" to the time after which it is given up.
const RECOVERY: [f64; 19] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0,
    300.0, 600.0, 900.0,
];
/// Bounds, in seconds, for how long a call takes.
const CALL: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// What comes in, and what it leads to.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) notifications: Family<ReceivedLabels, Counter>,
    pub(super) last_notification: Gauge<f64, AtomicU64>,
    pub(super) alerts: Family<AlertLabels, Counter>,
    pub(super) intake: Histogram,
    pub(super) claim: Histogram,
    pub(super) bytes_in_flight: Gauge,
    pub(super) panics: Counter,
}

/// What is rolled back, and how fast.
#[derive(Debug)]
pub(super) struct Rollbacks {
    pub(super) ended: Family<RollbackLabels, Counter>,
    pub(super) first_mutation: Histogram,
    pub(super) traffic_back: Histogram,
    pub(super) healthy: Histogram,
    pub(super) pending: Gauge,
    pub(super) asking: Gauge,
    pub(super) running: Gauge,
    pub(super) latched: Gauge,
    pub(super) held: Family<TargetLabels, Gauge>,
    pub(super) missing: Family<TargetLabels, Gauge>,
    pub(super) refused: Gauge,
    pub(super) refusals: Family<RefusedLabels, Counter>,
}

/// What this replica is, and what it says to people.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) leader: Gauge,
    pub(super) transitions: Counter,
    pub(super) hold: Gauge,
    pub(super) hold_unreadable: Gauge,
    pub(super) missing: Gauge,
    pub(super) reports: Family<DeliveryLabels, Counter>,
    pub(super) reports_pending: Family<ReporterLabels, Gauge>,
    pub(super) policy: Family<PolicyLabels, Gauge>,
    pub(super) reloads: Family<ReloadLabels, Counter>,
}

/// What is said to a collector of spans.
#[derive(Debug)]
pub(super) struct Traces {
    pub(super) requests: Family<ExportedLabels, Counter>,
    pub(super) spans: Family<SpanLabels, Counter>,
}

// === impl Door ===

impl Door {
    pub(super) fn new(book: &mut Book) -> Self {
        let door = Self {
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
        };
        // A series that starts at zero lets the first event be seen as an increase.
        for &result in Received::ALL {
            drop(door.notifications.get_or_create(&ReceivedLabels { result }));
        }
        door
    }
}

// === impl Rollbacks ===

impl Rollbacks {
    pub(super) fn new(book: &mut Book) -> Self {
        let rollbacks = Self {
            ended: book.add(
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
            asking: book.add(
                &Entry(
                    "rollbacks_awaiting_approval",
                    "",
                    "Rollbacks that wait for a person's approval",
                ),
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
            held: book.add(
                &Entry(
                    "target_held",
                    "`target`",
                    "1 while a person holds the target by its `spec.hold`",
                ),
                Family::default(),
            ),
            missing: book.add(
                &Entry(
                    "permissions_missing",
                    "`target`",
                    "Rights that Ripcord lacks in the target's namespace and needs to hear of it, pull it back, remember and tell; asked soon after the start, then every minute",
                ),
                Family::default(),
            ),
            refused: book.add(
                &Entry(
                    "journals_refused",
                    "",
                    "Rollbacks that stand still because the API server refuses their journal",
                ),
                Gauge::default(),
            ),
            refusals: book.add(
                &Entry(
                    "journal_refusals",
                    "`reason`",
                    "Calls of a rollback's journal that the API server refused for good",
                ),
                Family::default(),
            ),
        };
        for &reason in Refused::ALL {
            drop(rollbacks.refusals.get_or_create(&RefusedLabels { reason }));
        }
        rollbacks
    }
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(book: &mut Book, version: &'static str) -> Self {
        // A gauge, because the classic text format, which most tools read, knows no type `info`.
        let build: Family<BuildLabels, Gauge> = book.add(
            &Entry(
                "build_info",
                "`version`",
                "Always 1: the version of the program",
            ),
            Family::default(),
        );
        build.get_or_create(&BuildLabels { version }).set(1);
        let replica = Self {
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
                    "How often this replica began or ceased to lead",
                ),
                Counter::default(),
            ),
            hold: book.add(
                &Entry(
                    "hold",
                    "",
                    "1 while somebody holds everything, so that nothing starts",
                ),
                Gauge::default(),
            ),
            hold_unreadable: book.add(
                &Entry(
                    "hold_unreadable",
                    "",
                    "1 while the global hold cannot be read, which counts as held: nothing starts",
                ),
                Gauge::default(),
            ),
            missing: book.add(
                &Entry(
                    "own_permissions_missing",
                    "",
                    "Rights that Ripcord lacks in its own namespace; asked soon after the start, then every minute",
                ),
                Gauge::default(),
            ),
            reports: book.add(
                &Entry(
                    "reports",
                    "`reporter`, `result`",
                    "Messages to people, by the way they went and what became of them",
                ),
                Family::default(),
            ),
            reports_pending: book.add(
                &Entry(
                    "reports_pending",
                    "`reporter`",
                    "Rollbacks with something that was not told yet",
                ),
                Family::default(),
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
        };
        for &reporter in Via::ALL {
            for &result in Delivery::ALL {
                let labels = DeliveryLabels { reporter, result };
                drop(replica.reports.get_or_create(&labels));
            }
        }
        for &result in Reload::ALL {
            drop(replica.reloads.get_or_create(&ReloadLabels { result }));
        }
        replica
    }
}

// === impl Traces ===

impl Traces {
    pub(super) fn new(book: &mut Book) -> Self {
        let traces = Self {
            requests: book.add(
                &Entry(
                    "otlp_requests",
                    "`result`",
                    "Requests to the collector of spans, by what became of them",
                ),
                Family::default(),
            ),
            spans: book.add(
                &Entry("spans", "`result`", "Spans, by what became of them"),
                Family::default(),
            ),
        };
        for &result in Exported::ALL {
            drop(traces.requests.get_or_create(&ExportedLabels { result }));
        }
        for &result in SpanFate::ALL {
            drop(traces.spans.get_or_create(&SpanLabels { result }));
        }
        traces
    }
}
