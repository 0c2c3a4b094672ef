//! Keeps the gauges in step with what is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Caches;
use crate::engine::lease::Standing;
use crate::policy::guard::Hold;
use crate::rollback::{Memory, Phase};
use crate::telemetry::Metrics;

/// Keeps the gauges in step with what the caches tell.
pub(super) async fn gauges(
    caches: Arc<Caches>,
    mut standing: watch::Receiver<Standing>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut changes = caches.changes();
    let mut led = false;
    loop {
        let open: Vec<_> = caches
            .rollbacks
            .all()
            .into_iter()
            .map(|rollback| rollback.phase())
            .collect();
        metrics.pending(
            open.iter()
                .filter(|phase| **phase == Phase::Pending)
                .count(),
        );
        metrics.asking(
            open.iter()
                .filter(|phase| **phase == Phase::AwaitingApproval)
                .count(),
        );
        metrics.running(
            open.iter()
                .filter(|phase| **phase == Phase::Running)
                .count(),
        );
        metrics.latched(
            caches
                .memories
                .all()
                .iter()
                .filter(|memory| Memory::latch(memory).is_some())
                .count(),
        );
        metrics.hold(caches.hold() != Hold::Free);
        let leads = standing.borrow_and_update().term().is_some();
        metrics.leader(leads);
        if leads != led {
            metrics.lease_transition();
            led = leads;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = standing.changed() => if changed.is_err() { return },
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                // Gauges need not follow every event.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
