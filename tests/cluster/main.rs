//! Tests of the real binary against a real Kubernetes with the real Argo Rollouts.
//!
//! They need Go, and minutes: `cargo test --test cluster`. Beside the usual arguments of a test binary there are
//! `--build`, which only builds the control plane, and `--up`, which starts a cluster for a person.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here, and say what was seen"
)]

/// What the tests share; each binary takes what it needs.
#[path = "../support"]
mod support {
    pub(crate) mod alertmanager;
    pub(crate) mod redis;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub(crate) mod replica;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub mod slack;
}

mod app;
mod build;
mod enter;
mod plane;
mod prometheus;
mod scenario;
mod scene;
mod times;
mod up;

use std::env;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::plane::Plane;

/// The one cluster of this run.
static PLANE: OnceLock<Plane> = OnceLock::new();

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let asked = |name: &str| env::args().any(|it| it == name);
    if asked("--build") {
        build::build()?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new()?));
    if asked("--up") {
        prepare(runtime)?;
        runtime.block_on(up::stay(plane()));
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let trials = scenario::ALL.iter().map(|&(name, scenario)| {
        Trial::test(name, move || {
            runtime.block_on(scenario());
            Ok(())
        })
    });
    let trials: Vec<_> = trials.collect();
    let mut wanted = trials.iter().filter(|it| !arguments.is_filtered_out(it));
    if !arguments.list && wanted.next().is_some() {
        prepare(runtime)?;
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    times::print();
    Ok(conclusion.exit_code())
}

/// Builds what is missing, goes where the cluster runs, and starts it.
fn prepare(runtime: &Runtime) -> Result<()> {
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
