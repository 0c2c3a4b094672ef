//! The figures, and the table of them. Every ratio is to the yardstick of the same run of the bench.

use std::fmt::Write;
use std::time::Duration;

use crate::shared::page::median;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Creating an object and patching its status.
    pub(crate) writes: Vec<Duration>,
    pub(crate) one: Vec<Duration>,
    pub(crate) one_changed: Vec<Duration>,
    pub(crate) hundred: Vec<Duration>,
    pub(crate) hundred_changed: Vec<Duration>,
    pub(crate) repeated: Vec<Duration>,
}

// === impl Figures ===

impl Figures {
    /// The section of the document.
    pub(crate) fn text(&self, machine: &str, runs: u16) -> String {
        let rows = [
            (
                "yardstick: create a `Rollback`, patch its status",
                &self.writes,
            ),
            ("one alert: POST to 200", &self.one),
            (
                "one alert: POST to the first change of the Rollout",
                &self.one_changed,
            ),
            ("100 alerts in one notification: POST to 200", &self.hundred),
            (
                "100 alerts: POST to the first change of the Rollout",
                &self.hundred_changed,
            ),
            (
                "the same notification again, 4 senders at once: POST to 200",
                &self.repeated,
            ),
        ];
        let milliseconds =
            |all: &[Duration]| all.iter().map(|it| it.as_secs_f64() * 1000.0).collect();
        let yardstick = median(milliseconds(&self.writes)).unwrap_or(f64::NAN);
        let mut text = format!(
            "{machine} Runs: {runs}, of one replica. The release is a bad canary at its first pause, with 20 requests a second. \
             The yardstick is two bare writes to the same API server by the same kind of client.\n\n\
             | what | times | median | slowest | median, in yardsticks |\n| --- | --- | --- | --- | --- |\n"
        );
        for (what, all) in rows {
            let middle = median(milliseconds(all)).unwrap_or(f64::NAN);
            let slowest = milliseconds(all).into_iter().fold(0.0, f64::max);
            let (times, ratio) = (all.len(), middle / yardstick);
            writeln!(
                text,
                "| {what} | {times} | {middle:.1} ms | {slowest:.1} ms | {ratio:.2} |"
            )
            .expect("a string takes all");
        }
        text
    }
}
