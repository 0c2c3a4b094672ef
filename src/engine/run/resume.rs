//! How another leader goes on with a run: with what its plan froze.

use std::time::Duration;

use crate::engine::Context;
use crate::engine::journal::{Halt, Journal};
use crate::rollback::object::Plan;
use crate::target::{Snapshot, Target, Workload};

/// The target and a fresh snapshot of a rollback that another leader began. What it acts on is what its plan froze: a target
/// that was renamed, moved or removed since is still carried to its end.
pub(super) async fn resume(
    ctx: &Context,
    journal: &Journal,
    plan: &Plan,
) -> Result<(Target, Snapshot), Halt> {
    let policy = ctx.policy.load_full();
    let frozen = frozen(journal, plan);
    let known = policy.targets.get(&frozen.name).cloned();
    let target = known
        .filter(|known| known.workload == frozen.workload)
        .unwrap_or(frozen);
    loop {
        match ctx.cluster.snapshot(&target.workload, &ctx.clock).await {
            Ok(at) => return Ok((target, at)),
            Err(error) => {
                tracing::warn!(rollback = journal.rollback.name(), %error, "the workload cannot be read");
            }
        }
        if !ctx.pause(ctx.tick).await {
            return Err(Halt::TermEnded);
        }
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
