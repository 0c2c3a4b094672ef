//! When a run looks again: as soon as something that it waits for may have come.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::Runner;

/// What a run looks again for: the workload as the watch last told, and what people and intake wrote. Its own writes are
/// not among it.
#[derive(PartialEq)]
pub(super) struct Stir {
    workload: [Option<u64>; 3],
    asked: Option<i64>,
    marks: Option<BTreeMap<String, String>>,
    deleting: bool,
    alerts: i64,
}

impl Runner<'_> {
    /// What there is to look for now.
    pub(super) fn stir(&self) -> Stir {
        let rollback = &self.journal.rollback;
        let caches = &self.ctx.caches;
        let cached = caches.rollbacks.get(rollback.namespace(), rollback.name());
        let cached = cached.as_deref().unwrap_or(rollback);
        Stir {
            workload: caches.versions(&self.target.workload),
            asked: cached.metadata.generation,
            marks: cached.metadata.annotations.clone(),
            deleting: cached.metadata.deletion_timestamp.is_some(),
            alerts: cached.state().alerts.seq,
        }
    }

    /// Waits until there is something to look for. One change comes as several events: they have `arrival` to arrive.
    pub(super) async fn stirred(
        &self,
        seen: Option<&Stir>,
        changes: &mut watch::Receiver<u64>,
        arrival: Duration,
    ) {
        changes.mark_unchanged();
        while Some(&self.stir()) == seen {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(arrival).await;
    }
}
