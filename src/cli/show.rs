//! `ripcord show`: one rollback in full, in the words in which Slack told it; or as the beginning of a postmortem.

use super::reach::{self, Reach, Trouble};
use super::{Answer, Format, json};
use crate::report::text;

/// Show one rollback in full.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rollback: `NAME`, or `NAMESPACE/NAME`.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    reach: Reach,
    /// As Markdown, with a timeline, the evidence, and what is left to do as open check boxes.
    #[arg(long)]
    postmortem: bool,
}

pub(super) async fn run(args: &Args) -> Answer {
    found(args).await.unwrap_or_else(|trouble| trouble.answer())
}

async fn found(args: &Args) -> Result<Answer, Trouble> {
    let hands = args.reach.connect().await?;
    let mut rollback = hands.rollback(&args.name).await?;
    if args.reach.output == Format::Json {
        rollback.metadata.managed_fields = None;
        return Ok(json(&rollback));
    }
    let memory = hands.memory_of(&rollback).await;
    Ok(Answer::done(if args.postmortem {
        reach::postmortem(&rollback, memory.as_ref())
    } else {
        text::page(&reach::told(&rollback, memory.as_ref()).parent)
    }))
}
