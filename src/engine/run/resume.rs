//! How another leader goes on with a run: with what its plan froze.

use std::time::Duration;

use jiff::Timestamp;

use super::Runner;
use crate::engine::Context;
use crate::engine::journal::{Halt, Journal};
use crate::procedure::StepPhase;
use crate::rollback::object::Plan;
use crate::target::{Snapshot, Target, Workload};
use crate::telemetry::Span;

/// The target of a rollback that another leader began. What it acts on is what its plan froze: a target that was renamed, moved
/// or removed since is still carried to its end.
pub(super) fn target(ctx: &Context, journal: &Journal, plan: &Plan) -> Target {
    let policy = ctx.policy.load_full();
    let frozen = frozen(journal, plan);
    let known = policy.targets.get(&frozen.name).cloned();
    known
        .filter(|known| known.workload == frozen.workload)
        .unwrap_or(frozen)
}

/// What is known of a workload before the first look: nothing, and whatever was intended is later than that.
pub(super) const fn unseen() -> Snapshot {
    Snapshot {
        taken: Timestamp::UNIX_EPOCH,
        rollout: None,
        replica_sets: vec![],
        pods: vec![],
        endpoints: vec![],
    }
}

impl Runner<'_> {
    /// Has the first look at a run that another leader began; nothing is decided before it. False where the run has ended
    /// without one.
    pub(super) async fn resumed(&mut self) -> Result<bool, Halt> {
        let Some(opened) = self.resuming else {
            return Ok(true);
        };
        let mut steps = self.journal.page.run.steps.iter();
        let current = steps.position(|entry| entry.phase != StepPhase::Done);
        let current = current.unwrap_or(self.plan.steps.len().saturating_sub(1));
        if let Some(step) = self.plan.steps.get(current).cloned()
            && !self.look(current, &step).await?
        {
            return Ok(false);
        }
        self.resuming = None;
        let end = (self.ctx.clock)();
        let told = || Span::resume(&self.journal.rollback, opened, end);
        self.ctx.spans.record(told);
        Ok(true)
    }
}

/// The target as far as a run needs it, from the plan alone. It starts nothing any more: a first change is too late.
fn frozen(journal: &Journal, plan: &Plan) -> Target {
    let workload = Workload {
        kind: plan.kind,
        namespace: journal.rollback.namespace().to_owned(),
        name: plan.workload.clone(),
        deployments: plan.deployments.clone(),
    };
    let give_up = Duration::try_from_secs_f64(plan.give_up_seconds).unwrap_or(Duration::MAX);
    Target {
        give_up,
        ..Target::bare(&journal.rollback.spec.target, workload)
    }
}
