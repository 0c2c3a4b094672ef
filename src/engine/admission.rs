//! Takes a claimed rollback to its frozen plan, or to its refusal: every guard is asked again, on fresh reads.

mod fresh;
mod read;

use jiff::Timestamp;

pub use self::fresh::Fresh;
pub use self::read::missing_to_exec;
use super::journal::{Halt, Journal};
use super::{Context, approval, ending};
use crate::cluster::workloads::Look;
use crate::policy::Policy;
use crate::policy::admission::Admission;
use crate::policy::approval::Consent;
use crate::procedure::{Entry, Journey, Procedure};
use crate::reason::{Finding, Reason};
use crate::rollback::history::Destination;
use crate::rollback::object::Plan;
use crate::rollback::{Phase, Rollback};
use crate::target::{Release, Snapshot, Target};
use crate::telemetry::Span;

/// Admits the rollback: with a plan, which the journal's next write puts on record, it is Running afterwards, and its first
/// snapshot is returned; otherwise it has ended, or waits for a person.
///
/// # Errors
/// Why this replica leaves it.
pub async fn admit(
    ctx: &Context,
    journal: &mut Journal,
) -> Result<Option<(Target, Snapshot)>, Halt> {
    loop {
        let policy = ctx.policy.load_full();
        let spec = &journal.rollback.spec;
        if let Some(finding) = spec.unplaced.clone() {
            ending::decline(ctx, journal, None, finding, false).await?;
            return Ok(None);
        }
        let target = policy
            .targets
            .get(&spec.target)
            .filter(|target| target.workload.namespace == journal.rollback.namespace());
        let Some(target) = target.cloned() else {
            let said = format!(
                "the policy has no target {} in namespace {}",
                spec.target,
                journal.rollback.namespace()
            );
            ending::decline(ctx, journal, None, Reason::TargetGone.because(said), false).await?;
            return Ok(None);
        };
        if let Some(stopped) = ending::asked_to_stop(&journal.rollback) {
            ending::end(ctx, journal, Some(&target), None, Phase::Cancelled, stopped).await?;
            return Ok(None);
        }
        let consent = policy.consent(&journal.rollback, &target, (ctx.clock)());
        if let Consent::Refused(finding) = consent {
            ending::decline(ctx, journal, Some(&target), finding, false).await?;
            return Ok(None);
        }
        let mut read = read::read(ctx, &policy, &target, Look::AtHand).await;
        let sure = matches!(&read, Ok(Ok(fresh)) if fresh.is_whole()
            && matches!(judge(ctx, &policy, &target, journal, fresh), Admission::Go { .. }));
        if !sure {
            read = read::read(ctx, &policy, &target, Look::Quorum).await;
        }
        let admission = match read {
            Ok(Err(finding)) => {
                ending::decline(ctx, journal, Some(&target), finding, false).await?;
                return Ok(None);
            }
            Ok(Ok(fresh)) => {
                let admission = judge(ctx, &policy, &target, journal, &fresh);
                if let Some(decided) =
                    decide(ctx, &policy, journal, &target, fresh, admission).await?
                {
                    return Ok(decided);
                }
                continue;
            }
            Err(error) => error,
        };
        tracing::warn!(rollback = journal.rollback.name(), error = %admission, "the facts for the admission cannot be read");
        if let Some(late) = policy.too_late(&journal.rollback, &target, (ctx.clock)()) {
            ending::decline(ctx, journal, Some(&target), late, false).await?;
            return Ok(None);
        }
        if !ctx.pause(ctx.tick).await {
            return Err(Halt::TermEnded);
        }
    }
}

fn judge(
    ctx: &Context,
    policy: &Policy,
    target: &Target,
    journal: &Journal,
    fresh: &Fresh,
) -> Admission {
    let rollbacks = ctx.caches.rollbacks_of(target);
    fresh.judge(policy, target, &journal.rollback, &rollbacks, (ctx.clock)())
}

/// Carries out what was decided; none means: look again.
async fn decide(
    ctx: &Context,
    policy: &Policy,
    journal: &mut Journal,
    target: &Target,
    fresh: Fresh,
    admission: Admission,
) -> Result<Option<Option<(Target, Snapshot)>>, Halt> {
    let shadow = ctx.only_watches(&journal.rollback);
    match admission {
        Admission::Wait(_) => {
            if !ctx.pause(ctx.tick).await {
                return Err(Halt::TermEnded);
            }
            journal.refresh(ctx);
            Ok(None)
        }
        Admission::Supersede(finding) => {
            ending::end(
                ctx,
                journal,
                Some(target),
                Some(&fresh.at),
                Phase::Superseded,
                finding,
            )
            .await?;
            Ok(Some(None))
        }
        Admission::Decline { finding, latch } => {
            ending::decline(ctx, journal, Some(target), finding, latch && !shadow).await?;
            Ok(Some(None))
        }
        Admission::Go {
            from,
            destination,
            procedure,
        } => {
            let now = (ctx.clock)();
            let to = &destination.release;
            let journey = journey(&journal.rollback, target, &fresh.at, from, to);
            let consent = policy.consent(&journal.rollback, target, now);
            let asked = journal.page.phase == Phase::AwaitingApproval;
            let frozen = match &consent {
                Consent::Refused(finding) => Err(finding.clone()),
                Consent::Given(_) if asked => approval::unchanged(&journal.page, &journey),
                Consent::Needed(_) if asked => {
                    let unchanged = approval::unchanged(&journal.page, &journey);
                    // Nothing has changed: it goes on waiting.
                    if unchanged.is_ok() {
                        if !ctx.pause(ctx.tick).await {
                            return Err(Halt::TermEnded);
                        }
                        return Ok(Some(None));
                    }
                    unchanged
                }
                _ => plan(
                    &journal.rollback,
                    target,
                    &fresh.at,
                    &journey,
                    destination,
                    &procedure,
                    now,
                )
                .map(|plan| freeze(journal, plan)),
            };
            if let Err(finding) = frozen {
                ending::decline(ctx, journal, Some(target), finding, false).await?;
                return Ok(Some(None));
            }
            if shadow {
                let would = journal.page.plan.as_ref().map(would).unwrap_or_default();
                ending::end(
                    ctx,
                    journal,
                    Some(target),
                    Some(&fresh.at),
                    Phase::Shadowed,
                    Reason::Shadow.because(would),
                )
                .await?;
                planned(ctx, journal, now);
                return Ok(Some(None));
            }
            let before = (journal.page.phase, journal.page.run.asked.clone());
            let runs = approval::settle(&mut journal.page, &journal.rollback, target, consent, now);
            if runs {
                journal.draft();
                planned(ctx, journal, now);
                return Ok(Some(Some((target.clone(), fresh.at))));
            }
            match journal.write_unless_joined(ctx).await {
                Ok(()) => {
                    planned(ctx, journal, now);
                    approval::announce(ctx, journal);
                    Ok(Some(None))
                }
                Err(Halt::Joined) => {
                    (journal.page.phase, journal.page.run.asked) = before;
                    Ok(None)
                }
                Err(halt) => Err(halt),
            }
        }
    }
}

fn planned(ctx: &Context, journal: &Journal, began: Timestamp) {
    let end = (ctx.clock)();
    ctx.spans
        .record(|| Span::plan(&journal.rollback, began, end));
}

/// Where a rollback that may begin leads.
#[must_use]
pub fn journey(
    rollback: &Rollback,
    target: &Target,
    at: &Snapshot,
    from: Release,
    to: &Release,
) -> Journey {
    let owner = at
        .rollout
        .as_ref()
        .and_then(|rollout| target.owner(rollout));
    Journey {
        operation: rollback.metadata.uid.clone().unwrap_or_default(),
        from,
        to: to.clone(),
        served: at.served(),
        owner: owner.map(|owner| owner.to_string()),
    }
}

/// The plan of a rollback that may begin: every name, revision and hash resolved.
///
/// # Errors
/// Why a step cannot be planned.
pub fn plan(
    rollback: &Rollback,
    target: &Target,
    at: &Snapshot,
    journey: &Journey,
    destination: Destination,
    procedure: &Procedure,
    now: Timestamp,
) -> Result<Plan, Finding> {
    if let Some(unfit) = procedure.unfit(target) {
        return Err(unfit);
    }
    let steps = procedure.steps.iter();
    let steps = steps.map(|step| step.plan(target, journey, at));
    Ok(Plan {
        made: now,
        procedure: procedure.name.clone(),
        severity: rollback.severity(),
        budget_seconds: procedure.budget.as_secs_f64(),
        from: journey.from.clone(),
        to: destination.release,
        chosen: destination.chosen,
        workload: target.workload.name.clone(),
        kind: target.workload.kind,
        deployments: target.workload.deployments.clone(),
        give_up_seconds: target.give_up.as_secs_f64(),
        served: journey.served,
        owner: journey.owner.clone(),
        escalate_to: procedure.escalate_to.clone(),
        steps: steps.collect::<Result<_, _>>()?,
    })
}

/// What a plan would do.
#[must_use]
pub fn would(plan: &Plan) -> String {
    let from = &plan.from;
    let way = match &plan.owner {
        Some(owner) => format!("would abort {from}, whose spec is {owner}'s, and so go"),
        None => format!("would pull {from}"),
    };
    format!("{way} back to {}: {}", plan.to, plan.chosen)
}

/// Puts a plan and an empty journal for it on the page.
fn freeze(journal: &mut Journal, plan: Plan) {
    let run = &mut journal.page.run;
    let steps = plan.steps.iter();
    run.steps = steps.map(|step| Entry::pending(step.name())).collect();
    run.progress = Some(format!("0/{}", plan.steps.len()));
    run.from = Some(plan.from.name_beside(&plan.to));
    run.to = Some(plan.to.name_beside(&plan.from));
    journal.page.plan = Some(plan);
}
