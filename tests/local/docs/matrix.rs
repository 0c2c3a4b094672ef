//! The matrix in the documents is what the shipped policy and the shipped rules say, and so are the operator's rules.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ripcord::alert::Severity;
use ripcord::config::load_policy;
use ripcord::policy::Policy;
use ripcord::policy::trigger::{SeverityChoice, Trigger};
use ripcord::rollback::object::Mode;

use super::{is_current, part_is_current};
use crate::deploy::rules::{alerts, named};

fn period(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The name of a procedure, and whether a person is asked first.
fn called(policy: &Policy, name: &str) -> String {
    let asks = policy.procedures.get(name).is_some_and(|it| it.approval);
    format!("`{name}`{}", if asks { ", asks" } else { "" })
}

/// The name of a procedure, its budget, and what follows it at this severity.
fn runs(policy: &Policy, name: Option<&String>, severity: Severity) -> [String; 3] {
    match name.and_then(|name| policy.procedures.get(name)) {
        Some(procedure) => [
            called(policy, &procedure.name),
            period(procedure.budget),
            policy
                .next_rung(procedure, severity)
                .map(|next| called(policy, next))
                .unwrap_or_default(),
        ],
        None => ["none: a note".to_owned(), String::new(), String::new()],
    }
}

/// How long a trigger's alerts must hold before they fire.
fn lasting(trigger: &Trigger) -> String {
    let rules = alerts("rules.yml");
    let times = named(trigger).into_iter().filter_map(|name| {
        let rule = rules.get(name)?;
        Some(rule["for"].as_str().unwrap_or("0s").to_owned())
    });
    times.collect::<Vec<_>>().join(", ")
}

fn row(policy: &Policy, trigger: &Trigger) -> String {
    let about: Vec<_> = named(trigger)
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let (severity, by_severity) = match &trigger.severity {
        SeverityChoice::Fixed(severity) => (severity.to_string(), policy.severities.get(severity)),
        SeverityChoice::FromLabel { label, .. } => (format!("by `{label}`"), None),
    };
    let [procedure, budget, then] = match (&trigger.procedure, &trigger.severity) {
        (own, SeverityChoice::Fixed(severity)) => {
            runs(policy, own.as_ref().or(by_severity), *severity)
        }
        (_, SeverityChoice::FromLabel { .. }) => ["the severity's"; 3].map(str::to_owned),
    };
    let decides = if trigger.procedure.is_some() {
        "condition"
    } else {
        "severity"
    };
    let mode = match trigger.mode {
        _ if trigger.is_note() => "",
        Mode::Act => "act",
        Mode::Ask => "ask",
        Mode::Shadow => "shadow",
    };
    format!(
        "| `{}` | {} | {} | {severity} | {decides} | {procedure} | {budget} | {then} | {mode} |",
        trigger.name,
        about.join(", "),
        lasting(trigger),
    )
}

#[test]
fn docs_of_the_matrix() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policy = load_policy(&root.join("config/rollbacks.yaml"));
    let policy = policy.unwrap().policy;
    let mut table =
        "\n| condition | alert | `for` | severity | decided by | procedure | budget | where its revert fails | mode |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for trigger in &policy.triggers {
        writeln!(table, "{}", row(&policy, trigger)).unwrap();
    }
    table +=
        "\n| severity | procedure | budget | where its revert fails |\n| --- | --- | --- | --- |\n";
    for severity in Severity::ALL {
        let [procedure, budget, then] = runs(&policy, policy.severities.get(&severity), severity);
        writeln!(table, "| {severity} | {procedure} | {budget} | {then} |").unwrap();
    }
    table.push('\n');
    part_is_current("docs/matrix.md", &table);
}

/// The operator's objects hold the plain files, comments and all.
#[test]
fn docs_and_the_operators_rules_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let object = |name: &str, namespace: &str, file: &str| {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let (_, groups) = text.split_once("\ngroups:\n").unwrap();
        let mut object = format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  groups:\n"
        );
        for line in groups.lines() {
            let indent = if line.is_empty() { "" } else { "  " };
            writeln!(object, "{indent}{line}").unwrap();
        }
        object
    };
    let expected = format!(
        "# The rules of ../rules.yml and ../ripcord.yml for the Prometheus operator, written from them by `UPDATE_DOCS=1 cargo test docs`:\n# change those. Its Prometheus must select these namespaces (`ruleNamespaceSelector`) and labels (`ruleSelector`).\n{}---\n{}",
        object("options-api", "options-production", "rules.yml"),
        object("ripcord", "ripcord", "ripcord.yml"),
    );
    is_current("deploy/prometheus/operator/rules.yaml", &expected);
}
