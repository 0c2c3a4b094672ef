//! Keeps the gauges in step with what is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Caches, Clock};
use crate::engine::lease::Standing;
use crate::policy::Policy;
use crate::policy::guard::Hold;
use crate::rollback::{Memory, Phase};
use crate::telemetry::Metrics;

/// How often everything is looked at although nothing changed: a hold ends by time alone.
const ROUND: Duration = Duration::from_secs(15);

/// Keeps the gauges in step with what the caches tell.
pub(super) async fn gauges(
    caches: Arc<Caches>,
    policy: Arc<ArcSwap<Policy>>,
    clock: Clock,
    mut standing: watch::Receiver<Standing>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut changes = caches.changes();
    let mut led = false;
    let mut named = BTreeSet::new();
    loop {
        named = targets(&caches, &policy.load(), &clock, &metrics, &named);
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
        let hold = caches.hold();
        metrics.hold(matches!(hold, Hold::Held(_)));
        metrics.hold_unreadable(matches!(hold, Hold::Unreadable(_)));
        let leads = standing.borrow_and_update().term().is_some();
        metrics.leader(leads);
        if leads != led {
            metrics.lease_transition();
            led = leads;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
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

/// What is shown by the policy's own names; says which targets it has now.
fn targets(
    caches: &Caches,
    policy: &Policy,
    clock: &Clock,
    metrics: &Metrics,
    before: &BTreeSet<String>,
) -> BTreeSet<String> {
    let now = clock();
    for procedure in policy.procedures.keys() {
        metrics.procedure(procedure);
    }
    for target in policy.targets.values() {
        let memory = caches.memory(target);
        let held = memory.is_some_and(|memory| memory.hold(now).is_some());
        metrics.target_held(&target.name, held);
    }
    let named: BTreeSet<_> = policy.targets.keys().cloned().collect();
    for gone in before.difference(&named) {
        metrics.target_gone(gone);
    }
    named
}
