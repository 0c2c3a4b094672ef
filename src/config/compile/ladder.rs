//! The ladder: what is tried where a revert fails exists, and does not lead back.

use std::collections::BTreeMap;

use super::{Check, FoundProcedure};
use crate::alert::Severity;
use crate::config::diagnostic::Diagnostic;
use crate::policy::ladder::RUNGS;

/// What follows what.
pub(super) struct Ladder<'a> {
    pub(super) procedures: &'a BTreeMap<String, FoundProcedure>,
    pub(super) severities: &'a BTreeMap<Severity, String>,
    pub(super) escalations: &'a BTreeMap<Severity, String>,
}

/// Says what is wrong with what the procedures name themselves.
pub(super) fn check(check: &mut Check<'_>, procedures: &BTreeMap<String, FoundProcedure>) {
    for (name, found) in procedures {
        let (Some(next), Some(at)) = (&found.procedure.escalate_to, &found.escalate_to) else {
            continue;
        };
        if !procedures.contains_key(next) {
            let title = format!("procedure `{name}` escalates to one that does not exist");
            let known = procedures.keys().map(String::as_str);
            check.dangling(at.clone(), title, next, "procedures", known);
            continue;
        }
        let after = |name: &str| procedures.get(name)?.procedure.escalate_to.as_deref();
        let mut rungs = std::iter::successors(Some(next.as_str()), |name| after(name));
        if rungs.nth(RUNGS).is_some() {
            let title = format!("procedure `{name}` escalates too far, or in a circle");
            let label = format!("expected no more than {RUNGS} procedures after it");
            check.say(Diagnostic::error(title).at(at.clone(), label));
        }
    }
}

impl<'a> Ladder<'a> {
    /// What can be run for an alert of this severity: the procedure, and those that can follow it.
    pub(super) fn of(&self, named: Option<&'a str>, severity: Severity) -> Vec<&'a str> {
        let by_severity = self.severities.get(&severity).map(String::as_str);
        let mut all: Vec<&str> = Vec::new();
        let mut next = named.or(by_severity);
        while let Some(name) = next.filter(|name| !all.contains(name) && all.len() <= RUNGS) {
            all.push(name);
            let own = self.procedures.get(name);
            let own = own.and_then(|it| it.procedure.escalate_to.as_deref());
            next = own.or_else(|| self.escalations.get(&severity).map(String::as_str));
        }
        all
    }
}
