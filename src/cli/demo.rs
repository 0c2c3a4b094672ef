//! `ripcord demo`: the main job on a simulated cluster, or on a real one, told as it happens.
//!
//! Everything that is told was observed: where something does not come about in its time, the demo says so and fails.

mod acts;
pub mod client;
pub mod fixture;
mod ground;
mod show;
mod stage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use self::ground::Ground;
use self::stage::Stage;
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
    /// Play on the real cluster of this kubeconfig, in namespaces of its own. `bash tests/cluster/up` starts one.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

/// Tells the demo's story.
///
/// # Errors
/// What did not come about.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let ground = Arc::new(match &args.kubeconfig {
        Some(path) => Ground::real(path).await?,
        None => Ground::simulated().await?,
    });
    let played = match unless_interrupted(Stage::set(Arc::clone(&ground), args.listen)).await {
        Ok(mut stage) => {
            let played = unless_interrupted(play(&mut stage)).await;
            let played = match played {
                Ok(()) if args.serve => encore(&mut stage).await,
                played => played,
            };
            stage.strike().await;
            played
        }
        Err(error) => Err(error),
    };
    // Also after a failure: nothing is left on somebody's cluster.
    let left = ground.leave().await;
    played.and(left)?;
    if !args.serve {
        show::try_it();
    }
    Ok(Exit::Done)
}

async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    show::opening(stage);
    acts::canary(stage).await?;
    acts::promoted(stage).await?;
    acts::closing(stage).await
}

/// Stays until Ctrl-C.
async fn encore(stage: &mut Stage) -> anyhow::Result<()> {
    unless_interrupted(acts::encore(stage)).await?;
    Ok(tokio::signal::ctrl_c().await?)
}

async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
    }
}
