//! `ripcord demo`: the main job on a simulated cluster, told as it happens.
//!
//! Everything that is told was observed: where something does not come about in its time, the demo says so and fails.

mod acts;
pub mod client;
pub mod fixture;
mod show;
mod stage;

use std::net::SocketAddr;

use super::Exit;

/// What the demo can be told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep running afterwards, with a bad release in flight, so that an Alertmanager or curl can post to it.
    #[arg(long)]
    serve: bool,
    /// Where notifications are taken.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Tells the demo's story.
///
/// # Errors
/// What did not come about.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut stage = stage::Stage::set(args.listen).await?;
    show::opening(&stage);
    acts::canary(&mut stage).await?;
    acts::promoted(&mut stage).await?;
    acts::closing(&stage).await?;
    if args.serve {
        acts::encore(&mut stage).await?;
        tokio::signal::ctrl_c().await?;
    } else {
        show::try_it();
    }
    stage.strike().await;
    Ok(Exit::Done)
}
