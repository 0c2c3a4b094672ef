//! What an alert leads to, decided purely: which trigger matches, what it asks for, and which guard says no.
//!
//! The service, `ripcord explain` and the tests run the same code. Facts come in, a decision with a reason comes out.

pub mod admission;
pub mod approval;
pub mod decision;
pub mod drill;
pub mod guard;
pub mod ladder;
pub mod ours;
pub mod trigger;

use std::collections::{BTreeMap, BTreeSet};

pub use decision::Decision;
pub use guard::Facts;
pub use trigger::{Ask, Trigger};

use crate::alert::Severity;
use crate::procedure::Procedure;
use crate::target::{Kind, Target};

/// The compiled policy: every name resolved, every matcher parsed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A digest of its text, so that people can tell which policy a replica runs.
    pub digest: String,
    /// Which cluster this is, for alerts that say where they come from.
    pub cluster: Option<Cluster>,
    /// Namespaces in which nothing is ever done.
    pub protected: BTreeSet<String>,
    /// The alert label that names a pod-template hash.
    pub hash_label: String,
    /// The targets by name.
    pub targets: BTreeMap<String, Target>,
    /// The triggers; the first that matches wins.
    pub triggers: Vec<Trigger>,
    /// What each severity does unless a trigger says otherwise; a severity without a procedure is a note.
    pub severities: BTreeMap<Severity, String>,
    /// The severities whose procedure needs a person's approval.
    pub asks: BTreeSet<Severity>,
    /// The procedure that is tried where the revert of a procedure fails that names none itself, by severity.
    pub escalations: BTreeMap<Severity, String>,
    /// The procedures by name, the built-in one among them.
    pub procedures: BTreeMap<String, Procedure>,
}

/// The name of this cluster and the alert label that carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    /// The label.
    pub label: String,
    /// Our name.
    pub name: String,
}

impl Policy {
    /// The namespaces in which targets live, with the kinds of object that tell of their workloads: behind a Service, Deployments
    /// too.
    #[must_use]
    pub fn namespaces(&self) -> BTreeMap<String, BTreeSet<Kind>> {
        let mut all: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
        for workload in self.targets.values().map(|target| &target.workload) {
            let kinds = all.entry(workload.namespace.clone()).or_default();
            kinds.insert(workload.kind);
            if workload.kind == Kind::Service {
                kinds.insert(Kind::Deployment);
            }
        }
        all
    }

    /// The target's commands that some procedure runs in its pods: they take a right of their own.
    #[must_use]
    pub fn commands_of<'a>(&'a self, target: &'a Target) -> BTreeSet<&'a str> {
        let named = self.procedures.values().flat_map(Procedure::commands);
        named
            .filter(|name| target.commands.contains_key(*name))
            .collect()
    }

    /// How many triggers may act, be it after an approval.
    #[must_use]
    pub fn acting(&self) -> usize {
        let all = self.triggers.iter();
        all.filter(|trigger| trigger.mode.acts()).count()
    }

    /// The procedure that is tried where the revert of this one fails: its own word counts before the severity's. Nothing is
    /// tried a second time.
    #[must_use]
    pub fn next_rung<'a>(
        &'a self,
        procedure: &'a Procedure,
        severity: Severity,
    ) -> Option<&'a str> {
        let by_severity = self.escalations.get(&severity);
        let next = procedure.escalate_to.as_ref().or(by_severity);
        next.map(String::as_str).filter(|it| *it != procedure.name)
    }

    /// Puts every trigger in shadow mode, whatever was written.
    pub fn watch_only(&mut self) {
        for trigger in &mut self.triggers {
            trigger.mode = crate::rollback::object::Mode::Shadow;
        }
    }

    /// The mode of the triggers that lead to a target, for people: `act`, `ask`, `shadow`, `mixed` or `none`.
    #[must_use]
    pub fn mode_of(&self, target: &Target) -> &'static str {
        let mut modes = self
            .triggers
            .iter()
            .filter(|t| t.may_lead_to(target) && !t.is_note())
            .map(|t| t.mode);
        let Some(first) = modes.next() else {
            return "none";
        };
        if modes.any(|mode| mode != first) {
            return "mixed";
        }
        first.name()
    }
}
