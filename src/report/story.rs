//! What is to be told about a rollback, from what is on record and from nothing else.
//!
//! One message that is kept up to date, and further ones that are told once each. The story knows no clock: nothing
//! is edited because time passed, and the same record always tells the same. It neither sends nor remembers.

mod after;
mod asked;
mod command;
mod full;
mod headline;
mod links;
mod postmortem;
mod row;
mod thread;

pub use full::full;
pub use postmortem::postmortem;

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::audience::Everyone;
use super::page::{Page, Span};
use crate::reason::Reason;
use crate::rollback::object::{AlertRecord, Run};
use crate::rollback::{Memory, Phase, Rollback, RollbackStatus};
use crate::target::{LinkFacts, Target};

/// The longest piece of foreign text in a message.
const LONGEST: usize = 300;

/// All that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The message that is kept up to date, and the parent of the thread.
    pub parent: Page,
    /// What is told once each, in this order.
    pub further: Vec<Told>,
    /// Whether the rollback has ended.
    pub ended: bool,
    /// Whether the one message is all there is: nothing was begun.
    pub alone: bool,
    /// Whether it needs a person as it is now.
    pub needs: bool,
    /// What could not be rendered, for the log.
    pub faults: Vec<String>,
}

/// A message in the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Names it for ever, so that it is told once.
    pub key: String,
    /// What it says.
    pub page: Page,
    /// Whether the channel sees it too. An edit rings no phone, so whatever somebody must learn is a new message.
    pub broadcast: bool,
    /// Whether it needs a person.
    pub needs: bool,
}

/// A rollback and all that is known around it.
struct Case<'a> {
    rollback: &'a Rollback,
    state: Cow<'a, RollbackStatus>,
    memory: Option<&'a Memory>,
    target: Option<&'a Target>,
    everyone: &'a Everyone,
}

/// The story of a rollback; none while it is merely claimed, so that a refusal is a first message, which rings.
#[must_use]
pub fn tell(
    rollback: &Rollback,
    memory: Option<&Memory>,
    target: Option<&Target>,
    everyone: &Everyone,
) -> Option<Story> {
    if rollback.phase() == Phase::Pending {
        return None;
    }
    Some(Case::of(rollback, memory, target, everyone).story())
}

/// What templates can say about a rollback.
#[must_use]
pub fn facts(rollback: &Rollback, target: Option<&Target>, everyone: &Everyone) -> LinkFacts {
    Case::of(rollback, None, target, everyone).facts()
}

/// When the last thing happened of which the story tells.
#[must_use]
pub fn latest(rollback: &Rollback) -> Option<Timestamp> {
    let state = rollback.state();
    let noticed = state.alerts.persisting.as_ref().map(|it| it.noticed);
    let ends = rollback.records().into_iter().filter_map(|it| it.ended);
    let run = state.run.finished.or(rollback.received());
    let looks = state.after.checks.iter().map(|check| check.at);
    run.into_iter()
        .chain(noticed)
        .chain(ends)
        .chain(looks)
        .max()
}

// === impl Case ===

impl<'a> Case<'a> {
    fn of(
        rollback: &'a Rollback,
        memory: Option<&'a Memory>,
        target: Option<&'a Target>,
        everyone: &'a Everyone,
    ) -> Self {
        Self {
            rollback,
            state: rollback.state(),
            memory,
            target,
            everyone,
        }
    }
}

impl Case<'_> {
    fn story(&self) -> Story {
        let (on_call, mut faults) = self.everyone.on_call(self.target);
        let (links, unrendered) = self.links();
        faults.extend(unrendered);
        let alone = !self.ran();
        Story {
            parent: Page {
                headline: self.headline(),
                call: if alone && self.needs_person() {
                    on_call.clone()
                } else {
                    Vec::new()
                },
                rows: self.rows(),
                next: self.next(),
                footer: self.footer(links),
            },
            further: if alone {
                Vec::new()
            } else {
                self.thread(&on_call)
            },
            ended: self.phase().ended(),
            alone,
            needs: self.needs_person(),
            faults,
        }
    }

    fn run(&self) -> &Run {
        &self.state.run
    }

    fn phase(&self) -> Phase {
        self.rollback.phase()
    }

    /// Whether it began, so that there is more to tell than one message.
    fn ran(&self) -> bool {
        let began = self.state.plan.is_some() || self.run().started.is_some();
        began && !matches!(self.phase(), Phase::Shadowed | Phase::AwaitingApproval)
    }

    fn drill(&self) -> bool {
        self.rollback.spec.drill
    }

    fn needs_person(&self) -> bool {
        if self.state.alerts.persisting.is_some() {
            return true;
        }
        // Whoever drills is there already; what is left half-way needs somebody all the same.
        if self.drill() {
            return matches!(self.phase(), Phase::Failed | Phase::AwaitingApproval);
        }
        match self.phase() {
            Phase::Failed | Phase::AwaitingApproval => true,
            Phase::Declined => !self.refused_quietly(),
            Phase::Running => self.run().over_budget.is_some(),
            _ => false,
        }
    }

    /// Whether a refusal is what somebody wanted, or what time has settled. All others are for a person to mend.
    fn refused_quietly(&self) -> bool {
        let reason = self.state.reason.as_ref().map(|finding| finding.reason);
        matches!(
            reason,
            Some(
                Reason::Held
                    | Reason::TargetHeld
                    | Reason::NoRecentChange
                    | Reason::NotThisRelease
                    | Reason::TooLate
                    | Reason::ResolvedBeforeStart
                    | Reason::Duplicate
                    | Reason::ApprovalDenied
            )
        )
    }

    /// Who owns the spec, where that kept Ripcord from writing to it.
    fn owner(&self) -> Option<&str> {
        self.state.plan.as_ref()?.owner.as_deref()
    }

    /// Whether the update was aborted, so that the spec still holds it.
    fn aborted(&self) -> bool {
        let mut seen = self
            .run()
            .steps
            .iter()
            .filter_map(|it| it.observed.as_ref());
        seen.any(|found| found.reason == Reason::Aborted)
    }

    /// The target's name; whoever creates a rollback by hand may have written anything.
    fn name(&self) -> String {
        let spec = &self.rollback.spec;
        match (&spec.unplaced, &spec.trigger) {
            (Some(_), Some(trigger)) => format!("trigger {}", one_line(trigger)),
            _ => one_line(&spec.target),
        }
    }

    fn origin(&self) -> String {
        match (self.rollback.from(), self.rollback.to()) {
            (Some(from), Some(to)) => from.name_beside(to),
            (Some(from), None) => from.name(),
            (None, _) => "the live release".to_owned(),
        }
    }

    fn destination(&self) -> Option<String> {
        let to = self.rollback.to()?;
        let from = self.rollback.from();
        Some(from.map_or_else(|| to.name(), |from| to.name_beside(from)))
    }

    fn reason(&self) -> String {
        self.state
            .reason
            .as_ref()
            .map_or_else(String::new, |finding| {
                one_line(finding.to_string().trim_end_matches('.'))
            })
    }

    fn alert(&self) -> Option<&AlertRecord> {
        self.rollback.most_severe()
    }

    /// Since the receipt of the first alert; nothing where the clocks of two machines disagree.
    fn since_received(&self, at: Timestamp) -> Option<SignedDuration> {
        let since = at.duration_since(self.rollback.received()?);
        (!since.is_negative()).then_some(since)
    }

    /// The same since the time that counts for the budget: the receipt, or the approval where one was waited for.
    fn since_released(&self, at: Timestamp) -> Option<SignedDuration> {
        let since = at.duration_since(self.rollback.counts_from()?);
        (!since.is_negative()).then_some(since)
    }

    /// When the service was proved, or the last step was done.
    fn recovered(&self) -> Option<Timestamp> {
        self.run().healthy.or(self.run().finished)
    }

    fn footer(&self, links: Vec<Span>) -> Vec<Span> {
        let mut footer = links;
        let procedure = self.state.plan.as_ref().map(|plan| plan.procedure.as_str());
        let about = [
            ("trigger", self.rollback.spec.trigger.as_deref()),
            (
                "procedure",
                procedure.or(self.rollback.spec.procedure.as_deref()),
            ),
            ("rollback", Some(self.rollback.name())),
        ];
        for (label, name) in about {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                footer.push(Span::Text(format!("{label} {}", one_line(name))));
            }
        }
        footer.push(Span::Text("times are UTC".to_owned()));
        footer
    }
}

/// Foreign text as one line that is not too long.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    super::blocks::cut_plain(&words.join(" "), LONGEST)
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests;
