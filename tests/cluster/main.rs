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
    pub(crate) mod receiver;
    pub(crate) mod redis;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub(crate) mod replica;
    pub(crate) mod scaled;
    pub(crate) mod shipped;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub mod slack;
    pub(crate) mod story;
    pub(crate) mod wait;
}

mod app;
mod asked;
mod build;
mod enter;
mod need;
mod plane;
mod prometheus;
mod run;
mod scenario;
mod scene;
mod times;
mod typed;
mod up;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Runtime;

use crate::asked::{Asked, What};
use crate::run::{foreign, own, plane};
use crate::scenario::{Beside, Scenario};

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
    let trials: Vec<_> = scenario::all().map(trial).collect();
    let wanted = |it: &Trial| !tests.is_filtered_out(it);
    let names: Vec<_> = trials.iter().filter(|it| wanted(it)).collect();
    let names: Vec<_> = names.iter().map(|it| it.name().to_owned()).collect();
    if tests.list || names.is_empty() {
        return Ok(libtest_mimic::run(&tests, trials).exit_code());
    }
    let is_wanted = |it: &&Scenario| names.iter().any(|name| name == it.name);
    let left = if let What::Foreign { images } = what {
        Some(foreign(runtime, images)?)
    } else {
        own(runtime)?;
        None
    };
    let mut code = ExitCode::SUCCESS;
    for (beside, threads) in at_once(tests.test_threads) {
        let group = scenario::all().filter(|it| it.beside() == beside);
        let group: Vec<_> = group.filter(is_wanted).map(trial).collect();
        if group.is_empty() {
            continue;
        }
        let tests = Arguments {
            test_threads: Some(threads),
            ..tests.clone()
        };
        let conclusion = libtest_mimic::run(&tests, group);
        if conclusion.has_failed() {
            code = conclusion.exit_code();
        }
    }
    times::print();
    ignored(&names);
    if let Some(run) = left {
        runtime.block_on(run.leave())?;
    }
    Ok(code)
}

/// How many scenarios are played at once, of those that go beside as many. A scenario waits for half of its time.
fn at_once(said: Option<usize>) -> [(Beside, usize); 3] {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let all = said.unwrap_or(cores + 1);
    [
        (Beside::Others, all),
        (Beside::One, all.min(2)),
        (Beside::Nothing, 1),
    ]
}

/// Says how many scenarios were not played, and why.
fn ignored(names: &[String]) {
    let mut reasons = BTreeMap::<_, Vec<_>>::new();
    for it in scenario::all().filter(|it| names.iter().any(|name| name == it.name)) {
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
