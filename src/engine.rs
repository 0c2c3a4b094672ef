//! The one replica that leads: it admits, plans and runs rollbacks, one per target at a time.
//!
//! Reads and writes of the cluster go through `cluster`; what to do next is decided by the pure rooms.

pub mod admission;
pub mod after;
mod approval;
pub mod dispatch;
pub mod ending;
pub mod journal;
pub mod keeper;
mod ladder;
pub mod leader;
pub mod lease;
pub mod queue;
pub mod run;
pub mod settings;
pub mod supervise;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::cluster::events::Events;
use crate::cluster::http::Prober;
use crate::cluster::rights::Rights;
use crate::cluster::{Caches, Clock, Cluster};
use crate::policy::Policy;
use crate::rollback::Rollback;
use crate::rollback::object::Mode;
use crate::telemetry::{Metrics, Spans};

/// What the engine works with, for one term of leadership.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// What the watches last told.
    pub caches: Arc<Caches>,
    /// The policy in force; a run keeps the plan that it was made with.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What the service account is known to be allowed to do.
    pub rights: Arc<Rights>,
    /// Looks at health endpoints.
    pub prober: Prober,
    /// Tells the time.
    pub clock: Clock,
    /// Publishes Kubernetes events.
    pub events: Events,
    /// Who this replica is.
    pub identity: String,
    /// How often a running step looks again at the latest.
    pub tick: Duration,
    /// Whether anything may be done at all.
    pub mode: Mode,
    /// Which ended rollbacks are kept.
    pub retention: settings::Retention,
    /// Counts.
    pub metrics: Metrics,
    /// Where finished spans go.
    pub spans: Spans,
    /// Cancelled when the term ends.
    pub ended: CancellationToken,
}

impl Context {
    /// Whether this rollback is planned and told, and nothing more.
    #[must_use]
    pub fn only_watches(&self, rollback: &Rollback) -> bool {
        self.mode == Mode::Shadow || rollback.spec.mode == Mode::Shadow
    }

    /// Waits for this long, or until the term ends; says whether the term goes on.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.ended.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}
