//! The facts under the first line: where, what, why, what was observed, and what was *not* done.
//!
//! Only what is on record: a row without a fact is left out, and nothing is called done that was not observed.

use jiff::{SignedDuration, Timestamp};

use super::{Case, clock, date, one_line};
use crate::procedure::{Entry, StepPhase};
use crate::report::page::{Line, Row, Span};
use crate::rollback::Phase;
use crate::rollback::history::rough;
use crate::rollback::object::AlertRecord;

/// How many further alerts are named.
const NAMED: usize = 3;

impl Case<'_> {
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.place()];
        rows.extend(self.journey());
        rows.extend(self.persisting());
        rows.extend(self.stopped());
        rows.push(self.why());
        rows.extend(self.follows());
        rows.extend(self.asked());
        rows.extend(self.observed());
        let state = self.run().state.as_deref();
        rows.extend(state.map(|state| Row::text("state now", one_line(state))));
        rows.extend(self.alerts());
        rows.extend(self.budget());
        rows.extend(self.not_done());
        rows
    }

    fn place(&self) -> Row {
        let namespace = self.rollback.namespace();
        let place = match self.target {
            Some(target) => {
                let workload = &target.workload;
                format!("{namespace} / {} {}", workload.kind.word(), workload.name)
            }
            None => format!("{namespace} / a target that the policy no longer has"),
        };
        Row::text("where", place)
    }

    fn journey(&self) -> Option<Row> {
        let from = self.rollback.from()?;
        let Some(to) = self.rollback.to() else {
            return Some(Row::text("release", one_line(&from.shown())));
        };
        let (left, reached) = (one_line(&from.shown()), one_line(&to.shown()));
        let mut lines = vec![words(format!("{left} → {reached}"))];
        if let Some(plan) = self.state.plan.as_ref().filter(|p| !p.chosen.is_empty()) {
            lines.push(words(format!(
                "{} because {}",
                to.name(),
                one_line(&plan.chosen)
            )));
        }
        let made = self.memory.and_then(|memory| memory.status.as_ref());
        let made = made.and_then(|status| {
            let mut made = status.made.iter();
            made.find(|made| made.rollback == self.rollback.name())
        });
        if let Some(made) = made.filter(|made| made.revision != to.revision) {
            let said = format!("r{} is the template of {} again", made.revision, to.name());
            lines.push(words(said));
        }
        Some(Row {
            label: "release",
            lines,
        })
    }

    pub(super) fn persisting(&self) -> Option<Row> {
        let persisting = self.state.alerts.persisting.as_ref()?;
        let said = one_line(&persisting.finding.to_string());
        Some(Row::text(
            "since then",
            format!("{} {said}", clock(persisting.noticed)),
        ))
    }

    /// Where and why it ended short of its goal.
    pub(super) fn stopped(&self) -> Option<Row> {
        let verdict = self.reason();
        match self.phase() {
            Phase::Failed | Phase::Cancelled | Phase::Superseded => {
                let mut lines = Vec::new();
                let steps = &self.run().steps;
                let at = steps.iter().position(|entry| {
                    matches!(entry.phase, StepPhase::Failed | StepPhase::Skipped)
                });
                if let Some((at, entry)) = at.and_then(|at| Some((at, steps.get(at)?))) {
                    let seen = observed(entry);
                    let place = format!("step {}/{} {}", at + 1, steps.len(), entry.step);
                    lines.push(words(match seen {
                        Some(seen) => format!("{place}: {seen}"),
                        None => place,
                    }));
                    if entry.observed == self.state.reason {
                        return Some(Row {
                            label: "stopped at",
                            lines,
                        });
                    }
                }
                lines.extend((!verdict.is_empty()).then(|| words(verdict)));
                let cancel = self.rollback.spec.cancel.as_ref();
                let reason = cancel.map(|cancel| one_line(&cancel.reason));
                lines.extend(reason.filter(|r| !r.is_empty()).map(words));
                (!lines.is_empty()).then_some(Row {
                    label: "stopped at",
                    lines,
                })
            }
            Phase::Declined => (!verdict.is_empty()).then(|| Row::text("refused", verdict)),
            _ => None,
        }
    }

    fn why(&self) -> Row {
        let Some(alert) = self.alert() else {
            let by = self.rollback.spec.requested_by.as_deref();
            let by = by.map_or_else(|| "somebody".to_owned(), one_line);
            let reason = self.rollback.spec.reason.as_deref().map(one_line);
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            let mut row = Row::text("why", format!("{by} asked for it{reason}"));
            if self.drill() {
                let said = "a drill: a harmless release was shipped to be pulled back; nothing is blamed or latched";
                row.lines.push(words(said.to_owned()));
            }
            return row;
        };
        let summary = alert.summary.as_deref().map(one_line);
        let summary = summary
            .filter(|summary| !summary.is_empty())
            .map_or_else(String::new, |summary| format!(": {summary}"));
        let head = format!("{} ({}){summary}", one_line(&alert.name), alert.severity);
        let mut lines = vec![words(head), words(self.timing(alert))];
        lines.extend(self.others(alert).map(words));
        Row {
            label: "why",
            lines,
        }
    }

    /// What it follows, where it is a rung of the ladder.
    fn follows(&self) -> Option<Row> {
        let said = self
            .rollback
            .spec
            .rung
            .and(self.rollback.spec.reason.as_deref())?;
        Some(Row::text("follows", one_line(said)))
    }

    fn timing(&self, alert: &AlertRecord) -> String {
        let late = alert.received.duration_since(alert.began);
        let received = if late.is_negative() {
            String::new()
        } else {
            format!(", received {} later", rough(late))
        };
        let live = self.went_live().zip(self.rollback.from());
        let live = live.map_or_else(String::new, |(live, from)| {
            let age = alert.began.duration_since(live);
            let word = if age.is_negative() { "after" } else { "before" };
            let (from, age) = (from.name(), rough(age.abs()));
            format!("; {from} went live {age} {word} it began")
        });
        format!("began {}{received}{live}", date(alert.began))
    }

    /// The other alerts that asked, by name and each name once.
    fn others(&self, first: &AlertRecord) -> Option<String> {
        let mut names: Vec<String> = Vec::new();
        for record in self.rollback.records() {
            let name = one_line(&record.name);
            if record.name != first.name && !names.contains(&name) {
                names.push(name);
            }
        }
        let count = self.alert_count().saturating_sub(1);
        if count == 0 {
            return None;
        }
        let more = if count == 1 {
            "1 more alert".to_owned()
        } else {
            format!("{count} more alerts")
        };
        let rest = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        if rest > 0 {
            names.push("…".to_owned());
        }
        Some(if names.is_empty() {
            format!("and {more} of that name")
        } else {
            format!("and {more}: {}", names.join(", "))
        })
    }

    pub(super) fn alert_count(&self) -> usize {
        let omitted = self.rollback.spec.alerts_omitted + self.state.alerts.omitted;
        self.rollback.records().len() + usize::try_from(omitted).unwrap_or(0)
    }

    /// When the bad release went live, as far as the memory still tells.
    pub(super) fn went_live(&self) -> Option<Timestamp> {
        let from = self.rollback.from()?;
        let status = self.memory?.status.as_ref()?;
        let live = status.live.as_ref().filter(|live| {
            live.uid == from.uid && live.hash == from.hash && live.revision == from.revision
        });
        if let Some(live) = live {
            return Some(live.promoted.unwrap_or(live.changed).max(live.changed));
        }
        // The first entry is dated to the first look, not to a change.
        let mut past = status.history.iter().skip(1).rev();
        past.find(|past| {
            past.uid == from.uid && past.hash == from.hash && past.revision == from.revision
        })
        .map(|past| past.since)
    }

    fn observed(&self) -> Option<Row> {
        let steps = self.run().steps.iter().enumerate();
        let mut lines: Vec<Line> = steps
            .filter_map(|(at, entry)| self.step_line(at, entry))
            .map(words)
            .collect();
        lines.extend(self.traffic().map(words));
        lines.extend(
            self.run()
                .healthy
                .map(|at| words(format!("all steps done at {}{}", clock(at), self.after(at)))),
        );
        (!lines.is_empty()).then_some(Row {
            label: "observed",
            lines,
        })
    }

    /// One step that has begun: its place, its state, and what was observed when.
    pub(super) fn step_line(&self, at: usize, entry: &Entry) -> Option<String> {
        let word = match entry.phase {
            StepPhase::Pending => return None,
            StepPhase::Skipped if entry.started.is_none() => return None,
            StepPhase::Running => "running",
            StepPhase::Done => "done",
            StepPhase::Failed => "failed",
            StepPhase::Skipped => "left",
        };
        let time = match (entry.started, entry.finished) {
            (Some(started), Some(finished)) => format!(
                " at {} after {}",
                clock(finished),
                rough(finished.duration_since(started))
            ),
            (Some(started), None) => format!(" since {}", clock(started)),
            (None, Some(finished)) => format!(" at {}", clock(finished)),
            (None, None) => String::new(),
        };
        let seen = observed(entry).map_or_else(String::new, |seen| format!(": {seen}"));
        let of = self.run().steps.len();
        let step = one_line(&entry.step);
        Some(format!("{}/{of} {step} {word}{time}{seen}", at + 1))
    }

    pub(super) fn traffic(&self) -> Option<String> {
        let at = self.run().traffic_back?;
        let to = self.destination()?;
        Some(format!(
            "all traffic on {to} at {}{}",
            clock(at),
            self.after(at)
        ))
    }

    /// How long after the receipt, in brackets.
    fn after(&self, at: Timestamp) -> String {
        let since = self.since_received(at);
        since.map_or_else(String::new, |since| {
            format!(" ({} after receipt)", rough(since))
        })
    }

    fn alerts(&self) -> Option<Row> {
        let records = self.rollback.records();
        if records.is_empty() || !self.phase().ended() || !self.ran() {
            return None;
        }
        let said = if let Some(at) = self.all_ended_at() {
            format!("all have ended, the last at {}", clock(at))
        } else {
            let ended = records
                .iter()
                .filter(|it| self.rollback.end_of(it).is_some())
                .count();
            format!("{ended} of {} have ended", self.alert_count())
        };
        Some(Row::text("alerts", said))
    }

    /// When the last of all alerts ended.
    pub(super) fn all_ended_at(&self) -> Option<Timestamp> {
        let records = self.rollback.records().into_iter();
        let ends = records.map(|it| self.rollback.end_of(it));
        let last = ends.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        self.rollback.all_ended().then_some(last)
    }

    pub(super) fn budget(&self) -> Option<Row> {
        let seconds = self.state.plan.as_ref()?.budget_seconds;
        let budget = SignedDuration::try_from_secs_f64(seconds).ok()?;
        let shown = if seconds < 120.0 {
            format!("{seconds} s")
        } else {
            rough(budget)
        };
        let said = match (self.phase(), self.recovered()) {
            (Phase::Succeeded, Some(at)) => {
                let took = self.since_released(at)?;
                if took <= budget {
                    format!("{shown} kept")
                } else {
                    format!("{shown} exceeded by {}", rough(took - budget))
                }
            }
            (Phase::Running, _) => match self.run().over_budget {
                Some(at) => format!("{shown} were over at {}", clock(at)),
                None => return None,
            },
            (Phase::Failed, _) => format!("{shown} not kept"),
            _ => return None,
        };
        Some(Row::text("budget", said))
    }

    /// What a reader may take for granted and is not so, as far as the plan shows it.
    fn not_done(&self) -> Option<Row> {
        let plan = self.state.plan.as_ref()?;
        if !self.phase().ended() || !self.rollback.touched() {
            return None;
        }
        let has = |part: &str| plan.steps.iter().any(|step| step.name().contains(part));
        let mut lines = Vec::new();
        // A flush that was in the plan and not done is among what was not reached, or is where it stopped.
        // A command may have done it.
        if !has("flush") && !has("exec") {
            lines.push(words("caches were not flushed".to_owned()));
        }
        if !has("healthy") {
            let said = "no pod was asked for its health: the procedure has no such step";
            lines.push(words(said.to_owned()));
        }
        let left = self
            .run()
            .steps
            .iter()
            .filter(|entry| entry.phase == StepPhase::Skipped && entry.started.is_none());
        let left: Vec<_> = left.map(|entry| one_line(&entry.step)).collect();
        if !left.is_empty() {
            lines.push(words(format!("not reached: {}", left.join(", "))));
        }
        let from = plan.from.name();
        if self.drill() {
            return (!lines.is_empty()).then_some(Row {
                label: "not done",
                lines,
            });
        }
        lines.push(words(match self.owner() {
            Some(owner) if self.left_in_git() => {
                format!("the spec was not changed, because it is {owner}'s: it still holds {from}")
            }
            Some(owner) => format!("the spec was not changed, because it is {owner}'s"),
            None => format!(
                "no manifest in Git was changed: what deploys from one may bring {from} back"
            ),
        }));
        Some(Row {
            label: "not done",
            lines,
        })
    }
}

pub(super) fn words(text: String) -> Line {
    vec![Span::Text(text)]
}

fn observed(entry: &Entry) -> Option<String> {
    entry
        .observed
        .as_ref()
        .map(|finding| one_line(finding.to_string().trim_end_matches('.')))
}
