//! What a bench is asked on its command line.

use clap::Parser;

/// On the real control plane, one run at a time. Give it a quiet machine.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// How often everything is measured; what comes in heaps, three times as often.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: u16,
    /// Only the states with this in their names. Of the document, only their rows are renewed.
    #[arg(long, value_name = "NAME")]
    pub(crate) state: Option<String>,
    /// How many seconds a contender has for one state.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(3..))]
    pub(crate) bound: u16,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}
