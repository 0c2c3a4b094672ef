//! Tests of the real binary against a real Kubernetes with the real Argo Rollouts.
//!
//! They need Go, and minutes: `cargo test --test cluster`. Beside the usual arguments of a test binary there are
//! `--build`, which only builds the control plane, `--up`, which starts a cluster for a person, and `--foreign`, which
//! plays on the cluster that KUBECONFIG names, and not on one of the run's own.

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
    #[expect(dead_code, reason = "other tests need more of it")]
    pub(crate) mod replica;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub mod slack;
}

mod app;
mod asked;
mod build;
mod enter;
mod need;
mod plane;
mod prometheus;
mod scenario;
mod scene;
mod times;
mod up;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Result, bail};
use libtest_mimic::{Completion, Trial};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::asked::{Asked, What};
use crate::plane::Plane;
use crate::plane::foreign::Run;
use crate::scenario::Scenario;

/// The one cluster of this run.
static PLANE: OnceLock<Plane> = OnceLock::new();

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let Asked { what, tests } = Asked::read()?;
    if matches!(what, What::Build) {
        build::build()?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new()?));
    if matches!(what, What::Up) {
        own(runtime)?;
        runtime.block_on(up::stay(plane()));
        return Ok(ExitCode::SUCCESS);
    }
    let trial = |it: &'static Scenario| {
        Trial::ignorable_test(it.name, move || {
            if let Some(reason) = plane().lacks.of(it.needs) {
                return Ok(Completion::ignored_with(reason));
            }
            runtime.block_on((it.story)());
            Ok(Completion::Completed)
        })
    };
    let trials: Vec<_> = scenario::ALL.iter().map(trial).collect();
    let wanted = |it: &Trial| !tests.is_filtered_out(it);
    let names: Vec<_> = trials.iter().filter(|it| wanted(it)).collect();
    let names: Vec<_> = names.iter().map(|it| it.name().to_owned()).collect();
    if tests.list || names.is_empty() {
        return Ok(libtest_mimic::run(&tests, trials).exit_code());
    }
    let left = if let What::Foreign { images } = what {
        Some(foreign(runtime, images)?)
    } else {
        own(runtime)?;
        None
    };
    let conclusion = libtest_mimic::run(&tests, trials);
    times::print();
    ignored(&names);
    if let Some(run) = left {
        runtime.block_on(run.leave())?;
    }
    Ok(conclusion.exit_code())
}

/// Builds what is missing, goes where the run's own cluster is, and starts it.
fn own(runtime: &Runtime) -> Result<()> {
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
fn foreign(runtime: &Runtime, images: Option<String>) -> Result<Run> {
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

/// Says how many scenarios were not played, and why.
fn ignored(names: &[String]) {
    let mut reasons = BTreeMap::<_, Vec<_>>::new();
    for it in scenario::ALL
        .iter()
        .filter(|it| names.iter().any(|name| name == it.name))
    {
        if let Some(reason) = plane().lacks.of(it.needs) {
            reasons.entry(reason).or_default().push(it.name);
        }
    }
    for (reason, names) in reasons {
        println!(
            "{} ignored, because {reason}: {}",
            names.len(),
            names.join(", ")
        );
    }
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
