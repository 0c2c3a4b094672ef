//! When what happened, for the tables that end a run.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The rows, in the order in which the scenarios ended.
static ROWS: Mutex<Vec<Times>> = Mutex::new(Vec::new());

static CHAINS: Mutex<Vec<Chain>> = Mutex::new(Vec::new());

/// The moments of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) scenario: &'static str,
    pub(crate) posted: Timestamp,
    pub(crate) first_mutation: Option<Timestamp>,
    pub(crate) last_bad: Option<Timestamp>,
    pub(crate) healthy: Option<Timestamp>,
}

/// The moments of one scenario in which the alert comes by itself.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) scenario: &'static str,
    /// When Prometheus first had a sample that is bad.
    pub(crate) first_bad: Timestamp,
    /// Since when the alert is more than pending, as Prometheus says.
    pub(crate) fires: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) first_mutation: Timestamp,
    pub(crate) traffic_back: Timestamp,
    /// As the users saw it, where they saw anything.
    pub(crate) last_bad: Option<Timestamp>,
    pub(crate) healthy: Timestamp,
    /// When it ended, as Prometheus says.
    pub(crate) ended: Timestamp,
}

// === impl Times ===

impl Times {
    /// Puts it into the table.
    pub(crate) fn note(self) {
        ROWS.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }
}

// === impl Chain ===

impl Chain {
    /// Puts it into its table.
    pub(crate) fn note(self) {
        CHAINS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }
}

/// Prints the tables that any scenario has got into.
pub(crate) fn print() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let row = |it: &Times| {
        let times = [it.first_mutation, it.last_bad, it.healthy];
        (it.scenario, it.posted, times.to_vec())
    };
    table(
        "from POST to",
        &["first mutation", "last bad answer", "healthy"],
        rows.iter().map(row),
    );
    let chains = CHAINS.lock().unwrap_or_else(PoisonError::into_inner);
    let row = |it: &Chain| {
        let times = [
            Some(it.fires),
            Some(it.received),
            Some(it.first_mutation),
            Some(it.traffic_back),
            it.last_bad,
            Some(it.healthy),
            Some(it.ended),
        ];
        (it.scenario, it.first_bad, times.to_vec())
    };
    table(
        "from first bad sample to",
        &[
            "alert fires",
            "POST",
            "first mutation",
            "traffic back",
            "last bad answer",
            "healthy",
            "alert ends",
        ],
        chains.iter().map(row),
    );
}

/// Each row has a name, when its time begins, and what came when.
fn table(
    from: &str,
    to: &[&str],
    rows: impl ExactSizeIterator<Item = (&'static str, Timestamp, Vec<Option<Timestamp>>)>,
) {
    if rows.len() == 0 {
        return;
    }
    let mut text = format!("{from:<40}");
    for what in to {
        write!(text, " {what:>16}").expect("a string takes all");
    }
    for (scenario, began, times) in rows {
        write!(text, "\n{scenario:<40}").expect("a string takes all");
        for at in times {
            let after = at.map_or_else(
                || "-".to_owned(),
                |at| format!("{:.3} s", at.duration_since(began).as_secs_f64()),
            );
            write!(text, " {after:>16}").expect("a string takes all");
        }
    }
    println!("{text}\n");
}
