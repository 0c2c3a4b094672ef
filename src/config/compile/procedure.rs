//! Procedures: steps that make sense together, within bounds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, FoundProcedure, measure, order, place};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::procedure::{BUILT_IN, NOTE, Procedure, StepSpec, healthy::Healthy, metric::Metric};

/// What recovery should take where the policy does not say.
const BUDGET: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);
/// More good answers in a row than this prove nothing more.
const MOST_ANSWERS: u32 = 1000;
/// More requests at once than this are a flood.
const MOST_AT_ONCE: u32 = 100;
/// More pods than this are not left over.
const MOST_PODS: i32 = 10_000;

pub(super) fn compile(
    check: &mut Check<'_>,
    procedures: Vec<(Place, String, raw::Procedure)>,
) -> BTreeMap<String, FoundProcedure> {
    let built_in = FoundProcedure {
        place: None,
        escalate_to: None,
        procedure: Procedure::built_in(),
    };
    let mut found = BTreeMap::from([(BUILT_IN.to_owned(), built_in)]);
    for (here, name, raw) in procedures {
        if name == BUILT_IN {
            let title = format!("procedure `{BUILT_IN}` is built in");
            let label = "expected another name";
            check.say(Diagnostic::error(title).at(here, label));
            continue;
        }
        if name == NOTE {
            let title = format!("procedure `{NOTE}` stands for doing nothing");
            let label = "expected another name";
            check.say(Diagnostic::error(title).at(here, label));
            continue;
        }
        let escalate_to = raw
            .escalate_to
            .as_ref()
            .map(|next| place(&here.source, next));
        let procedure = one(check, &here, name.clone(), raw);
        let it = FoundProcedure {
            place: Some(here),
            escalate_to,
            procedure,
        };
        found.insert(name, it);
    }
    found
}

fn one(check: &mut Check<'_>, here: &Place, name: String, raw: raw::Procedure) -> Procedure {
    let source = &here.source;
    let bounds = Duration::from_secs(1)..=HOUR;
    let budget = raw
        .budget
        .and_then(|raw| check.period(source, "budget", &raw, &bounds));
    if raw.steps.value.is_empty() {
        let title = format!("procedure `{name}` has no steps");
        let label = format!(
            "expected `revert` first, and what else is wanted: {}",
            StepSpec::NAMES.join(", ")
        );
        check.say(Diagnostic::error(title).at(place(source, &raw.steps), label));
    }
    let steps = raw.steps.value.into_iter();
    let steps: Vec<_> = steps
        .map(|step| (place(source, &step), step.value))
        .collect();
    order::check(check, &name, &steps);
    for (at, step) in &steps {
        options(check, source, at, step);
    }
    let mut procedure = Procedure {
        name,
        budget: budget.unwrap_or(BUDGET),
        approval: raw.approval == Some(raw::Approval::Required),
        escalate_to: raw.escalate_to.map(|next| next.value),
        steps: steps.into_iter().map(|(_, step)| step).collect(),
    };
    // What makes a release that nobody has ever run is a person's to decide, unless the policy says that it is not.
    procedure.approval |= raw.approval.is_none() && procedure.brings_up();
    procedure
}

/// Whether the options of a step make sense.
fn options(check: &mut Check<'_>, source: &Arc<Source>, at: &Place, step: &StepSpec) {
    let second = Duration::from_secs(1);
    match step {
        StepSpec::RestoreImage(_) | StepSpec::Revert(_) => {}
        StepSpec::Healthy(healthy) => proof(check, source, at, healthy),
        StepSpec::SwitchService(switch) => {
            time(check, source, at, "within", switch.within, second);
        }
        StepSpec::Scale(scale) => {
            time(check, source, at, "within", scale.within, second);
            if !(0..=MOST_PODS).contains(&scale.replicas) {
                let title = "`replicas` is no number of pods";
                let label = format!("expected 0 to {MOST_PODS}");
                let at = option(source, at, "replicas");
                check.say(Diagnostic::error(title).at(at, label));
            }
        }
        StepSpec::Gone(gone) => time(check, source, at, "within", gone.within, second),
        StepSpec::FlushRedis(flush) => time(check, source, at, "within", flush.within, second),
        StepSpec::Restart(restart) => time(check, source, at, "within", restart.within, second),
        StepSpec::WaitReady(ready) => time(check, source, at, "within", ready.within, second),
        StepSpec::Exec(exec) => time(check, source, at, "within", exec.within, second),
        StepSpec::Pause(pause) => time(check, source, at, "for", pause.time, second),
        StepSpec::Metric(metric) => measured(check, source, at, metric),
        StepSpec::Http(http) => {
            time(check, source, at, "within", http.within, second);
            if !(1..=MOST_AT_ONCE).contains(&http.concurrency) {
                let title = "`concurrency` asks no pod, or too many at once";
                let label = format!("expected 1 to {MOST_AT_ONCE}");
                let at = option(source, at, "concurrency");
                check.say(Diagnostic::error(title).at(at, label));
            }
        }
    }
}

/// Whether an option that is a time is at least this, and at most an hour.
fn time(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    step: &Place,
    key: &str,
    time: Duration,
    least: Duration,
) {
    if !(least..=HOUR).contains(&time) {
        let title = format!("`{key}` leaves no sensible time");
        let least = humantime::format_duration(least);
        let label = format!("expected between {least} and 1h");
        let at = option(source, step, key);
        check.say(Diagnostic::error(title).at(at, label));
    }
}

fn proof(check: &mut Check<'_>, source: &Arc<Source>, step: &Place, healthy: &Healthy) {
    samples(
        check,
        source,
        step,
        (healthy.consecutive, healthy.every, healthy.within),
        Duration::from_millis(100)..=Duration::from_secs(60),
    );
}

/// So many good answers in a row, with this pause between them, within this time.
fn samples(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    step: &Place,
    (consecutive, every, within): (u32, Duration, Duration),
    pauses: RangeInclusive<Duration>,
) {
    let mut wrong = |title: &str, key: &str, label: String| {
        let at = option(source, step, key);
        check.say(Diagnostic::error(title).at(at, label));
    };
    if !(1..=MOST_ANSWERS).contains(&consecutive) {
        let title = "`consecutive` proves nothing or never ends";
        wrong(
            title,
            "consecutive",
            format!("expected 1 to {MOST_ANSWERS} good answers in a row"),
        );
    }
    if !pauses.contains(&every) {
        let longest = humantime::format_duration(*pauses.end());
        let label = format!("expected between 100ms and {longest}");
        wrong("`every` is no sensible pause", "every", label);
    }
    let least = every.saturating_mul(consecutive.saturating_sub(1));
    if within <= least || within > HOUR {
        let least = humantime::format_duration(least);
        let label =
            format!("expected more than {least}, which {consecutive} answers take, and at most 1h");
        wrong("`within` leaves no sensible time", "within", label);
    }
}

fn measured(check: &mut Check<'_>, source: &Arc<Source>, step: &Place, metric: &Metric) {
    let at = |key: &str| option(source, step, key);
    measure::name(check, &at("name"), &metric.name);
    measure::unit(check, &at("unit"), metric.unit.as_deref());
    measure::query(check, &at("query"), &metric.query);
    let bounds = (metric.good_below, metric.good_above);
    measure::bound(check, step, &metric.name, bounds.0, bounds.1);
    samples(
        check,
        source,
        step,
        (metric.consecutive, metric.every, metric.within),
        Duration::from_millis(100)..=Duration::from_secs(600),
    );
}

/// Where an option of a step stands: the first time that its key is written from the step on, or else the step itself.
fn option(source: &Arc<Source>, step: &Place, key: &str) -> Place {
    let rest = source.text.get(step.span.start..).unwrap_or_default();
    let until = rest.find("\n\n").unwrap_or(rest.len());
    match rest[..until].find(&format!("{key}:")) {
        Some(at) => Place {
            source: Arc::clone(source),
            span: step.span.start + at..step.span.start + at + key.len(),
        },
        None => step.clone(),
    }
}
