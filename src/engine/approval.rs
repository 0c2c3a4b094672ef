//! The wait for a person's approval: what is written when somebody is asked, and what must still hold once somebody said
//! yes. While it waits, nobody works on the rollback, and others on the target go before it.

use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::ending::asked_to_stop;
use super::journal::Journal;
use crate::cluster::journal::Page;
use crate::policy::Policy;
use crate::policy::approval::Consent;
use crate::procedure::Journey;
use crate::reason::{Finding, Reason};
use crate::rollback::object::Asked;
use crate::rollback::{Phase, Rollback};
use crate::target::workload::Rollout;
use crate::target::{Release, Target};

/// Puts on the page that the rollback runs, or that a person is asked; says whether it runs.
pub(super) fn settle(
    page: &mut Page,
    rollback: &Rollback,
    target: &Target,
    consent: Consent,
    now: Timestamp,
) -> bool {
    let (released, reason) = match consent {
        Consent::Needed(why) => {
            let wait = SignedDuration::try_from(target.approve_within);
            page.run.asked = Some(Asked {
                at: now,
                until: now + wait.unwrap_or(SignedDuration::MAX),
                why: why.clone(),
                released: None,
            });
            page.phase = Phase::AwaitingApproval;
            page.reason = Some(Reason::AwaitingApproval.because(why));
            return false;
        }
        Consent::Given(at) => {
            let approval = rollback.spec.approval.as_ref();
            let by = approval.map_or("somebody", |approval| approval.by.as_str());
            (at, Reason::Approved.because(format!("approved by {by}")))
        }
        Consent::Needless(since) => (since, Reason::Admitted.into()),
        Consent::Refused(_) => return false,
    };
    if let Some(asked) = &mut page.run.asked {
        asked.released = Some(released);
    }
    page.phase = Phase::Running;
    page.reason = Some(reason);
    page.run.started = Some(now);
    true
}

/// What was approved is what is done: the plan stays as it was frozen, if it still leads away from the same release, back to
/// the same one, and in the same way.
///
/// # Errors
/// What is different now.
pub(super) fn unchanged(page: &Page, now: &Journey) -> Result<(), Finding> {
    let Some(plan) = &page.plan else {
        return Err(Reason::ApprovalStale.because("nothing was planned when it was approved"));
    };
    let same = |one: &Release, other: &Release| {
        one.uid == other.uid && one.hash == other.hash && one.revision == other.revision
    };
    if !same(&plan.from, &now.from) || !same(&plan.to, &now.to) {
        let said = format!(
            "approved was {} → {}, now it would be {} → {}",
            plan.from, plan.to, now.from, now.to
        );
        return Err(Reason::ApprovalStale.because(said));
    }
    if plan.owner != now.owner {
        let owner = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "nobody".to_owned());
        let said = format!(
            "the spec was owned by {} when it was asked for, and is by {} now",
            owner(&plan.owner),
            owner(&now.owner)
        );
        return Err(Reason::ApprovalStale.because(said));
    }
    Ok(())
}

/// Says that somebody is asked.
pub(super) fn announce(ctx: &Context, journal: &Journal) {
    let Some(reason) = &journal.page.reason else {
        return;
    };
    tracing::info!(
        rollback = journal.rollback.name(),
        k8s.namespace = journal.rollback.namespace(),
        "a person's approval is awaited: {reason}"
    );
    let phase = journal.page.phase.name();
    ctx.events.say(&journal.rollback, phase, reason, true);
}

/// Whether there is something to do about a rollback: always, but for one that waits for an answer and has reason to.
pub(super) fn is_due(ctx: &Context, policy: &Policy, rollback: &Rollback) -> bool {
    if rollback.phase() != Phase::AwaitingApproval {
        return true;
    }
    let Some(target) = policy.targets.get(&rollback.spec.target) else {
        return true;
    };
    let now = (ctx.clock)();
    let waits = matches!(policy.consent(rollback, target, now), Consent::Needed(_));
    !waits
        || (!rollback.spec.alerts.is_empty() && rollback.all_ended())
        || asked_to_stop(rollback).is_some()
        || replaced(ctx, rollback, target)
}

/// Whether another release is live than the one that it is about.
fn replaced(ctx: &Context, rollback: &Rollback, target: &Target) -> bool {
    let seen = ctx.caches.rollout(target);
    let live = seen.as_ref().map(|seen| &seen.rollout);
    let live = live.filter(|live| live.observed);
    // One that follows another can find live what that one restored.
    let parent = rollback.spec.rung.and(rollback.spec.parent.as_deref());
    let parent = parent.and_then(|it| ctx.caches.rollbacks.get(rollback.namespace(), it));
    let operation = parent.and_then(|it| it.metadata.uid.clone());
    let arrived = |live: &&Rollout| {
        let marked = operation.is_some() && live.operation == operation;
        let there = |to: &Release| to.uid == live.uid && to.hash == live.current;
        marked && rollback.to().is_some_and(there)
    };
    let live = live.filter(|live| !arrived(live));
    live.zip(rollback.from()).is_some_and(|(live, from)| {
        live.uid != from.uid || live.current != from.hash || live.revision != from.revision
    })
}

/// When the next of these questions is over.
pub(super) fn next_end(ctx: &Context) -> Option<Timestamp> {
    let all = ctx.caches.rollbacks.all();
    let asked = all
        .iter()
        .filter(|rollback| rollback.phase() == Phase::AwaitingApproval);
    asked
        .filter_map(|rollback| Some(rollback.status.as_ref()?.run.asked.as_ref()?.until))
        .min()
}
