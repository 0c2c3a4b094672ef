//! Numbers that Prometheus is asked for: a name, a query that can be made, and one bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::{Check, place, target};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::target::Measure;
use crate::target::measure::{Bound, QueryFacts};

/// The longest name and the longest unit: they stand in messages.
const LONGEST: usize = 40;

/// The numbers of a target.
pub(super) fn all(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    raw: Vec<raw::Measure>,
) -> Vec<Measure> {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let measures = raw.into_iter().filter_map(|raw| {
        let here = place(source, &raw.name);
        if let Some(there) = seen.get(&raw.name.value) {
            check.twice("check", &raw.name.value, here.clone(), there.clone());
        }
        seen.insert(raw.name.value.clone(), here.clone());
        name(check, &here, &raw.name.value);
        if let Some(written) = &raw.unit {
            unit(check, &place(source, written), Some(&written.value));
        }
        query_at(check, source, &raw.query);
        let limit = |limit: &Option<Spanned<f64>>| limit.as_ref().map(|limit| limit.value);
        let (below, above) = (limit(&raw.good_below), limit(&raw.good_above));
        Some(Measure {
            good: bound(check, &here, &raw.name.value, below, above)?,
            name: raw.name.value,
            query: raw.query.value,
            unit: raw.unit.map(|unit| unit.value),
        })
    });
    measures.collect()
}

/// A name that fits into a message.
pub(super) fn name(check: &mut Check<'_>, at: &Place, name: &str) {
    if !fits(name) {
        let title = "a number has no name that people could read";
        let label = format!("expected 1 to {LONGEST} characters on one line");
        check.say(Diagnostic::error(title).at(at.clone(), label));
    }
}

/// A unit that fits into a message.
pub(super) fn unit(check: &mut Check<'_>, at: &Place, unit: Option<&str>) {
    if unit.is_some_and(|unit| !fits(unit)) {
        let title = "a unit does not fit into a message";
        let label = format!("expected 1 to {LONGEST} characters on one line");
        check.say(Diagnostic::error(title).at(at.clone(), label));
    }
}

/// A query whose own place is not known better than by its key.
pub(super) fn query(check: &mut Check<'_>, at: &Place, query: &str) {
    if let Err(error) = Measure::check(query) {
        check.say(refused(at.clone(), error.what));
    }
}

/// Exactly one bound.
pub(super) fn bound(
    check: &mut Check<'_>,
    at: &Place,
    name: &str,
    below: Option<f64>,
    above: Option<f64>,
) -> Option<Bound> {
    let bound = Bound::of(below, above);
    let finite = |limit: Option<f64>| limit.is_none_or(f64::is_finite);
    if bound.is_none() || !finite(below) || !finite(above) {
        let title = format!("it is not said when `{name}` is good");
        let label = "expected `good_below` or `good_above`, one of them, with a number";
        check.say(Diagnostic::error(title).at(at.clone(), label));
    }
    bound
}

fn query_at(check: &mut Check<'_>, source: &Arc<Source>, written: &Spanned<String>) {
    let Err(error) = Measure::check(&written.value) else {
        return;
    };
    let whole = place(source, written);
    let span = error.span.clone();
    let at = span.and_then(|span| target::within(&whole, &written.value, span));
    check.say(refused(at.unwrap_or(whole), error.what));
}

fn refused(at: Place, what: String) -> Diagnostic {
    let known = QueryFacts::VARIABLES.join(", ");
    Diagnostic::error("a query cannot be made")
        .at(at, what)
        .help(format!(
            "a query can use {known}; `hash` is the destination's"
        ))
}

fn fits(text: &str) -> bool {
    let length = text.chars().count();
    (1..=LONGEST).contains(&length) && !text.chars().any(char::is_control) && text.trim() == text
}
