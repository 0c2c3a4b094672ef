//! The shipped rules and the shipped policy are about the same alerts, of the same severity, and read what there is.

use std::collections::{BTreeMap, BTreeSet};

use ripcord::alert::{Labels, Severity};
use ripcord::config::load_policy;
use ripcord::policy::Policy;
use ripcord::policy::trigger::{SeverityChoice, Trigger};
use ripcord::telemetry::Metrics;
use serde_json::Value;

use super::{deploy, text};

/// What every alert carries that a rule for a release raises.
const NAMESPACE: &str = "options-production";
const ROLLOUT: &str = "options-api-pinn-fixes";
/// The trigger that takes what no other is about.
const REST: &str = "other";

/// The rules in a file, alerts and records.
fn rules(file: &str) -> Vec<Value> {
    let read: Value = serde_saphyr::from_str(&text(&format!("prometheus/{file}"))).unwrap();
    let groups = read["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// Those that raise alerts, by the alert's name.
pub(crate) fn alerts(file: &str) -> BTreeMap<String, Value> {
    let all = rules(file);
    let named = all
        .iter()
        .filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())));
    let alerts: BTreeMap<_, _> = named.collect();
    let count = all.iter().filter(|rule| rule["alert"].is_string()).count();
    assert_eq!(alerts.len(), count, "{file}: two alerts of one name");
    alerts
}

/// The labels of an alert that this rule raises.
fn labels(name: &str, rule: &Value) -> Labels {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in [
        ("alertname", name),
        ("namespace", NAMESPACE),
        ("rollout", ROLLOUT),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in rule["labels"].as_object().unwrap() {
        labels.insert(name.clone(), value.as_str().unwrap().to_owned());
    }
    labels.into_iter().collect()
}

/// Both shipped policies.
fn policies() -> [Policy; 2] {
    [
        deploy().join("config/rollbacks.yaml"),
        deploy().with_file_name("config/rollbacks.yaml"),
    ]
    .map(|path| load_policy(&path).unwrap().policy)
}

/// The names of alerts that a trigger's matchers list.
pub(crate) fn named(trigger: &Trigger) -> Vec<&str> {
    let about = trigger.matchers.iter().find(|it| it.name() == "alertname");
    about.unwrap().value().split('|').collect()
}

#[test]
fn every_alert_has_its_trigger_and_every_trigger_its_alert() {
    let alerts = alerts("rules.yml");
    for policy in policies() {
        let mut missing: BTreeSet<&str> = alerts.keys().map(String::as_str).collect();
        for trigger in policy.triggers.iter().filter(|it| it.name != REST) {
            for name in named(trigger) {
                assert!(missing.remove(name), "{}: no rule {name}", trigger.name);
            }
        }
        assert!(missing.is_empty(), "no trigger is about {missing:?}");
        for (name, rule) in &alerts {
            let labels = labels(name, rule);
            let trigger = policy.matching(&labels).1.unwrap();
            assert!(named(trigger).contains(&name.as_str()), "{name}");
            let SeverityChoice::Fixed(severity) = trigger.severity else {
                panic!("{name} has no severity of its own");
            };
            assert_eq!(labels.get("severity"), Some(severity.as_str()), "{name}");
        }
    }
}

#[test]
fn an_alert_about_a_release_carries_its_condition_and_the_triggers_name() {
    for policy in policies() {
        for trigger in policy.triggers.iter().filter(|it| !it.is_note()) {
            if trigger.name == REST {
                continue;
            }
            let rule = &alerts("rules.yml")[named(trigger)[0]];
            let expression = rule["expr"].as_str().unwrap();
            let condition = format!("release:bad{{condition=\"{}\"}}", trigger.name);
            assert!(expression.contains(&condition), "{condition}");
            let both =
                "unless on (namespace, rollout, condition) (workload:bad_releases:count > 1)";
            assert!(expression.contains(both), "{}", trigger.name);
        }
    }
}

#[test]
fn both_policies_decide_alike_but_for_the_mode() {
    let [deployed, shown] = policies();
    let decided = |policy: &Policy| -> Vec<_> {
        let all = policy.triggers.iter();
        all.map(|it| {
            let matchers = it.matchers.to_string();
            (
                it.name.clone(),
                matchers,
                it.severity.clone(),
                it.procedure.clone(),
            )
        })
        .collect()
    };
    assert_eq!(decided(&deployed), decided(&shown));
    assert_eq!(deployed.severities, shown.severities);
    assert_eq!(deployed.escalations, shown.escalations);
    assert_eq!(deployed.procedures, shown.procedures);
}

#[test]
fn every_rule_says_how_severe_it_is_and_sums_it_up() {
    for file in ["rules.yml", "ripcord.yml"] {
        for (name, rule) in alerts(file) {
            let severity = rule["labels"]["severity"].as_str().unwrap();
            let known = Severity::ALL.iter().any(|it| it.as_str() == severity);
            assert!(known || name == "Watchdog", "{name}: {severity}");
            assert!(rule["annotations"]["summary"].is_string(), "{name}");
        }
    }
}

#[test]
fn what_is_wrong_with_ripcord_goes_past_it() {
    for name in alerts("ripcord.yml").keys() {
        assert!(name.starts_with("Ripcord") || name == "Watchdog", "{name}");
        for policy in policies() {
            let labels: Labels = [("alertname", name.as_str())].into_iter().collect();
            assert!(policy.matching(&labels).1.is_none(), "{name}");
        }
    }
}

/// A rule about a series that does not exist never fires, and nobody notices.
#[test]
fn the_rules_about_ripcord_read_metrics_that_it_has() {
    let table = Metrics::new("0").table();
    let mut read = 0;
    for (name, rule) in alerts("ripcord.yml") {
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.filter(|word| word.starts_with("ripcord_")) {
            assert!(table.contains(&format!("| `{word}` |")), "{name}: {word}");
            read += 1;
        }
    }
    assert!(read >= 10, "{read}");
}
