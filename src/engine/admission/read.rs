//! What the guards are asked on, read afresh and at once: the workload, the hold, the memory, and the rights.

use super::Fresh;
use crate::cluster::permissions::Account;
use crate::cluster::workloads::Look;
use crate::cluster::{Cluster, Error};
use crate::engine::Context;
use crate::policy::Policy;
use crate::policy::admission::lacking;
use crate::reason::Finding;
use crate::rollback::object::Mode;
use crate::target::Target;

/// Reads everything that the guards are asked on, at once. Where a read fails because a permission is missing, that is what
/// is told.
pub(super) async fn read(
    ctx: &Context,
    policy: &Policy,
    target: &Target,
    look: Look,
) -> Result<Result<Fresh, Finding>, Error> {
    let (namespace, name) = ctx.caches.hold_at();
    let seen = ctx.caches.rollout(target);
    let seen = seen.as_ref().map(|seen| &seen.rollout);
    let workload = &target.workload;
    let (at, hold, memory, missing, missing_to_exec) = tokio::join!(
        ctx.cluster.snapshot_again(workload, seen, look, &ctx.clock),
        ctx.cluster.hold(namespace, name),
        ctx.cluster.memory(target),
        missing(ctx, target),
        missing_to_exec(&ctx.cluster, None, policy, target, ctx.mode),
    );
    let (hold, mut missing, missing_to_exec) = (hold?, missing?, missing_to_exec?);
    if let (Err(Error::Forbidden(_)), _) | (_, Err(Error::Forbidden(_))) = (&at, &memory) {
        let asked = ctx.cluster.missing_permissions(&target.workload, ctx.mode);
        missing = asked.await?;
    }
    match (at, memory) {
        (Ok(at), Ok(memory)) => Ok(Ok(Fresh {
            at,
            hold,
            memory: Some(memory),
            missing,
            missing_to_exec,
        })),
        (Err(Error::Forbidden(_)), _) | (_, Err(Error::Forbidden(_))) if !missing.is_empty() => {
            Ok(Err(lacking(&missing)))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The permissions that are missing, as far as that is not known.
async fn missing(ctx: &Context, target: &Target) -> Result<Vec<String>, Error> {
    if ctx.rights.are_complete(&target.workload, (ctx.clock)()) {
        return Ok(Vec::new());
    }
    let asked = ctx.cluster.missing_permissions(&target.workload, ctx.mode);
    asked.await
}

/// The permissions that commands in the target's pods lack, where some procedure runs one and anything may be done. `account` is
/// the service's, where it is not the one that asks.
///
/// # Errors
/// As [`Cluster::missing_permissions_of`].
pub async fn missing_to_exec(
    cluster: &Cluster,
    account: Option<&Account>,
    policy: &Policy,
    target: &Target,
    mode: Mode,
) -> Result<Vec<String>, Error> {
    if mode == Mode::Shadow || policy.commands_of(target).is_empty() {
        return Ok(Vec::new());
    }
    let namespace = &target.workload.namespace;
    cluster.missing_to_exec(account, namespace).await
}
