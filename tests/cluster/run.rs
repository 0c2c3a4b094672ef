//! The one cluster of a run: how it comes to be, where everybody finds it, and how it is left.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Result, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::plane::Plane;
use crate::plane::foreign::Run;
use crate::{build, enter};

static PLANE: OnceLock<Plane> = OnceLock::new();

/// Builds what is missing, goes where the run's own cluster is, and starts it.
pub(crate) fn own(runtime: &Runtime) -> Result<()> {
    let began = Instant::now();
    build::build()?;
    enter::enter()?;
    // The first process of a process namespace dies of no signal that it does not ask for.
    runtime.spawn(async {
        interrupted().await;
        std::process::exit(130);
    });
    let plane = runtime.block_on(Plane::start(&enter::data()))?;
    assert!(PLANE.set(plane).is_ok(), "one cluster");
    eprintln!(
        "the cluster is up after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Looks at the cluster that KUBECONFIG names. Whatever ends the run, what it has made there goes away.
pub(crate) fn foreign(runtime: &Runtime, images: Option<String>) -> Result<Run> {
    build::build()?;
    let run = runtime.block_on(Run::begin(images))?;
    let ready = runtime.block_on(async {
        tokio::select! {
            ready = Plane::foreign(run.clone()) => ready,
            () = interrupted() => bail!("interrupted"),
        }
    });
    let plane = match ready {
        Ok(plane) => plane,
        Err(error) => {
            if let Err(left) = runtime.block_on(run.leave()) {
                eprintln!("error: {left:#}");
            }
            return Err(error);
        }
    };
    assert!(PLANE.set(plane).is_ok(), "one cluster");
    let leaves = run.clone();
    runtime.spawn(async move {
        interrupted().await;
        eprintln!("interrupted: taking away what was made");
        end_children();
        if let Err(error) = leaves.leave().await {
            eprintln!("error: {error:#}");
        }
        // A scenario may have gone on meanwhile.
        end_children();
        std::process::exit(130);
    });
    Ok(run)
}

async fn interrupted() {
    let mut ended = signal(SignalKind::terminate()).expect("a signal handler");
    let mut interrupted = signal(SignalKind::interrupt()).expect("a signal handler");
    tokio::select! {
        _ = ended.recv() => {}
        _ = interrupted.recv() => {}
    }
}

/// Ends all that the scenarios have started: without a process namespace of the run's own, it would live on.
fn end_children() {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            // It may have ended already.
            drop(Command::new("kill").args(["-KILL", child]).status());
        }
    }
}

/// The cluster, which is up.
pub(crate) fn plane() -> &'static Plane {
    PLANE.get().expect("the cluster is up")
}
