//! The ladder: which rollback follows one whose revert failed, and what it takes over from it.
//!
//! It climbs only where the revert itself could not be done. Where the traffic was moved and something else failed, where
//! somebody put the bad release back, and where a person stopped it, another procedure would be a fight or a guess: a person
//! is called instead. Each rung is a rollback of its own, with its own guards; the target stays latched by the one before.

use std::sync::Arc;

use jiff::Timestamp;

use super::admission::late;
use super::guard::{self, Facts};
use crate::procedure::{Procedure, StepPhase};
use crate::reason::{Finding, Reason};
use crate::rollback::history::Destination;
use crate::rollback::name::{self, NUMBERS};
use crate::rollback::object::{LISTED_ALERTS, Plan, RollbackSpec};
use crate::rollback::{Memory, Phase, Rollback};
use crate::target::{Pin, Release, Snapshot, Target};

/// How many rollbacks may follow the first one.
pub const RUNGS: usize = 2;
/// The steps that bring the destination back.
const REVERTS: [&str; 3] = ["restore-image", "revert", "switch-service"];

/// A rollback that another one follows.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    rollback: &'a Rollback,
    /// Its plan.
    pub plan: &'a Plan,
}

/// The rollback that follows this one, where its plan asks for one and it is the revert that failed.
#[must_use]
pub fn climb(
    failed: &Rollback,
    target: &Target,
    rollbacks: &[Arc<Rollback>],
    now: Timestamp,
) -> Option<Rollback> {
    let status = failed.status.as_ref()?;
    let plan = status.plan.as_ref()?;
    let next = plan.escalate_to.as_ref()?;
    let finished = status.run.finished?;
    let rung = failed.spec.rung.unwrap_or(0) + 1;
    let follows = |it: &Arc<Rollback>| {
        it.spec.rung.is_some() && it.spec.parent.as_deref() == Some(failed.name())
    };
    if !reverted_in_vain(failed)
        || !failed.spec.mode.acts()
        || failed.all_ended()
        || usize::try_from(rung).unwrap_or(usize::MAX) > RUNGS
        || late(finished, target, now).is_some()
        || rollbacks.iter().any(follows)
    {
        return None;
    }
    let mut names = (2..=NUMBERS).map(|number| name::lock(&plan.workload, &plan.from, number));
    let free = names.find(|name| rollbacks.iter().all(|it| it.name() != name))?;
    let mut alerts: Vec<_> = failed.records().into_iter().cloned().collect();
    alerts.sort_by_key(|record| record.severity);
    let unlisted = alerts.len().saturating_sub(LISTED_ALERTS);
    alerts.truncate(LISTED_ALERTS);
    let reason = status.reason.as_ref();
    let reason = reason.map_or_else(String::new, |finding| format!(": {finding}"));
    let said = format!("{} of {} failed{reason}", plan.procedure, failed.name());
    let spec = RollbackSpec {
        release: Some(plan.from.clone()),
        procedure: Some(next.clone()),
        severity: failed.severity(),
        alerts,
        alerts_omitted: failed.spec.alerts_omitted
            + status.alerts.omitted
            + i64::try_from(unlisted).unwrap_or(i64::MAX),
        received: Some(finished),
        parent: Some(failed.name().to_owned()),
        rung: Some(rung),
        reason: Some(said.chars().take(1024).collect()),
        cancel: None,
        approval: None,
        ..failed.spec.clone()
    };
    let mut made = Rollback::new(&free, spec);
    made.metadata
        .namespace
        .clone_from(&failed.metadata.namespace);
    Some(made)
}

/// Whether a rollback ended because it could not bring the destination back, and nobody stood in its way.
fn reverted_in_vain(failed: &Rollback) -> bool {
    let state = failed.state();
    let stopped = state.reason.as_ref().is_some_and(|finding| {
        matches!(
            finding.reason,
            Reason::Rejected
                | Reason::Contended
                | Reason::DestinationGone
                | Reason::GaveUp
                | Reason::StepTimeout
        )
    });
    let mut steps = state.run.steps.iter();
    let revert = steps.any(|it| it.phase == StepPhase::Failed && REVERTS.contains(&&*it.step));
    state.phase == Phase::Failed && stopped && revert && state.run.traffic_back.is_none()
}

/// Whether the target of this memory is latched for a rollback: one that follows another is not kept by the latch which that
/// one left.
///
/// # Errors
/// By which rollback, and why.
pub fn latched_for(memory: Option<&Memory>, rollback: &Rollback) -> Result<(), Finding> {
    let latch = memory.and_then(Memory::latch);
    let followed = rollback.spec.rung.and(rollback.spec.parent.as_ref());
    match latch {
        Some(latch) if followed == Some(&latch.rollback) => Ok(()),
        _ => guard::latched(memory),
    }
}

impl Followed<'_> {
    /// Whether the one before did restore the destination, so that it is live instead of the release to be left. Its mark says
    /// so: what a person brought back is that person's.
    #[must_use]
    pub fn went_on(&self, at: &Snapshot) -> bool {
        let operation = self.rollback.metadata.uid.as_deref().unwrap_or_default();
        let rollout = at.rollout.as_ref();
        let marked = rollout.is_some_and(|it| it.operation.as_deref() == Some(operation));
        marked
            && at.live().is_some_and(|live| {
                live.uid == self.plan.to.uid && at.arrived(&self.plan.to, operation).is_some()
            })
    }

    /// Where the one before led: it is not chosen again. None where no replica set of it is left and the policy pins an image
    /// that can be brought up instead.
    ///
    /// # Errors
    /// That it cannot be restored any more.
    pub fn destination(
        &self,
        target: &Target,
        at: &Snapshot,
        procedure: &Procedure,
    ) -> Result<Option<Destination>, Finding> {
        let to = &self.plan.to;
        if at.replica_set(&to.hash).is_none() {
            if procedure.brings_up() && matches!(target.known_good, Some(Pin::Image(_))) {
                return Ok(None);
            }
            let said = format!("the replica set of {to} no longer exists");
            return Err(Reason::NoDestination.because(said));
        }
        Ok(Some(Destination {
            release: to.clone(),
            chosen: format!("{} led there: {}", self.rollback.name(), self.plan.chosen),
        }))
    }
}

impl Facts<'_> {
    /// The rollback that this one follows; none where it is no rung of the ladder.
    ///
    /// # Errors
    /// That it does not follow from that one: whoever makes such an object gains nothing by it.
    pub(super) fn followed(&self, rollback: &Rollback) -> Result<Option<Followed<'_>>, Finding> {
        let Some(rung) = rollback.spec.rung else {
            return Ok(None);
        };
        let parent = rollback.spec.parent.as_deref().unwrap_or_default();
        let no = |what: &str| Err(Reason::NoRung.because(format!("{parent}: {what}")));
        let Some(failed) = self.rollbacks.iter().find(|it| it.name() == parent) else {
            return no("there is no such rollback");
        };
        let Some(plan) = failed.status.as_ref().and_then(|it| it.plan.as_ref()) else {
            return no("it has no plan");
        };
        if !reverted_in_vain(failed) {
            return no("its revert did not fail");
        }
        let asked = plan.escalate_to == rollback.spec.procedure
            && rung == failed.spec.rung.unwrap_or(0) + 1
            && failed.spec.mode == rollback.spec.mode
            && rollback.spec.release.as_ref() == Some(&plan.from);
        if !asked {
            return no("its plan asks for something else");
        }
        Ok(Some(Followed {
            rollback: failed,
            plan,
        }))
    }

    /// What a rung is judged by: what the one before was judged by and cannot have changed is not asked again. A refusal says
    /// whether it latches the target.
    pub(super) fn judge_rung(
        &self,
        rollback: &Rollback,
        live: &Release,
    ) -> Result<(), (Finding, bool)> {
        latched_for(self.memory, rollback).map_err(|finding| (finding, false))?;
        self.exhausted(live).map_err(|finding| (finding, true))?;
        if rollback.all_ended() {
            return Err((Reason::ResolvedBeforeStart.into(), false));
        }
        if !rollback.spec.alerts.is_empty() && !self.may_act(rollback) {
            let said = "no trigger that asked for this acts any more";
            return Err((Reason::Shadow.because(said), false));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "ladder/tests.rs"]
mod tests;
