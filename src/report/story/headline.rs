//! The first line: the verdict, the service, and whether a person is needed, in what a lock screen shows.

use super::{Case, one_line};
use crate::procedure::StepPhase;
use crate::reason::Reason;
use crate::report::blocks::{cut_plain, units};
use crate::rollback::Phase;
use crate::rollback::history::rough;

/// What a lock screen shows of a first line.
const VISIBLE: usize = 80;
/// A target's name is not cut shorter than this.
const LEAST_NAME: usize = 12;

impl Case<'_> {
    pub(super) fn headline(&self) -> String {
        let from = self.origin();
        let to = self
            .destination()
            .unwrap_or_else(|| "a good release".to_owned());
        if self.state.alerts.persisting.is_some() {
            return self.line(
                "⚠️",
                "",
                &format!(": {from} → {to}, but it still alerts · you are needed"),
            );
        }
        match self.phase() {
            Phase::Pending | Phase::Running => self.running(&from, &to),
            Phase::AwaitingApproval => {
                let by = self.run().asked.as_ref();
                let by = by.map_or_else(String::new, |asked| {
                    format!(" · answer by {}", asked.until.strftime("%H:%M"))
                });
                let rest = format!(": may {from} go back to {to}?{by} · you are needed");
                self.line("🙋", "", &rest)
            }
            Phase::Succeeded => {
                let took = self.recovered().and_then(|at| self.since_received(at));
                let took = took.map_or_else(String::new, |took| {
                    format!(" · {} after the {}", rough(took), self.cause())
                });
                let back = if self.aborted() {
                    let rest =
                        format!(": {from} aborted, {to} serves · revert {from} in Git{took}");
                    return self.line("✅", "", &rest);
                } else if self.rollback.touched() {
                    format!(" is back: {from} → {to}")
                } else {
                    format!(" was already on {to}, not on {from}")
                };
                self.line("✅", "", &format!("{back} · nobody needed{took}"))
            }
            Phase::Failed if self.run().traffic_back.is_some() => {
                let rest = match self.failed_after_proof() {
                    Some(step) => format!(": {to} is healthy, but {step} failed"),
                    None => format!(": {from} → {to} NOT proved healthy"),
                };
                self.line("🛑", "", &format!("{rest} · you are needed"))
            }
            Phase::Failed => {
                let rest = format!(" is NOT back: {from} → {to} · you are needed");
                self.line("🛑", "", &rest)
            }
            Phase::Superseded if self.gave_way() => {
                let rest = format!(": {from} → {to}, then gave way · {}", self.reason());
                self.line("⏭️", "", &rest)
            }
            Phase::Superseded => {
                let rest = format!(": another release took over from {from} · nobody needed");
                self.line("⏭️", "", &rest)
            }
            Phase::Cancelled => {
                let by = self.rollback.spec.cancel.as_ref();
                let by = by.map_or_else(String::new, |cancel| {
                    format!(" by {}", cut_plain(&one_line(&cancel.by), 24))
                });
                self.line(
                    "✋",
                    "",
                    &format!(": the way back from {from} was cancelled{by}"),
                )
            }
            Phase::Declined => self.declined(),
            Phase::Shadowed => {
                let rest = match self.destination() {
                    Some(to) => format!(": would pull {from} back to {to} · nothing touched"),
                    None => format!(": would pull {from} back · nothing touched"),
                };
                self.line("👻", "shadow · ", &rest)
            }
        }
    }

    /// The step that failed once every pod of the destination had proved that it is healthy.
    fn failed_after_proof(&self) -> Option<&str> {
        let mut steps = self.run().steps.iter();
        steps.find(|it| it.step == "healthy" && it.phase == StepPhase::Done)?;
        let failed = steps.find(|it| it.phase == StepPhase::Failed);
        failed.map(|it| it.step.as_str())
    }

    fn running(&self, from: &str, to: &str) -> String {
        if self.run().gave_up.is_some() {
            let rest = format!(": {from} is not back on {to} · given up · you are needed");
            return self.line("🛑", "", &rest);
        }
        if self.run().over_budget.is_some() && !self.drill() {
            let rest = format!(": still pulling {from} back to {to} · late · please look");
            return self.line("⏱️", "", &rest);
        }
        let steps = &self.run().steps;
        let current = steps
            .iter()
            .position(|entry| matches!(entry.phase, StepPhase::Pending | StepPhase::Running));
        let step = current.map_or_else(String::new, |at| {
            let name = steps.get(at).map_or("", |entry| entry.step.as_str());
            format!(" · step {}/{} {name}", at + 1, steps.len())
        });
        let seen = current.and_then(|at| steps.get(at)?.observed.as_ref());
        let need = match seen.map(|seen| seen.reason) {
            Some(Reason::PermissionMissing) => "a right is missing",
            _ => "nobody needed yet",
        };
        let rest = format!(": pulling {from} back to {to}{step} · {need}");
        self.line("⏳", "", &rest)
    }

    fn declined(&self) -> String {
        let what = match self.alert() {
            Some(alert) => format!(
                "{} {}",
                alert.severity,
                cut_plain(&one_line(&alert.name), 28)
            ),
            None => "a request".to_owned(),
        };
        let rest = if self.needs_person() {
            format!(": {what} NOT acted on · you are needed")
        } else {
            format!(": {what} was NOT acted on: {}", self.reason())
        };
        self.line("⚠️", "", &rest)
    }

    /// Whether a drill gave way to what is none.
    fn gave_way(&self) -> bool {
        let reason = self.state.reason.as_ref().map(|finding| finding.reason);
        reason == Some(Reason::RealAlert)
    }

    fn cause(&self) -> &'static str {
        if self.alert().is_some() {
            "alert"
        } else {
            "request"
        }
    }

    /// Emoji, target and verdict; the target's name gives way first, then the end of the line.
    pub(super) fn line(&self, emoji: &str, before: &str, rest: &str) -> String {
        let drill = if self.drill() { "drill · " } else { "" };
        let before = &*format!("{drill}{before}");
        let room = VISIBLE.saturating_sub(units(emoji) + 1 + units(before) + units(rest));
        let name = cut_plain(&self.name(), room.max(LEAST_NAME));
        cut_plain(&format!("{emoji} {before}{name}{rest}"), VISIBLE)
    }
}
