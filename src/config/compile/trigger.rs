//! Triggers: matchers that Alertmanager reads the same way, names that exist, and no rule that can never be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::ladder::Ladder;
use super::target::within;
use super::{Check, FoundProcedure, FoundTarget, distinct, names, place};
use crate::alert::{Matcher, Matchers, Reading, Severity, matcher};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::nearest::listed;
use crate::config::raw;
use crate::policy::Trigger;
use crate::policy::trigger::{SeverityChoice, TargetChoice};
use crate::procedure::NOTE;
use crate::reason::Reason;
use crate::rollback::object::Mode;

/// A trigger, and where it and what it names stand.
pub(super) struct FoundTrigger {
    pub(super) trigger: Trigger,
    name: Place,
    matchers: Place,
    procedure: Option<Place>,
    /// Whether each of its matchers, its target and its severity could be made out.
    sound: bool,
}

pub(super) fn compile(
    check: &mut Check<'_>,
    triggers: Vec<(Arc<Source>, raw::Trigger)>,
    targets: &BTreeMap<String, FoundTarget>,
    procedures: &BTreeMap<String, FoundProcedure>,
) -> Vec<FoundTrigger> {
    let mut found: Vec<FoundTrigger> = Vec::new();
    for (source, raw) in triggers {
        let here = place(&source, &raw.name);
        let name = raw.name.value.as_str();
        check.dns(&here, "trigger", name);
        if let Some(other) = found.iter().find(|other| other.trigger.name == name) {
            check.twice("trigger", name, here.clone(), other.name.clone());
        }
        if let Some(procedure) = &raw.procedure
            && procedure.value != NOTE
            && !procedures.contains_key(&procedure.value)
        {
            let title = format!("trigger `{name}` names a procedure that does not exist");
            let at = place(&source, procedure);
            check.dangling(at, title, &procedure.value, "procedures", names(procedures));
        }
        let mode = raw.mode.as_ref().map_or(Mode::Shadow, |mode| mode.value);
        let note = raw
            .procedure
            .as_ref()
            .filter(|procedure| procedure.value == NOTE);
        if let (Some(note), Some(mode)) = (note, &raw.mode) {
            let title = format!("trigger `{name}` is a note, and has a mode");
            let label = "expected no `mode`: nothing is done in any";
            let diagnostic = Diagnostic::error(title).at(place(&source, mode), label);
            check.say(diagnostic.with(place(&source, note), "it is a note by this"));
        } else if mode == Mode::Shadow && note.is_none() {
            let title = format!("trigger `{name}` is in shadow mode");
            let label = "it says what it would do, and does nothing until `mode: act`";
            let at = raw
                .mode
                .as_ref()
                .map_or(here.clone(), |mode| place(&source, mode));
            check.say(Diagnostic::warning(title).at(at, label));
        }
        let matchers = matchers(check, &source, &raw);
        let target = target(check, &source, &raw, targets);
        let severity = severity(check, &source, &raw);
        let sound = matchers.is_some() && target.is_some() && severity.is_some();
        found.push(FoundTrigger {
            matchers: place(&source, &raw.matchers),
            procedure: raw
                .procedure
                .as_ref()
                .map(|procedure| place(&source, procedure)),
            trigger: Trigger {
                name: raw.name.value,
                place: here.file_and_line(),
                matchers: matchers.unwrap_or_default(),
                target: target.unwrap_or(TargetChoice::Named(String::new())),
                severity: severity.unwrap_or(SeverityChoice::Fixed(Severity::P3)),
                mode,
                procedure: raw.procedure.map(|procedure| procedure.value),
            },
            name: here,
            sound,
        });
    }
    found
}

/// What can only be seen of all triggers together.
pub(super) fn cross_check(
    check: &mut Check<'_>,
    triggers: &[FoundTrigger],
    targets: &BTreeMap<String, FoundTarget>,
    ladder: &Ladder<'_>,
) {
    for (index, later) in triggers.iter().enumerate().filter(|(_, later)| later.sound) {
        let earlier = triggers[..index].iter().filter(|earlier| earlier.sound);
        let mut covering =
            earlier.filter(|earlier| earlier.trigger.matchers.covers(&later.trigger.matchers));
        if let Some(earlier) = covering.next() {
            let title = format!(
                "trigger `{}` can never be reached: `{}` takes all of its alerts",
                later.trigger.name, earlier.trigger.name
            );
            let label = format!(
                "expected before `{}`, or with other matchers",
                earlier.trigger.name
            );
            let diagnostic = Diagnostic::error(title).at(later.matchers.clone(), label);
            check.say(diagnostic.with(
                earlier.matchers.clone(),
                "the first match wins, and this comes first",
            ));
        }
    }
    inapplicable(check, triggers, targets, ladder);
    if triggers.iter().any(|found| !found.sound) {
        return;
    }
    for found in targets.values() {
        if !triggers
            .iter()
            .any(|one| one.trigger.may_lead_to(&found.target))
        {
            let title = format!("no trigger leads to target `{}`", found.target.name);
            let label = "no alert can start a rollback here";
            check.say(Diagnostic::warning(title).at(found.place.clone(), label));
        }
    }
}

/// A procedure can be run on a target only if its steps fit it together.
fn unfit(
    check: &mut Check<'_>,
    trigger: &Trigger,
    (name, procedure): (&str, &FoundProcedure),
    target: &FoundTarget,
    said: &mut BTreeSet<(String, String, bool)>,
) {
    let Some(finding) = procedure.procedure.unfit(&target.target) else {
        return;
    };
    // Among many targets, those for which the procedure is not meant decline it.
    let meant = matches!(trigger.target, TargetChoice::Named(_));
    if !said.insert((target.target.name.clone(), name.to_owned(), meant)) {
        return;
    }
    let title = finding.said;
    let label = "expected another procedure for this target, or one with `scale: { replicas: 0 }` before `gone`";
    let diagnostic = if meant {
        Diagnostic::error(title)
    } else {
        let said = format!("declined there, as `{}`", Reason::NotApplicable);
        Diagnostic::warning(title).help(format!("`{name}` is {said}"))
    };
    let diagnostic = diagnostic.at(target.place.clone(), label);
    check.say(match &procedure.place {
        Some(place) => diagnostic.with(place.clone(), "the procedure"),
        None => diagnostic,
    });
}

/// A step can be done on a target only if the target declares what it needs.
fn inapplicable(
    check: &mut Check<'_>,
    triggers: &[FoundTrigger],
    targets: &BTreeMap<String, FoundTarget>,
    ladder: &Ladder<'_>,
) {
    let mut said: BTreeSet<(&str, &str, bool)> = BTreeSet::new();
    let mut together: BTreeSet<(String, String, bool)> = BTreeSet::new();
    for found in triggers.iter().filter(|found| found.sound) {
        let trigger = &found.trigger;
        let severities = possible(&trigger.severity).into_iter();
        let run: BTreeSet<&str> = severities
            .flat_map(|severity| ladder.of(trigger.procedure.as_deref(), severity))
            .collect();
        for name in run {
            let Some(procedure) = ladder.procedures.get(name) else {
                continue;
            };
            let led_to = targets
                .values()
                .filter(|one| trigger.may_lead_to(&one.target));
            for target in led_to {
                unfit(check, trigger, (name, procedure), target, &mut together);
                let mut steps = procedure.procedure.steps.iter();
                let lacking = steps.find_map(|step| Some((step, step.lacks(&target.target)?)));
                let Some((step, key)) = lacking else { continue };
                // Among many targets, those for which the procedure is not meant decline it.
                let meant = matches!(trigger.target, TargetChoice::Named(_)) || key == "health";
                if !said.insert((&target.target.name, name, meant)) {
                    continue;
                }
                let title = format!(
                    "target `{}` has no `{key}`, which procedure `{name}` needs",
                    target.target.name
                );
                let label = format!(
                    "expected `{key}` in here, or a procedure without the step `{}`",
                    step.name()
                );
                let diagnostic = if meant {
                    Diagnostic::error(title)
                } else {
                    let said = format!("declined there, as `{}`", Reason::NotApplicable);
                    Diagnostic::warning(title).help(format!("`{name}` is {said}"))
                };
                let mut diagnostic = diagnostic.at(target.place.clone(), label).with(
                    found
                        .procedure
                        .clone()
                        .unwrap_or_else(|| found.name.clone()),
                    format!("trigger `{}` runs `{name}` on it", trigger.name),
                );
                if let Some(place) = &procedure.place {
                    diagnostic = diagnostic.with(place.clone(), "the procedure");
                }
                check.say(diagnostic);
            }
        }
    }
}

/// The severities that a trigger can give.
fn possible(choice: &SeverityChoice) -> BTreeSet<Severity> {
    match choice {
        SeverityChoice::Fixed(severity) => distinct([*severity]),
        SeverityChoice::FromLabel { map, .. } => distinct(map.values().copied()),
    }
}

fn matchers(check: &mut Check<'_>, source: &Arc<Source>, raw: &raw::Trigger) -> Option<Matchers> {
    if raw.matchers.value.is_empty() {
        let title = format!("trigger `{}` matches every alert there is", raw.name.value);
        let label = "expected at least one matcher, such as 'alertname=\"PinnLatencyP95High\"'";
        check.say(Diagnostic::error(title).at(place(source, &raw.matchers), label));
        return None;
    }
    let all: Vec<_> = raw
        .matchers
        .value
        .iter()
        .map(|text| one_matcher(check, source, text))
        .collect();
    all.into_iter().collect()
}

fn one_matcher(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    text: &Spanned<String>,
) -> Option<Matcher> {
    let whole = place(source, text);
    let matcher = match matcher::parse(&text.value) {
        Ok(matcher) => matcher,
        Err(error) => {
            let at = within(&whole, &text.value, error.span.clone()).unwrap_or(whole);
            let title = "a matcher that Alertmanager would not read";
            check.say(Diagnostic::error(title).at(at, error.what));
            return None;
        }
    };
    match matcher.reading() {
        Reading::Agreed | Reading::Utf8 => Some(matcher),
        Reading::Classic => {
            let title = "a matcher that only Alertmanager's older parser reads";
            let label = format!("expected {matcher}, which both read");
            check.say(Diagnostic::warning(title).at(whole, label));
            Some(matcher)
        }
        Reading::Disputed => {
            let title = "a matcher that Alertmanager's two parsers read differently";
            let label = format!("the newer one reads {matcher}");
            let help = "write it so that both read the same: without escapes other than \\\", \\\\ and \\n";
            check.say(Diagnostic::error(title).at(whole, label).help(help));
            None
        }
    }
}

fn target(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    raw: &raw::Trigger,
    targets: &BTreeMap<String, FoundTarget>,
) -> Option<TargetChoice> {
    let name = &raw.name.value;
    match (&raw.target, &raw.target_from) {
        (Some(target), None) => {
            if targets.contains_key(&target.value) {
                return Some(TargetChoice::Named(target.value.clone()));
            }
            let title = format!("trigger `{name}` names a target that does not exist");
            let at = place(source, target);
            check.dangling(at, title, &target.value, "targets", names(targets));
            None
        }
        (None, Some(from)) => {
            for label in [&from.value.namespace, &from.value.workload] {
                check.label(source, label);
            }
            Some(TargetChoice::FromLabels {
                namespace: from.value.namespace.value.clone(),
                workload: from.value.workload.value.clone(),
            })
        }
        (None, None) => {
            let title = format!("trigger `{name}` is about no target");
            let label =
                "expected `target`, or `target_from` with the labels that name the workload";
            check.say(Diagnostic::error(title).at(place(source, &raw.name), label));
            None
        }
        (Some(target), Some(from)) => {
            let title = format!("trigger `{name}` says twice which target it is about");
            let diagnostic =
                Diagnostic::error(title).at(place(source, from), "expected one of the two");
            check.say(diagnostic.with(place(source, target), "it is said here too"));
            None
        }
    }
}

fn severity(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    raw: &raw::Trigger,
) -> Option<SeverityChoice> {
    let name = &raw.name.value;
    match (&raw.severity, &raw.severity_from) {
        (Some(severity), None) => Some(SeverityChoice::Fixed(severity.value)),
        (None, Some(from)) => {
            check.label(source, &from.value.label);
            let map = &from.value.map.0;
            if map.is_empty() {
                let title = format!("trigger `{name}` maps no value to a severity");
                let label = "expected values in `map`, such as `critical: P0`";
                check.say(Diagnostic::error(title).at(place(source, from), label));
                return None;
            }
            let mut seen: BTreeMap<String, (Severity, Place)> = BTreeMap::new();
            for (value, severity) in map {
                let here = place(source, value);
                if let Some((_, there)) = seen.get(&value.value) {
                    check.twice("value", &value.value, here.clone(), there.clone());
                }
                seen.insert(value.value.clone(), (*severity, here));
            }
            let map = seen
                .into_iter()
                .map(|(value, (severity, _))| (value, severity));
            Some(SeverityChoice::FromLabel {
                label: from.value.label.value.clone(),
                map: map.collect(),
            })
        }
        (None, None) => {
            let title = format!("trigger `{name}` has no severity");
            let all = listed(Severity::ALL.iter().map(|severity| severity.as_str()));
            let label = format!("expected `severity` ({all}), or `severity_from` a label");
            check.say(Diagnostic::error(title).at(place(source, &raw.name), label));
            None
        }
        (Some(severity), Some(from)) => {
            let title = format!("trigger `{name}` says twice how severe it is");
            let diagnostic =
                Diagnostic::error(title).at(place(source, from), "expected one of the two");
            check.say(diagnostic.with(place(source, severity), "it is said here too"));
            None
        }
    }
}
