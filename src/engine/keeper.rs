//! Keeps the memory of every target: which releases went live and were stable, and whether a person is needed. Lets go of
//! the objects of ended rollbacks.
//!
//! Level-triggered from the caches, so that what one leader missed the next one does.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{Context, ladder};
use crate::cluster::caches::Seen;
use crate::reason::Finding;
use crate::rollback::memory::Shown;
use crate::rollback::{FINALIZER, Memory, MemoryStatus, Phase, Rollback};
use crate::target::drill::Twin;
use crate::target::{Drills, Target};

/// How often everything is looked at although nothing changed: soaking and holds take their effect by time alone.
const ROUND: Duration = Duration::from_secs(15);
/// How long it lets changes gather: they come several at a time, and what is remembered of them can wait where a first change
/// cannot.
const GATHER: Duration = Duration::from_millis(100);

/// Works until the term ends.
pub async fn work(ctx: Context) {
    let mut changes = ctx.caches.changes();
    loop {
        let policy = ctx.policy.load_full();
        for target in policy.targets.values() {
            if ctx.ended.is_cancelled() {
                return;
            }
            if ctx.caches.listed(&target.workload.namespace).is_ok() {
                keep(&ctx, target, policy.mode_of(target)).await;
                ladder::climb(&ctx, target).await;
                retire(&ctx, target).await;
            }
        }
        let_go(&ctx).await;
        retire_unplaced(&ctx).await;
        tokio::select! {
            () = ctx.ended.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
                changes.mark_unchanged();
            }
        }
    }
}

/// Lets the objects of ended rollbacks go. Not the work of whoever ended them: that leader may have been killed in between.
async fn let_go(ctx: &Context) {
    let (home, _) = ctx.caches.hold_at();
    let pinned = |rollback: &Arc<Rollback>| {
        // Nothing runs in Ripcord's own namespace, and nothing is pinned there.
        if rollback.namespace() == home {
            return false;
        }
        let mut finalizers = rollback.finalizers().iter();
        rollback.phase().ended() && finalizers.any(|finalizer| finalizer == FINALIZER)
    };
    for rollback in ctx.caches.rollbacks.all().into_iter().filter(pinned) {
        if let Err(error) = ctx.cluster.pin(&rollback, false).await {
            tracing::warn!(rollback = rollback.name(), %error, "the finalizer cannot be removed");
        }
    }
}

/// Writes what is new about a target, if anything is.
async fn keep(ctx: &Context, target: &Target, mode: &'static str) {
    let now = (ctx.clock)();
    let Some(seen) = ctx.caches.rollout(target) else {
        return;
    };
    let rollbacks = ctx.caches.rollbacks_of(target);
    let cached = ctx.caches.memory(target);
    let mut expected = cached
        .as_ref()
        .map(|memory| memory.state().into_owned())
        .unwrap_or_default();
    if cached.is_some()
        && !learn(
            &mut expected,
            target,
            &seen,
            None,
            cached.as_deref(),
            &rollbacks,
            mode,
            now,
        )
    {
        return;
    }
    let Some(found) = look(ctx, target, &seen, cached.as_deref()).await else {
        return;
    };
    let kept = ctx.cluster.remember(target, None, |memory| {
        learn(
            memory,
            target,
            &seen,
            Some(&found),
            cached.as_deref(),
            &rollbacks,
            mode,
            now,
        )
    });
    // One try: the next round comes soon, and one target's trouble must not keep the others waiting.
    let memory = match kept.await {
        Ok(memory) => memory,
        Err(error) => {
            tracing::warn!(ripcord.target = target.name, %error, "the target's memory cannot be kept");
            return;
        }
    };
    if let Some(latch) = memory
        .latch()
        .filter(|latch| cached.as_deref().and_then(Memory::latch) != Some(*latch))
    {
        tracing::warn!(
            ripcord.target = target.name,
            rollback = latch.rollback,
            reason = latch.finding.reason.code(),
            "target latched: {}",
            latch.finding
        );
    }
    let namespace = &target.workload.namespace;
    ctx.caches.memories.offer(namespace, &target.name, memory);
}

/// What its replica sets tell of a live release.
#[derive(Default)]
struct Found {
    /// When it was made.
    created: Option<Timestamp>,
    /// Of which release a drill made it.
    twin: Option<Twin>,
}

/// What replica sets tell, where that matters: for a release that is new to the memory. None where it cannot be said yet what
/// the release is.
async fn look(
    ctx: &Context,
    target: &Target,
    seen: &Seen,
    cached: Option<&Memory>,
) -> Option<Found> {
    let rollout = &seen.rollout;
    let known = cached
        .and_then(|memory| memory.status.as_ref())
        .and_then(|status| status.live.as_ref());
    if !rollout.observed
        || known.is_some_and(|live| live.uid == rollout.uid && live.hash == rollout.current)
    {
        return Some(Found::default());
    }
    let at = ctx.cluster.snapshot(&target.workload, &ctx.clock).await;
    let at = at.ok().filter(|at| {
        let now = at.rollout.as_ref();
        now.is_some_and(|now| now.observed && now.current == rollout.current)
    });
    let Some(at) = at else {
        // A release that bears a drill's mark is not taken for a new one unseen: it would stay one.
        return rollout.drill.is_none().then(Found::default);
    };
    Some(Found {
        created: at.replica_set(&rollout.current).and_then(|set| set.created),
        twin: at.drilled(),
    })
}

/// Teaches a memory all that is known; says whether anything was new.
#[expect(
    clippy::too_many_arguments,
    reason = "everything that a memory is made from, at one place"
)]
fn learn(
    memory: &mut MemoryStatus,
    target: &Target,
    seen: &Seen,
    found: Option<&Found>,
    cached: Option<&Memory>,
    rollbacks: &[Arc<Rollback>],
    mode: &str,
    now: Timestamp,
) -> bool {
    let twin = found.and_then(|found| found.twin.as_ref());
    let mut changed = twin.is_some_and(|twin| memory.remember_drilled(twin, now));
    let created = found.and_then(|found| found.created);
    changed |= memory.observe(&seen.rollout, created, now);
    let acknowledged = cached.and_then(|memory| memory.spec.acknowledge.as_deref());
    if let Some((name, finding)) = latching(rollbacks, memory, acknowledged) {
        changed |= memory.latch(&name, finding, now);
    }
    let active = rollbacks.iter().any(|rollback| {
        memory.active.as_deref() == Some(rollback.name()) && !rollback.phase().ended()
    });
    if memory.active.is_some() && !active {
        memory.active = None;
        changed = true;
    }
    let held = cached.and_then(|memory| memory.hold(now)).is_some();
    let latched = memory
        .latch
        .as_ref()
        .is_some_and(|latch| acknowledged != Some(latch.rollback.as_str()));
    let asked = rollbacks
        .iter()
        .any(|rollback| rollback.phase() == Phase::AwaitingApproval);
    let state = match (memory.active.is_some(), asked, latched, held) {
        (true, _, _, _) => "running",
        (_, true, _, _) => "asking",
        (_, _, true, _) => "latched",
        (_, _, _, true) => "held",
        _ => "ok",
    };
    let shown = Shown {
        live: format!("r{}", seen.rollout.revision),
        known_good: known_good(memory, target, now),
        drills: target.drills == Drills::Allowed,
        mode: mode.to_owned(),
        state: state.to_owned(),
        ..memory.shown.clone()
    };
    changed |= shown != memory.shown;
    memory.shown = shown;
    let workload = format!("{}/{}", target.workload.kind.name(), target.workload.name);
    changed |= workload != memory.workload;
    memory.workload = workload;
    changed
}

/// The newest rollback that calls for a latch which is neither set nor acknowledged: one that failed, or one that did not
/// help.
fn latching(
    rollbacks: &[Arc<Rollback>],
    memory: &MemoryStatus,
    acknowledged: Option<&str>,
) -> Option<(String, Finding)> {
    let candidates = rollbacks
        .iter()
        .filter(|rollback| rollback.spec.mode.acts() && !rollback.spec.drill)
        .filter_map(|rollback| {
            let state = rollback.state();
            if let Some(persisting) = &state.alerts.persisting {
                return Some((
                    persisting.noticed,
                    rollback.name().to_owned(),
                    persisting.finding.clone(),
                ));
            }
            let failed = state.phase == Phase::Failed;
            let reason = state.reason.clone()?;
            failed
                .then(|| {
                    state
                        .run
                        .finished
                        .map(|finished| (finished, rollback.name().to_owned(), reason))
                })
                .flatten()
        });
    let (when, name, finding) = candidates.max_by_key(|(when, _, _)| *when)?;
    let newer = memory
        .latch
        .as_ref()
        .is_none_or(|latch| latch.since < when && latch.rollback != name);
    (newer && acknowledged != Some(name.as_str())).then_some((name, finding))
}

/// The newest release that is known to be good, for people.
fn known_good(memory: &MemoryStatus, target: &Target, now: Timestamp) -> String {
    let soak = SignedDuration::try_from(target.min_soak).unwrap_or(SignedDuration::MAX);
    let good = memory.history.iter().rev().find(|stable| {
        !memory.blames(&stable.hash)
            && stable.until.unwrap_or(now).duration_since(stable.since) >= soak
    });
    good.map_or_else(
        || "unknown".to_owned(),
        |stable| format!("r{}", stable.revision),
    )
}

/// Removes old rollbacks: never a target's newest, nor one whose release still is what the workload runs.
async fn retire(ctx: &Context, target: &Target) {
    let now = (ctx.clock)();
    let age = SignedDuration::try_from(ctx.retention.ended_after).unwrap_or(SignedDuration::MAX);
    let mut ended: Vec<_> = ctx
        .caches
        .rollbacks_of(target)
        .into_iter()
        .filter(|rollback| rollback.phase().ended())
        .collect();
    ended.sort_by_key(|rollback| std::cmp::Reverse(rollback.received()));
    let seen = ctx.caches.rollout(target);
    for old in ended.iter().skip(ctx.retention.keep_per_target.max(1)) {
        let finished = old.state().run.finished.or(old.received());
        let lives = seen.as_ref().is_some_and(|seen| {
            [old.from(), old.to()].into_iter().flatten().any(|release| {
                release.uid == seen.rollout.uid
                    && (release.hash == seen.rollout.current
                        || release.hash == seen.rollout.stable
                        || (release.is_to_be_made() && release.revision == seen.rollout.revision))
            })
        });
        if lives || finished.is_none_or(|finished| now.duration_since(finished) < age) {
            continue;
        }
        forget(ctx, old).await;
    }
}

/// Removes old records of alerts that led to no workload.
async fn retire_unplaced(ctx: &Context) {
    let now = (ctx.clock)();
    let age = SignedDuration::try_from(ctx.retention.ended_after).unwrap_or(SignedDuration::MAX);
    let (namespace, _) = ctx.caches.hold_at();
    let old = ctx.caches.rollbacks.select(namespace, |rollback| {
        let finished = rollback.state().run.finished;
        rollback.phase().ended() && finished.is_some_and(|at| now.duration_since(at) >= age)
    });
    for rollback in old {
        forget(ctx, &rollback).await;
    }
}

async fn forget(ctx: &Context, old: &Rollback) {
    match ctx.cluster.forget(old).await {
        Ok(()) => tracing::info!(rollback = old.name(), "an old rollback was removed"),
        Err(error) => {
            tracing::warn!(rollback = old.name(), %error, "an old rollback cannot be removed");
        }
    }
}
