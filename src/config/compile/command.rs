//! What can be run in containers of a target's pods: a program that is named, an end that can be judged, within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Check, place, words};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::target::Command;

/// The most that a command and its arguments may take together: they stand in the address of a request.
const LONGEST: usize = 4096;

/// The commands of a target, by name.
pub(super) fn all(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    raw: raw::Named<raw::Command>,
) -> BTreeMap<String, Command> {
    let mut found: BTreeMap<String, Command> = BTreeMap::new();
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    for (name, raw) in raw.0 {
        let here = place(source, &name);
        check.dns(&here, "command", &name.value);
        if let Some(there) = places.get(&name.value) {
            check.twice("command", &name.value, here, there.clone());
            continue;
        }
        let command = one(check, source, raw);
        places.insert(name.value.clone(), here);
        found.insert(name.value, command);
    }
    found
}

fn one(check: &mut Check<'_>, source: &Arc<Source>, raw: raw::Command) -> Command {
    let mut wrong = |title: String, at: Place, label: &str| {
        check.say(Diagnostic::error(title).at(at, label));
    };
    let container = &raw.container;
    if !words::is_dns_label(&container.value) {
        let title = format!("`{}` is no name of a container", container.value);
        let label = "expected that of the container in the pods of the target";
        wrong(title, place(source, container), label);
    }
    if let Some(selector) = &raw.selector
        && !words::is_labels(&selector.value)
    {
        let title = format!("`{}` selects no pods", selector.value);
        let label = "expected labels and their values, such as `app=redis,role=master`";
        wrong(title, place(source, selector), label);
    }
    let command = &raw.command;
    let length: usize = command.value.iter().map(String::len).sum();
    if command.value.first().is_none_or(String::is_empty) {
        let label = "expected a program and its arguments, such as `[redis-cli, -e, FLUSHDB]`";
        wrong(
            "a command names no program".to_owned(),
            place(source, command),
            label,
        );
    } else if length > LONGEST || command.value.iter().any(|word| word.contains('\0')) {
        let label = "expected words of 4 KiB in all, with no NUL in them";
        wrong(
            "a command cannot be sent".to_owned(),
            place(source, command),
            label,
        );
    }
    if let Some(pattern) = &raw.expect
        && let Err(error) = Command::expectation(&pattern.value)
    {
        let title = format!("`{}` is no regular expression", pattern.value);
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let label = last.strip_prefix("error: ").unwrap_or(last);
        wrong(title, place(source, pattern), label);
    }
    let bounds = Duration::from_millis(100)..=Duration::from_secs(600);
    let timeout = raw
        .timeout
        .and_then(|raw| check.period(source, "timeout", &raw, &bounds));
    Command {
        container: raw.container.value,
        selector: raw.selector.map(|labels| labels.value),
        command: raw.command.value,
        expect: raw.expect.map(|pattern| pattern.value),
        timeout: timeout.unwrap_or(Command::DEFAULT_TIMEOUT),
        repeatable: raw.repeatable,
    }
}
