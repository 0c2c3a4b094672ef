//! `ripcord stop`: asks a rollback to stop at the next safe point, waits for it, and says what is left.

use super::reach::{Reach, Trouble, trouble};
use super::watch::{self, Patience};
use super::{Answer, Exit};
use crate::rollback::Phase;
use crate::rollback::object::Cancel;

/// Stop a rollback at the next safe point, wait for it, and say what is left. What it has changed stays changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rollback: `NAME`, or `NAMESPACE/NAME`.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(args: &Args) -> Answer {
    stopped(args)
        .await
        .unwrap_or_else(|trouble| trouble.answer())
}

async fn stopped(args: &Args) -> Result<Answer, Trouble> {
    let hands = args.reach.connect().await?;
    let mut rollback = hands.rollback(&args.name).await?;
    if rollback.phase().ended() {
        let said = format!(
            "{} has ended already: {}",
            rollback.full_name(),
            rollback.phase()
        );
        return Err(Trouble::new(Exit::AlreadyEnded, said)
            .help("what it has changed stays changed: deploy as usual to go forward again"));
    }
    if rollback.spec.cancel.is_none() {
        let cancel = Cancel {
            by: hands.who().await,
            reason: args.reason.clone(),
        };
        let asked = hands.cluster.stop(&rollback, &cancel).await;
        rollback = asked
            .map_err(|error| trouble(error, "patch", "rollbacks", Some(rollback.namespace())))?;
    }
    let last = watch::follow(&hands, rollback, args.reach.output, args.patience).await?;
    let mut answer = watch::end(&last);
    match last.phase() {
        Phase::Cancelled => answer.exit = Exit::Done,
        Phase::Succeeded => {
            answer.exit = Exit::AlreadyEnded;
            answer.err = format!("{} was done before it could stop\n", last.full_name());
        }
        _ => {}
    }
    Ok(answer)
}
