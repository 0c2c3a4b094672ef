//! What is told once each in the thread: a line for every step and turn, and a message that rings for every end and
//! every need of a person. Never a line for a poll.

use jiff::Timestamp;

use super::{Case, Told, clock, one_line};
use crate::procedure::StepPhase;
use crate::report::blocks::Mention;
use crate::report::page::Page;
use crate::rollback::Phase;

impl Case<'_> {
    pub(super) fn thread(&self, on_call: &[Mention]) -> Vec<Told> {
        let mut told: Vec<(Option<Timestamp>, Told)> = Vec::new();
        for (at, entry) in self.run().steps.iter().enumerate() {
            let ended = matches!(entry.phase, StepPhase::Done | StepPhase::Failed);
            if let Some(text) = self.step_line(at, entry).filter(|_| ended) {
                told.push((
                    entry.finished,
                    line(format!("step/{at}/{}", entry.step), text),
                ));
            }
        }
        let released = self.run().asked.as_ref().and_then(|asked| asked.released);
        let answer = self.answer().filter(|_| released.is_some());
        told.extend(answer.map(|text| (released, line("approval", text))));
        let traffic = self.run().traffic_back;
        told.extend(self.traffic().map(|text| (traffic, line("traffic", text))));
        let late = self.run().over_budget;
        if self.phase() == Phase::Running && late.is_some() && !self.drill() {
            told.push((late, self.over_budget(on_call)));
        }
        if let Some(gave_up) = self.run().gave_up {
            told.push((Some(gave_up), self.gave_up(on_call)));
        }
        if self.phase().ended() {
            let finished = self.run().finished;
            told.extend(self.joined().map(|text| (finished, line("joined", text))));
            told.push((finished, self.end(on_call)));
        }
        if let Some(persisting) = &self.state.alerts.persisting {
            told.push((Some(persisting.noticed), self.persists(on_call)));
        }
        if let Some(at) = self.all_ended_at() {
            let count = self.alert_count();
            let what = if count == 1 {
                "the alert has".to_owned()
            } else {
                format!("all {count} alerts have")
            };
            let text = format!("{what} ended, at {}", clock(at));
            told.push((Some(at), line("resolved", text)));
        }
        told.extend(self.looks());
        // What has no time yet stays where it is, behind all that has.
        told.sort_by_key(|(at, _)| at.unwrap_or(Timestamp::MAX));
        told.into_iter().map(|(_, told)| told).collect()
    }

    fn over_budget(&self, on_call: &[Mention]) -> Told {
        let page = Page {
            headline: self.headline(),
            call: on_call.to_vec(),
            rows: self.budget().into_iter().collect(),
            next: self.look().into_iter().chain([self.cancel()]).collect(),
            footer: Vec::new(),
        };
        ring("over_budget", page)
    }

    /// The run is given up and cannot be ended safely. It says the same after the end, so that it is told once.
    fn gave_up(&self, on_call: &[Mention]) -> Told {
        let mut page = Page {
            headline: self.line(
                "🛑",
                "",
                ": given up between restore and promotion · you are needed",
            ),
            call: on_call.to_vec(),
            rows: Vec::new(),
            next: vec![self.look()].into_iter().flatten().collect(),
            footer: Vec::new(),
        };
        page.next.push(self.cancel());
        ring("gave_up", page)
    }

    /// The end. It speaks of the run alone: what came later has messages of its own.
    fn end(&self, on_call: &[Mention]) -> Told {
        let mut run = self.rollback.clone();
        if let Some(status) = &mut run.status {
            status.alerts.persisting = None;
        }
        let alone = Case {
            rollback: &run,
            state: run.state(),
            ..*self
        };
        let rows = alone.stopped().into_iter().chain(alone.budget());
        let page = Page {
            headline: alone.headline(),
            call: if alone.needs_person() {
                on_call.to_vec()
            } else {
                Vec::new()
            },
            rows: rows.collect(),
            next: alone.next(),
            footer: Vec::new(),
        };
        Told {
            needs: alone.needs_person(),
            ..ring(format!("end/{}", self.phase()), page)
        }
    }

    fn persists(&self, on_call: &[Mention]) -> Told {
        let page = Page {
            headline: self.headline(),
            call: on_call.to_vec(),
            rows: self.persisting().into_iter().collect(),
            next: self.next(),
            footer: Vec::new(),
        };
        ring("persisting", page)
    }

    /// The alerts that joined on the way, counted once the run is over.
    fn joined(&self) -> Option<String> {
        let first = &self.rollback.spec.alerts;
        let items = &self.state.alerts.items;
        let joined: Vec<_> = items
            .iter()
            .filter(|item| !first.iter().any(|it| it.episode() == item.episode()))
            .collect();
        let omitted = usize::try_from(self.state.alerts.omitted).unwrap_or(0);
        let count = joined.len() + omitted;
        let most_severe = joined.iter().min_by_key(|it| (it.severity, it.received))?;
        let (name, severity) = (one_line(&most_severe.name), most_severe.severity);
        Some(if count == 1 {
            format!("1 more alert joined: {name} ({severity})")
        } else {
            format!("{count} more alerts joined, the most severe {name} ({severity})")
        })
    }
}

pub(super) fn line(key: impl Into<String>, text: String) -> Told {
    Told {
        key: key.into(),
        page: Page {
            headline: text,
            ..Page::default()
        },
        broadcast: false,
        needs: false,
    }
}

/// A message that rings, and needs somebody.
pub(super) fn ring(key: impl Into<String>, page: Page) -> Told {
    Told {
        key: key.into(),
        page,
        broadcast: true,
        needs: true,
    }
}
