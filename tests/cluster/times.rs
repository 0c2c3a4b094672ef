//! When what happened, for the table that ends a run.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The rows, in the order in which the scenarios ended.
static ROWS: Mutex<Vec<Times>> = Mutex::new(Vec::new());

/// The moments of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) scenario: &'static str,
    pub(crate) posted: Timestamp,
    pub(crate) first_mutation: Option<Timestamp>,
    pub(crate) last_bad: Option<Timestamp>,
    pub(crate) healthy: Option<Timestamp>,
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

/// Prints the table, if any scenario has got that far.
pub(crate) fn print() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    if rows.is_empty() {
        return;
    }
    let mut text = format!(
        "{:<40} {:>16} {:>16} {:>16}\n",
        "from POST to", "first mutation", "last bad answer", "healthy"
    );
    for row in rows.iter() {
        let after = |at: Option<Timestamp>| {
            at.map_or_else(
                || "-".to_owned(),
                |at| format!("{:.3} s", at.duration_since(row.posted).as_secs_f64()),
            )
        };
        let [first, last, healthy] = [row.first_mutation, row.last_bad, row.healthy].map(after);
        writeln!(
            text,
            "{:<40} {first:>16} {last:>16} {healthy:>16}",
            row.scenario
        )
        .expect("a string takes all");
    }
    println!("{text}");
}
