//! How long a notification takes through the door of one replica, on the real control plane: one alert, a hundred in one
//! notification, and the same notification again and again from several senders. Beside it, two bare writes to the same
//! API server are the yardstick, so that the figures mean something on other machines too.
//!
//! `cargo bench --bench intake`. It writes its section of docs/measurements.md, and fails where an alert was not taken, or
//! one release was pulled back more than once.

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
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod redis;
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod replica;
    #[expect(dead_code, reason = "the tests need more of it")]
    pub(crate) mod rollback;
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
#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
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
    #[expect(dead_code, reason = "the other bench needs more of it")]
    pub(crate) mod page;
}

mod door;
mod figures;
mod yardstick;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::runtime::Runtime;

use crate::cluster::{app, build, enter, need, plane, prometheus, run, scene, times};
use crate::figures::Figures;
use crate::run::plane;
use crate::shared::page;

/// On the real control plane. Give it a quiet machine.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    measure(options.runs).map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Whatever is not as it must be ends it with a panic.
fn measure(runs: u16) -> Result<()> {
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new()?));
    run::own(runtime)?;
    let mut figures = Figures::default();
    for number in 1..=runs {
        runtime.block_on(async {
            figures.writes.extend(yardstick::writes(number).await);
            door::one(&mut figures).await;
            door::hundred(&mut figures).await;
        });
        eprintln!("{number}/{runs}");
    }
    let machine = runtime.block_on(page::machine(plane()))?;
    let text = figures.text(&machine, runs);
    println!("{text}");
    page::write("benches/intake", &text, runs)
}
