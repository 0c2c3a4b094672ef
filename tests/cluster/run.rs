//! The one cluster of a run: how it comes to be, and where everybody finds it.

use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::plane::Plane;
use crate::{build, enter};

static PLANE: OnceLock<Plane> = OnceLock::new();

/// Builds what is missing, goes where the cluster runs, and starts it.
pub(crate) fn prepare(runtime: &Runtime) -> Result<()> {
    let began = Instant::now();
    build::build()?;
    enter::enter()?;
    // The first process of a process namespace dies of no signal that it does not ask for.
    runtime.spawn(async {
        let mut ended = signal(SignalKind::terminate()).expect("a signal handler");
        let mut interrupted = signal(SignalKind::interrupt()).expect("a signal handler");
        tokio::select! {
            _ = ended.recv() => {}
            _ = interrupted.recv() => {}
        }
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

/// The cluster, which is up.
pub(crate) fn plane() -> &'static Plane {
    PLANE.get().expect("the cluster is up")
}
