//! When what happened: a line as soon as a scenario knows it, and the tables that end a run.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// What the times of a row are called.
const TIMES: [&str; 4] = ["first mutation", "last bad answer", "healthy", "told"];

const CHAIN: [&str; 7] = [
    "alert fires",
    "POST",
    "first mutation",
    "traffic back",
    "last bad answer",
    "healthy",
    "alert ends",
];

/// A name, when its time begins, and what came when.
type Row = (&'static str, Timestamp, Vec<Option<Timestamp>>);

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
    /// When people were first told.
    pub(crate) told: Option<Timestamp>,
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
    /// Says it, and puts it into the table.
    pub(crate) fn note(self) {
        say("POST", &TIMES, self.row());
        ROWS.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    fn row(&self) -> Row {
        let times = [self.first_mutation, self.last_bad, self.healthy, self.told];
        (self.scenario, self.posted, times.to_vec())
    }
}

// === impl Chain ===

impl Chain {
    /// Says it, and puts it into its table.
    pub(crate) fn note(self) {
        say("first bad sample", &CHAIN, self.row());
        CHAINS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    fn row(&self) -> Row {
        let times = [
            Some(self.fires),
            Some(self.received),
            Some(self.first_mutation),
            Some(self.traffic_back),
            self.last_bad,
            Some(self.healthy),
            Some(self.ended),
        ];
        (self.scenario, self.first_bad, times.to_vec())
    }
}

/// Prints the tables that any scenario has got into.
pub(crate) fn print() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    table("POST", &TIMES, rows.iter().map(Times::row));
    let chains = CHAINS.lock().unwrap_or_else(PoisonError::into_inner);
    table("first bad sample", &CHAIN, chains.iter().map(Chain::row));
}

/// Says one row at once.
fn say(from: &str, to: &[&str], (scenario, began, times): Row) {
    let after = |(what, at): (&&str, Option<Timestamp>)| format!("{what} {}", after(began, at));
    let all: Vec<_> = to.iter().zip(times).map(after).collect();
    println!("{scenario}: from {from} to {}", all.join(", "));
}

fn table(from: &str, to: &[&str], rows: impl ExactSizeIterator<Item = Row>) {
    if rows.len() == 0 {
        return;
    }
    let mut text = format!("{:<44}", format!("from {from} to"));
    for what in to {
        write!(text, " {what:>16}").expect("a string takes all");
    }
    for (scenario, began, times) in rows {
        write!(text, "\n{scenario:<44}").expect("a string takes all");
        for at in times {
            write!(text, " {:>16}", after(began, at)).expect("a string takes all");
        }
    }
    println!("{text}\n");
}

/// How long after it began.
fn after(began: Timestamp, at: Option<Timestamp>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| format!("{:.3} s", at.duration_since(began).as_secs_f64()),
    )
}
