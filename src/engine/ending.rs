//! How a rollback ends: the memory first, then the record. The keeper lets its object go.

use std::time::Duration;

use jiff::Timestamp;

use super::Context;
use super::journal::{Halt, Journal};
use crate::procedure::StepPhase;
use crate::reason::{Finding, Reason};
use crate::rollback::history::rough;
use crate::rollback::{MemoryStatus, Phase, Rollback};
use crate::target::{Snapshot, Target};
use crate::telemetry::Span;

/// How often a write of the memory may be refused for good before it is left to the keeper.
const REFUSALS: usize = 10;
/// How long to wait before a write is tried again.
const AGAIN: Duration = Duration::from_millis(300);

/// Why a person wants this rollback to stop, if one does.
#[must_use]
pub fn asked_to_stop(rollback: &Rollback) -> Option<Finding> {
    if let Some(cancel) = &rollback.spec.cancel {
        return Some(
            Reason::Cancelled.because(format!("cancelled by {}: {}", cancel.by, cancel.reason)),
        );
    }
    rollback
        .metadata
        .deletion_timestamp
        .as_ref()
        .map(|_| Reason::Deleted.into())
}

/// Ends a rollback that a guard refused before anything was touched.
///
/// # Errors
/// Why this replica leaves it instead.
pub async fn decline(
    ctx: &Context,
    journal: &mut Journal,
    target: Option<&Target>,
    finding: Finding,
    latch: bool,
) -> Result<(), Halt> {
    if latch && let Some(target) = target {
        journal.fence(ctx).await?;
        let name = journal.rollback.name().to_owned();
        let now = (ctx.clock)();
        remember(ctx, target, |memory| {
            memory.latch(&name, finding.clone(), now)
        })
        .await?;
    }
    let phase = if ctx.only_watches(&journal.rollback) {
        Phase::Shadowed
    } else {
        Phase::Declined
    };
    end(ctx, journal, target, None, phase, finding).await
}

/// Ends a rollback: what must be remembered of it first, then its record.
///
/// # Errors
/// Why this replica leaves it instead.
pub async fn end(
    ctx: &Context,
    journal: &mut Journal,
    target: Option<&Target>,
    at: Option<&Snapshot>,
    phase: Phase,
    finding: Finding,
) -> Result<(), Halt> {
    let now = (ctx.clock)();
    if let Some(target) = target {
        // The memory is written under no epoch: a leader that was frozen must not tell it what is over.
        journal.fence(ctx).await?;
        let name = journal.rollback.name().to_owned();
        let made = at.and_then(|at| made_by(journal, at));
        let last = last(journal, phase);
        let ran = journal.page.run.started.is_some();
        let drill = journal.rollback.spec.drill;
        let received = journal.rollback.received().unwrap_or(now);
        let mut run = journal.page.run.clone();
        if phase == Phase::Succeeded {
            run.healthy = Some(now);
        }
        remember(ctx, target, |memory| {
            let mut changed = false;
            if drill {
                changed |= memory.remember_drill(&name, phase, &run, received, now);
            }
            if let Some(release) = made.as_ref().filter(|_| !drill) {
                changed |= memory.remember_made(release, &name, now);
            }
            if phase == Phase::Failed && !drill {
                changed |= memory.latch(&name, finding.clone(), now);
            }
            if memory.active.as_ref() == Some(&name) {
                memory.active = None;
                changed = true;
            }
            if ran && !drill {
                memory.shown.last.clone_from(&last);
                memory.shown.when = Some(now);
                changed = true;
            }
            changed
        })
        .await?;
    }
    close(journal, at, phase, &finding, now);
    journal.write(ctx).await?;
    count(ctx, journal, phase);
    tell(ctx, journal, &finding, now);
    tracing::info!(
        rollback = journal.rollback.name(),
        k8s.namespace = journal.rollback.namespace(),
        phase = phase.name(),
        reason = finding.reason.code(),
        "rollback ended: {finding}"
    );
    let warning = matches!(phase, Phase::Failed | Phase::Declined);
    ctx.events
        .say(&journal.rollback, phase.name(), &finding, warning);
    Ok(())
}

/// Puts the trace's last spans on their way: the steps that ended with the rollback, and the whole of it.
fn tell(ctx: &Context, journal: &Journal, finding: &Finding, now: Timestamp) {
    let rollback = &journal.rollback;
    let steps = &journal.page.run.steps;
    // The last step's end is on record only now.
    let done = |index| index + 1 == steps.len() && journal.page.phase == Phase::Succeeded;
    for (index, entry) in steps.iter().enumerate() {
        if entry.finished == Some(now) || done(index) {
            ctx.spans.record_any(|| Span::step(rollback, index, entry));
        }
    }
    ctx.spans.record(|| Span::whole(rollback, finding, now));
}

/// Counts an end, and how long it took to get there.
fn count(ctx: &Context, journal: &Journal, phase: Phase) {
    let procedure = journal
        .page
        .plan
        .as_ref()
        .map_or("none", |plan| plan.procedure.as_str());
    // Neither a number nor an alarm is to come of a drill.
    if journal.rollback.spec.drill {
        return;
    }
    ctx.metrics.rollback(procedure, phase);
    let Some(received) = journal.rollback.received() else {
        return;
    };
    let after = |at: Option<Timestamp>| Duration::try_from(at?.duration_since(received)).ok();
    let run = &journal.page.run;
    if let Some(after) = after(run.first_mutation) {
        ctx.metrics.first_mutation(after);
    }
    if let Some(after) = after(run.traffic_back) {
        ctx.metrics.traffic_back(after);
    }
    if let Some(after) = after(run.healthy) {
        ctx.metrics.healthy(after);
    }
}

/// Puts the end on the page.
fn close(
    journal: &mut Journal,
    at: Option<&Snapshot>,
    phase: Phase,
    finding: &Finding,
    now: Timestamp,
) {
    let received = journal.rollback.received();
    let run = &mut journal.page.run;
    run.finished = Some(now);
    // Whoever could not look has said what is known.
    run.state = at.map(Snapshot::state).or(run.state.take());
    for entry in &mut run.steps {
        match entry.phase {
            StepPhase::Running => {
                entry.phase = if phase == Phase::Failed {
                    StepPhase::Failed
                } else {
                    StepPhase::Skipped
                };
                entry.finished = Some(now);
                entry.observed = Some(finding.clone());
            }
            StepPhase::Pending => entry.phase = StepPhase::Skipped,
            StepPhase::Done | StepPhase::Failed | StepPhase::Skipped => {}
        }
    }
    if phase == Phase::Succeeded {
        run.healthy = Some(now);
        run.recovery = received.map(|received| short(now.duration_since(received)));
    }
    journal.page.phase = phase;
    journal.page.reason = Some(finding.clone());
}

/// The release that this rollback made, if its restore is what is live.
fn made_by(journal: &Journal, at: &Snapshot) -> Option<crate::target::Release> {
    let rollout = at.rollout.as_ref()?;
    let ours = rollout.operation.is_some() && rollout.operation == journal.rollback.metadata.uid;
    let operation = rollout.operation.as_deref().unwrap_or_default();
    at.live().filter(|live| {
        let plan = journal.page.plan.as_ref().filter(|_| ours);
        plan.is_some_and(|plan| at.arrived(&plan.to, operation) == Some(live.hash.as_str()))
    })
}

fn last(journal: &Journal, phase: Phase) -> String {
    match (&journal.page.plan, phase) {
        (Some(plan), Phase::Succeeded) => format!("{} → {}", plan.from.name(), plan.to.name()),
        _ => phase.name().to_lowercase(),
    }
}

/// A recovery time for a column.
fn short(time: jiff::SignedDuration) -> String {
    if time.as_secs() < 60 {
        format!("{:.1}s", time.as_secs_f64().max(0.0))
    } else {
        rough(time)
    }
}

/// Changes the memory of a target, for as long as it takes.
///
/// # Errors
/// When the term ends first.
pub async fn remember(
    ctx: &Context,
    target: &Target,
    mut change: impl FnMut(&mut MemoryStatus) -> bool,
) -> Result<(), Halt> {
    let mut refused = 0;
    loop {
        match ctx.cluster.remember(target, None, &mut change).await {
            Ok(memory) => {
                ctx.caches
                    .memories
                    .offer(&target.workload.namespace, &target.name, memory);
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(ripcord.target = target.name, %error, "the target's memory cannot be written");
                // What is refused for good must not keep the rollback from its end; the keeper tries on.
                refused += usize::from(!error.passes());
                if refused == REFUSALS {
                    return Ok(());
                }
            }
        }
        if !ctx.pause(AGAIN).await {
            return Err(Halt::TermEnded);
        }
    }
}
