//! Triggers: from an alert's labels to what it asks for.

use std::collections::BTreeMap;

use super::Policy;
use crate::alert::{Alert, Labels, Matcher, Matchers, Severity};
use crate::procedure::{NOTE, Procedure};
use crate::reason::{Finding, Reason};
use crate::rollback::object::Mode;
use crate::target::Target;

/// A rule: matchers on labels, and what a match asks for.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Its name, unique in the policy.
    pub name: String,
    /// Where it stands in the policy, such as `config/rollbacks.yaml:14`.
    pub place: String,
    /// All of these must match.
    pub matchers: Matchers,
    /// Which target it is about.
    pub target: TargetChoice,
    /// How severe it is.
    pub severity: SeverityChoice,
    /// Whether it may act.
    pub mode: Mode,
    /// The procedure, where it is not the severity's own; `note` is none at all.
    pub procedure: Option<String>,
}

/// Which target a trigger is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetChoice {
    /// This one.
    Named(String),
    /// The one whose workload these labels of the alert name.
    FromLabels {
        /// The label that carries the namespace.
        namespace: String,
        /// The label that carries the workload's name.
        workload: String,
    },
}

/// How severe a trigger is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SeverityChoice {
    /// Always this.
    Fixed(Severity),
    /// What the map makes of this label's value.
    FromLabel {
        /// The label.
        label: String,
        /// From its values to severities. A value that is not listed is refused: there is no silent default.
        map: BTreeMap<String, Severity>,
    },
}

/// What one alert asks for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The trigger that matched.
    pub trigger: &'a Trigger,
    /// How severe the alert is.
    pub severity: Severity,
    /// The target.
    pub target: &'a Target,
    /// The procedure; none for what is only a note.
    pub procedure: Option<&'a Procedure>,
}

/// A trigger that did not match, and the first of its matchers that failed.
#[derive(Clone, Debug)]
pub struct Miss<'a> {
    /// The trigger.
    pub trigger: &'a Trigger,
    /// The matcher that failed.
    pub matcher: &'a Matcher,
}

// === impl Trigger ===

impl Trigger {
    /// Whether a match of this trigger can be about a target.
    #[must_use]
    pub fn may_lead_to(&self, target: &Target) -> bool {
        match &self.target {
            TargetChoice::Named(name) => *name == target.name,
            TargetChoice::FromLabels { .. } => true,
        }
    }

    /// Whether its alerts are only answered and counted, however severe they are.
    #[must_use]
    pub fn is_note(&self) -> bool {
        self.procedure.as_deref() == Some(NOTE)
    }
}

// === impl Ask ===

impl Ask<'_> {
    /// By what it is only a note, where it has no procedure.
    #[must_use]
    pub fn noted_by(&self) -> String {
        if self.trigger.is_note() {
            format!("trigger {}", self.trigger.name)
        } else {
            self.severity.to_string()
        }
    }
}

// === impl SeverityChoice ===

impl SeverityChoice {
    fn of(&self, labels: &Labels) -> Result<Severity, Finding> {
        match self {
            Self::Fixed(severity) => Ok(*severity),
            Self::FromLabel { label, map } => {
                let value = labels.get(label).unwrap_or_default();
                map.get(value).copied().ok_or_else(|| {
                    Reason::SeverityUnknown.because(format!(
                        "label {label}=\"{value}\" is mapped to no severity"
                    ))
                })
            }
        }
    }
}

// === impl Policy ===

impl Policy {
    /// The triggers before the first match, each with the matcher that failed, and the match if there is one.
    #[must_use]
    pub fn matching(&self, labels: &Labels) -> (Vec<Miss<'_>>, Option<&Trigger>) {
        let mut misses = Vec::new();
        for trigger in &self.triggers {
            match trigger.matchers.first_failing(labels) {
                Some(matcher) => misses.push(Miss { trigger, matcher }),
                None => return (misses, Some(trigger)),
            }
        }
        (misses, None)
    }

    /// What an alert asks for.
    ///
    /// # Errors
    /// Why it asks for nothing.
    pub fn ask(&self, alert: &Alert) -> Result<Ask<'_>, Finding> {
        let (_, trigger) = self.matching(&alert.labels);
        let trigger = trigger.ok_or(Reason::NoTrigger)?;
        self.ask_of(trigger, &alert.labels)
    }

    /// What a trigger makes of an alert that it matched.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn ask_of<'a>(&'a self, trigger: &'a Trigger, labels: &Labels) -> Result<Ask<'a>, Finding> {
        self.of_this_cluster(labels)?;
        let severity = trigger.severity.of(labels)?;
        let target = self.target_of(trigger, labels)?;
        Ok(Ask {
            trigger,
            severity,
            target,
            procedure: self.procedure_of(trigger, severity),
        })
    }

    /// What a trigger runs at this severity; none where that is only a note.
    fn procedure_of(&self, trigger: &Trigger, severity: Severity) -> Option<&Procedure> {
        let named = trigger.procedure.as_ref();
        let name = named.or_else(|| self.severities.get(&severity))?;
        self.procedures.get(name)
    }

    /// How severe an alert is that this trigger matched and that leads nowhere; none where it would only be a note. One
    /// whose severity nobody can tell counts as severe.
    #[must_use]
    pub fn severity_unplaced(&self, trigger: &Trigger, labels: &Labels) -> Option<Severity> {
        let severity = trigger.severity.of(labels).unwrap_or(Severity::P1);
        self.procedure_of(trigger, severity).map(|_| severity)
    }

    fn target_of(&self, trigger: &Trigger, labels: &Labels) -> Result<&Target, Finding> {
        match &trigger.target {
            TargetChoice::Named(name) => self.targets.get(name).ok_or_else(|| {
                Reason::TargetUnknown.because(format!("the policy has no target {name}"))
            }),
            TargetChoice::FromLabels {
                namespace,
                workload,
            } => {
                let namespace = labels.get(namespace).unwrap_or_default();
                let workload = labels.get(workload).unwrap_or_default();
                let mut targets = self.targets.values();
                targets
                    .find(|target| {
                        target.workload.namespace == namespace && target.workload.goes_by(workload)
                    })
                    .ok_or_else(|| {
                        let said = format!(
                            "no target's workload is \"{workload}\" in namespace \"{namespace}\""
                        );
                        Reason::TargetUnknown.because(said)
                    })
            }
        }
    }
}
