//! Claims the rollback that follows one whose revert failed. Level-triggered, so that what a leader did not come to the next
//! one does; the name is the lock here too.

use super::Context;
use crate::cluster::claims::Claimed;
use crate::policy::ladder;
use crate::reason::Reason;
use crate::rollback::Rollback;
use crate::target::Target;

/// Claims what follows the failed rollbacks of a target, if anything does.
pub(super) async fn climb(ctx: &Context, target: &Target) {
    let rollbacks = ctx.caches.rollbacks_of(target);
    let now = (ctx.clock)();
    for failed in rollbacks
        .iter()
        .filter(|it| it.spec.target == target.name && !ctx.only_watches(it))
    {
        if let Some(rung) = ladder::climb(failed, target, &rollbacks, now) {
            claim(ctx, failed, rung).await;
        }
    }
}

/// One try: the next round comes soon.
async fn claim(ctx: &Context, failed: &Rollback, rung: Rollback) {
    let (namespace, name) = (rung.namespace(), rung.name());
    let claimed = match ctx.cluster.claim(&rung).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(rollback = failed.name(), k8s.namespace = namespace, %error, "what follows it cannot be claimed");
            return;
        }
    };
    let (Claimed::New(found) | Claimed::Taken(found)) = claimed;
    // A name that somebody else has is known from now on, and the next one is taken.
    let ours = found.spec == rung.spec;
    ctx.caches.rollbacks.offer(namespace, name, *found);
    if !ours {
        return;
    }
    let procedure = rung.spec.procedure.as_deref().unwrap_or_default();
    tracing::info!(
        rollback = failed.name(),
        k8s.namespace = namespace,
        "the revert failed: {procedure} follows as {name}"
    );
    let finding = Reason::Escalated.because(format!("{procedure} follows as {name}"));
    ctx.events.say(failed, "Ladder", &finding, true);
}
