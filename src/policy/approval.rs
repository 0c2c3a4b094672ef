//! Whether a person must approve a rollback, and what became of the question. It fails closed: what is not answered in
//! time, or is answered for something else, does not run.
//!
//! An alert that may act by itself is never kept waiting by one that must be asked about: then nobody is asked.

use jiff::Timestamp;

use super::admission::late;
use super::{Policy, Trigger};
use crate::alert::Severity;
use crate::procedure::Procedure;
use crate::reason::{Finding, Reason};
use crate::rollback::history::rough;
use crate::rollback::object::{AlertRecord, Approval, Asked, Mode, Verdict};
use crate::rollback::{Phase, Rollback};
use crate::target::Target;

/// How it stands with a person's approval.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Consent {
    /// Nobody has to be asked; the time in which a start is allowed counts from here.
    Needless(Timestamp),
    /// Somebody has to be asked, or was and has not answered: why.
    Needed(String),
    /// Somebody said yes at this time, from which the time in which a start is allowed counts.
    Given(Timestamp),
    /// It must not run any more.
    Refused(Finding),
}

impl Policy {
    /// Why what a trigger asks for needs a person's approval, if it does.
    #[must_use]
    pub fn must_ask(
        &self,
        trigger: &Trigger,
        severity: Severity,
        procedure: Option<&Procedure>,
    ) -> Option<String> {
        if trigger.mode == Mode::Ask {
            return Some(asks("trigger", &trigger.name));
        }
        if self.asks.contains(&severity) {
            return Some(asks("severity", severity.as_str()));
        }
        let procedure = procedure.filter(|procedure| procedure.approval)?;
        Some(asks("procedure", &procedure.name))
    }

    /// The alert that decides what is run: the most severe; where somebody must be asked about one of them, the most severe
    /// of those that may act without.
    #[must_use]
    pub fn deciding<'r>(
        &self,
        rollback: &'r Rollback,
        target: &Target,
        now: Timestamp,
    ) -> Option<&'r AlertRecord> {
        let free = self
            .why(rollback)
            .and_then(|_| self.free(rollback, target, now));
        free.or_else(|| rollback.most_severe())
    }

    /// How it stands with a person's approval of a rollback.
    #[must_use]
    pub fn consent(&self, rollback: &Rollback, target: &Target, now: Timestamp) -> Consent {
        let received = rollback.received().unwrap_or(now);
        if rollback.spec.mode == Mode::Shadow {
            return Consent::Needless(received);
        }
        let free = self.free(rollback, target, now);
        let state = rollback.state();
        let Some(asked) = &state.run.asked else {
            return match self.why(rollback) {
                Some(_) if free.is_none() && rollback.spec.approval.is_some() => {
                    let said = "an answer stood there before anybody was asked";
                    Consent::Refused(Reason::ApprovalStale.because(said))
                }
                Some(why) if free.is_none() => Consent::Needed(why),
                _ => Consent::Needless(received),
            };
        };
        match (&rollback.spec.approval, free) {
            (Some(approval), _) => answer(rollback, asked, approval, now),
            (None, Some(free)) => Consent::Needless(free.received),
            (None, None) if now < asked.until => Consent::Needed(asked.why.clone()),
            (None, None) => {
                let waited = rough(asked.until.duration_since(asked.at));
                let said = format!("nobody answered within {waited}");
                Consent::Refused(Reason::ApprovalExpired.because(said))
            }
        }
    }

    /// Why it is too late for a first change, if it is. While somebody is asked it is not: that has a time of its own.
    #[must_use]
    pub fn too_late(
        &self,
        rollback: &Rollback,
        target: &Target,
        now: Timestamp,
    ) -> Option<Finding> {
        match self.consent(rollback, target, now) {
            Consent::Needless(since) | Consent::Given(since) => late(since, target, now),
            Consent::Needed(_) if rollback.phase() == Phase::AwaitingApproval => None,
            Consent::Needed(_) => late(rollback.received()?, target, now),
            Consent::Refused(finding) => Some(finding),
        }
    }

    /// Why somebody has to be asked about a rollback, if any of its alerts alone would have it so. A person's own request is
    /// asked about only where it says so itself, or its procedure does.
    fn why(&self, rollback: &Rollback) -> Option<String> {
        if let Some(why) = self.why_rung(rollback) {
            return Some(why);
        }
        let records = rollback.records();
        if !records.is_empty() {
            return records.into_iter().find_map(|record| self.asks_for(record));
        }
        if rollback.spec.mode == Mode::Ask {
            return Some("the request itself asks for an approval".to_owned());
        }
        let by_severity = self.severities.get(&rollback.spec.severity);
        let name = rollback.spec.procedure.as_ref().or(by_severity)?;
        let procedure = self.procedures.get(name)?;
        procedure.approval.then(|| asks("procedure", name))
    }

    /// Why somebody has to be asked about a rung of the ladder because of its own procedure, if it is one.
    fn why_rung(&self, rollback: &Rollback) -> Option<String> {
        let name = rollback.spec.rung.and(rollback.spec.procedure.as_ref())?;
        let procedure = self.procedures.get(name)?;
        procedure.approval.then(|| asks("procedure", name))
    }

    /// Why an alert on record must be asked about, if it must. A trigger that the policy no longer has is no reason: it
    /// starts nothing either.
    fn asks_for(&self, record: &AlertRecord) -> Option<String> {
        let procedure = self.procedures.get(&record.procedure);
        self.must_ask(self.trigger_of(record)?, record.severity, procedure)
    }

    fn trigger_of(&self, record: &AlertRecord) -> Option<&Trigger> {
        let mut triggers = self.triggers.iter();
        triggers.find(|trigger| trigger.name == record.trigger)
    }

    /// The most severe alert that still fires and may act without being asked about. Once somebody was asked, only one that
    /// came so lately that a start is still allowed.
    fn free<'r>(
        &self,
        rollback: &'r Rollback,
        target: &Target,
        now: Timestamp,
    ) -> Option<&'r AlertRecord> {
        // What an alert may start by itself is not what is climbed to.
        if rollback.spec.rung.is_some() && self.why(rollback).is_some() {
            return None;
        }
        let asked = rollback.state().run.asked.is_some();
        let records = rollback.records().into_iter().filter(|record| {
            let acts = self
                .trigger_of(record)
                .is_some_and(|trigger| trigger.mode == Mode::Act);
            acts && rollback.end_of(record).is_none()
                && self.asks_for(record).is_none()
                && (!asked || late(record.received, target, now).is_none())
        });
        records.min_by_key(|record| (record.severity, record.received))
    }
}

/// What an answer comes to.
fn answer(rollback: &Rollback, asked: &Asked, approval: &Approval, now: Timestamp) -> Consent {
    let by = &approval.by;
    if approval.decision == Verdict::Deny {
        let mut said = format!("denied by {by}");
        if !approval.reason.is_empty() {
            said = format!("{said}: {}", approval.reason);
        }
        return Consent::Refused(Reason::ApprovalDenied.because(said));
    }
    let at = rollback.answered(now).unwrap_or(now);
    if at > asked.until {
        let after = rough(at.duration_since(asked.until));
        let said = format!("{by} approved {after} too late");
        return Consent::Refused(Reason::ApprovalExpired.because(said));
    }
    let planned = rollback.to().map(|to| to.hash.as_str());
    if approval.to.as_deref() != planned {
        let said = format!(
            "{by} approved a return to {}, planned is one to {}",
            approval.to.as_deref().unwrap_or("nothing by name"),
            planned.unwrap_or("nothing")
        );
        return Consent::Refused(Reason::ApprovalStale.because(said));
    }
    Consent::Given(at)
}

fn asks(what: &str, name: &str) -> String {
    format!("{what} {name} asks for an approval")
}

#[cfg(test)]
#[path = "approval/tests.rs"]
mod tests;
