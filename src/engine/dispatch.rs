//! Gives every target with an open rollback a worker of its own: targets in parallel, one rollback at a time each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::Instrument as _;

use super::lease::Term;
use super::supervise::supervise;
use super::{Context, approval, queue, run};
use crate::rollback::Rollback;
use crate::telemetry::span;

type Key = (String, String);

/// The targets that have a worker.
pub type Busy = Arc<Mutex<BTreeSet<Key>>>;

/// How long a rollback is left alone after this replica had to leave it.
const AGAIN: Duration = Duration::from_secs(1);
/// How long to wait at least for a question to people to be over.
const BREATH: Duration = Duration::from_millis(50);

/// Works until the term ends. `busy` is the term's own.
pub async fn work(ctx: Context, term: Term, busy: Busy) {
    let mut changes = ctx.caches.changes();
    loop {
        for key in waiting(&ctx) {
            if !busy
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key.clone())
            {
                continue;
            }
            let (ctx, busy) = (ctx.clone(), Arc::clone(&busy));
            let started = term.spawn(async move {
                supervise("a target's rollbacks", &ctx.ended, || work_on(&ctx, &key)).await;
                busy.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&key);
                // Whatever came in while this one ended is looked at again.
                ctx.caches.nudge();
            });
            if started.is_none() {
                return;
            }
        }
        let over = async {
            match approval::next_end(&ctx) {
                Some(end) => {
                    let left = Duration::try_from(end.duration_since((ctx.clock)()));
                    tokio::time::sleep(left.unwrap_or_default().max(BREATH)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ctx.ended.cancelled() => return,
            () = over => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The targets that have an open rollback about which there is something to do, each as namespace and name.
fn waiting(ctx: &Context) -> BTreeSet<Key> {
    let policy = ctx.policy.load();
    let open =
        ctx.caches.rollbacks.all().into_iter().filter(|rollback| {
            !rollback.phase().ended() && approval::is_due(ctx, &policy, rollback)
        });
    open.map(|rollback| {
        (
            rollback.namespace().to_owned(),
            rollback.spec.target.clone(),
        )
    })
    .collect()
}

async fn work_on(ctx: &Context, (namespace, target): &Key) {
    while !ctx.ended.is_cancelled() {
        let of_target =
            |rollback: &Rollback| rollback.spec.target == *target && !rollback.phase().ended();
        let open = ctx.caches.rollbacks.select(namespace, of_target);
        let policy = ctx.policy.load_full();
        let due = |rollback: &Rollback| approval::is_due(ctx, &policy, rollback);
        let Some(next) = queue::next(&open, due) else {
            return;
        };
        let name = next.name().to_owned();
        let trace_id = span::trace_id(next).to_string();
        let told = tracing::info_span!(
            "rollback",
            rollback.name = name,
            k8s.namespace = namespace,
            ripcord.target = target,
            trace_id
        );
        if let Err(halt) = run::run(ctx, namespace, &name).instrument(told).await {
            tracing::info!(
                rollback = name,
                k8s.namespace = namespace,
                ?halt,
                "this replica leaves the rollback"
            );
            // Whoever has it now needs a moment; asking again at once would only fence them in turn.
            ctx.pause(AGAIN).await;
            return;
        }
    }
}
