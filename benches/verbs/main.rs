//! What Ripcord is compared with, on the real control plane: in the same states of a bad release, the commands of a
//! runbook, the one command that is best known for the state, and Ripcord.
//!
//! `cargo bench --bench verbs`. It measures one run at a time, writes its tables into docs/measurements.md, and fails where
//! Ripcord does not leave the right end, is much slower than a bare command that works, or exceeds a procedure's budget. It is no test: what Ripcord does
//! in each state is shown by tests/cluster.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should stop here, and say what was seen"
)]

#[path = "../../tests/support"]
mod support {
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod alertmanager;
    pub(crate) mod redis;
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod replica;
    pub(crate) mod scaled;
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod shipped;
    #[expect(dead_code, reason = "the tests need more of it")]
    pub mod slack;
    #[expect(
        dead_code,
        unused_imports,
        unused_macros,
        reason = "the tests need more of it"
    )]
    pub(crate) mod story;
    pub(crate) mod wait;
}

/// The control plane and the scenes of the tests.
#[path = "../../tests/cluster"]
#[expect(dead_code, reason = "the tests need more of it")]
mod cluster {
    pub(crate) mod app;
    pub(crate) mod build;
    pub(crate) mod enter;
    pub(crate) mod need;
    pub(crate) mod plane;
    pub(crate) mod prometheus;
    pub(crate) mod run;
    pub(crate) mod scene;
    pub(crate) mod times;
}

#[path = "../support"]
mod shared {
    pub(crate) mod options;
    pub(crate) mod page;
}

mod cache;
mod contender;
mod good;
mod mirror;
mod observe;
mod outcome;
mod person;
mod procedures;
mod router;
mod runbook;
mod script;
mod state;
mod table;
mod turn;
mod verdict;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use tokio::runtime::Runtime;

use crate::cluster::{app, build, enter, need, plane, prometheus, run, scene, times};
use crate::contender::Contender;
use crate::run::plane;
use crate::shared::options::Options;
use crate::shared::page;
use crate::state::State;
use crate::table::Row;

fn main() -> ExitCode {
    let options = Options::parse();
    compare(&options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn compare(options: &Options) -> Result<ExitCode> {
    let named = |state: &&State| {
        let wanted = options.state.as_deref().unwrap_or_default();
        state.name.contains(wanted)
    };
    let states: Vec<_> = state::ALL.iter().filter(named).collect();
    let names: Vec<_> = state::ALL.iter().map(|it| it.name).collect();
    ensure!(
        !states.is_empty(),
        "no state of this name; there are {}",
        names.join(", ")
    );
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new()?));
    run::own(runtime)?;
    let began = Instant::now();
    let rows = runtime.block_on(measure(&states, options));
    let machine = runtime.block_on(page::machine(plane()))?;
    let text = table::text(&rows, &machine, options);
    let procedures = procedures::text(&rows, &machine, options);
    println!("{text}\n{procedures}");
    eprintln!("it took {} s", began.elapsed().as_secs());
    let complaints = verdict::complaints(&rows);
    if complaints.is_empty() {
        let put = if options.state.is_none() {
            page::write
        } else {
            page::renew
        };
        put("benches/verbs", &text, options.runs)?;
        put("benches/verbs, per procedure", &procedures, options.runs)?;
    }
    for complaint in &complaints {
        println!("NOT SO: {complaint}");
    }
    println!("{}", verdict::sentence(&rows, &complaints));
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lets all contenders act in all states, taking turns, so that what the machine does otherwise meets all of them.
async fn measure(states: &[&'static State], options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for &state in states {
        let bound = Duration::from_secs(state.bound(options.bound).into());
        let mut row = Row::new(state);
        let runs = u32::from(options.runs) * u32::from(state.rounds);
        for number in 1..=runs {
            for contender in Contender::ALL {
                let nobody = contender == Contender::Bare && state.bare.is_empty();
                if nobody {
                    continue;
                }
                let outcome = turn::take(state, contender, bound).await;
                eprintln!(
                    "{} {number}/{runs}, {}: {outcome}",
                    state.name,
                    contender.name()
                );
                row.note(contender, outcome);
            }
        }
        rows.push(row);
    }
    rows
}
