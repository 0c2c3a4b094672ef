//! `ripcord approve` and `ripcord deny`: a person's answer to a rollback that asks. Kubernetes decides who may give one.
//!
//! What is approved is the plan that was read: where another one waits by then, nothing is approved.

use super::reach::{self, Hands, Reach, Trouble, trouble};
use super::watch::{self, Patience};
use super::{Answer, Exit, Format};
use crate::cluster::Error;
use crate::reason::Reason;
use crate::report::text;
use crate::rollback::object::{Approval, Verdict};
use crate::rollback::{Phase, Rollback};

/// Approve a rollback that asks for it, and follow it to its end.
#[derive(Debug, clap::Args)]
pub struct Approve {
    /// The rollback: `NAME`, or `NAMESPACE/NAME`.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Do not follow it.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
}

/// Deny a rollback that asks for an approval: it ends, and alerts about that release start nothing more.
#[derive(Debug, clap::Args)]
pub struct Deny {
    /// The rollback: `NAME`, or `NAMESPACE/NAME`.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn approve(args: &Approve) -> Answer {
    let approved = async {
        let hands = args.reach.connect().await?;
        let rollback = asking(&hands, &args.name).await?;
        let shown =
            text::page(&reach::told(&rollback, hands.memory_of(&rollback).await.as_ref()).parent);
        let rollback = answer(&hands, rollback, Verdict::Approve, &args.reason).await?;
        if args.detach {
            let said = format!("approved: {}\n{shown}", rollback.full_name());
            return Ok(match args.reach.output {
                Format::Text => Answer::done(said),
                Format::Json => super::json(&rollback),
            });
        }
        let last = watch::follow(&hands, rollback, args.reach.output, args.patience).await?;
        Ok(watch::end(&last))
    };
    let approved: Result<Answer, Trouble> = approved.await;
    approved.unwrap_or_else(|trouble| trouble.answer())
}

pub(super) async fn deny(args: &Deny) -> Answer {
    let denied = async {
        let hands = args.reach.connect().await?;
        let rollback = asking(&hands, &args.name).await?;
        let rollback = answer(&hands, rollback, Verdict::Deny, &args.reason).await?;
        let last = watch::follow(&hands, rollback, args.reach.output, args.patience).await?;
        let mut ended = watch::end(&last);
        let state = last.state();
        let reason = state.reason.as_ref().map(|finding| finding.reason);
        if reason == Some(Reason::ApprovalDenied) {
            ended.exit = Exit::Done;
        }
        Ok(ended)
    };
    let denied: Result<Answer, Trouble> = denied.await;
    denied.unwrap_or_else(|trouble| trouble.answer())
}

/// The rollback, if it waits for an answer.
async fn asking(hands: &Hands, name: &str) -> Result<Rollback, Trouble> {
    let rollback = hands.rollback(name).await?;
    let full_name = rollback.full_name();
    let trouble = |said: String| Err(Trouble::new(Exit::AlreadyEnded, said));
    match (rollback.phase(), &rollback.spec.approval) {
        (Phase::AwaitingApproval, None) => Ok(rollback),
        (Phase::AwaitingApproval, Some(before)) => {
            trouble(format!("{full_name} was answered by {} already", before.by))
        }
        (Phase::Pending, _) => trouble(format!(
            "{full_name} asks for nothing yet: it waits for the leader"
        )),
        (Phase::Running, _) => trouble(format!("{full_name} runs already")),
        (phase, _) => trouble(format!("{full_name} has ended already: {phase}")),
    }
}

async fn answer(
    hands: &Hands,
    rollback: Rollback,
    decision: Verdict,
    reason: &str,
) -> Result<Rollback, Trouble> {
    let approval = Approval {
        decision,
        by: hands.who().await,
        to: rollback.to().map(|to| to.hash.clone()),
        reason: reason.to_owned(),
        at: Some(reach::now()),
    };
    match hands.cluster.answer(&rollback, &approval).await {
        Ok(written) => Ok(written),
        // Somebody was faster, or it does not ask any more: what it says now tells which.
        Err(error @ (Error::Precondition(_) | Error::Rejected(_))) => {
            asking(hands, &rollback.full_name()).await?;
            Err(trouble(
                error,
                "patch",
                "rollbacks",
                Some(rollback.namespace()),
            ))
        }
        Err(error) => Err(trouble(
            error,
            "patch",
            "rollbacks",
            Some(rollback.namespace()),
        )),
    }
}
