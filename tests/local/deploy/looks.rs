//! The looks after a rollback that are shipped: what the checklist asks for, in queries that promtool tests.

use std::collections::BTreeSet;

use ripcord::config::load_policy;
use ripcord::target::Measure;
use ripcord::target::measure::QueryFacts;
use serde_json::Value;

use super::{deploy, text};
use crate::support::shipped;

/// The release that the tests of promtool are about.
const HASH: &str = "good";

fn looks(policy: &str) -> Vec<(Measure, QueryFacts)> {
    let policy = load_policy(&deploy().join(policy)).unwrap().policy;
    let targets = policy.targets.into_values();
    let of_one = targets.flat_map(|target| {
        let facts = QueryFacts {
            namespace: target.workload.namespace.clone(),
            workload: target.workload.name.clone(),
            hash: HASH.to_owned(),
        };
        let after = target.after.into_iter();
        after.map(move |measure| (measure, facts.clone()))
    });
    of_one.collect()
}

#[test]
fn they_are_what_the_checklist_asks_for() {
    let shipped = looks("config/rollbacks.yaml");
    assert_eq!(shipped, looks("../config/rollbacks.yaml"));
    let said: Vec<_> = shipped
        .iter()
        .map(|(it, _)| {
            let unit = it.unit.as_deref().unwrap();
            format!("{} {} {unit}", it.name, it.good)
        })
        .collect();
    assert_eq!(
        said,
        [
            "P95 below 260 ms",
            "errors below 5 %",
            "cache hits above 80 %",
            "memory below 1.8 GB",
            "pods ready above 99.9 %"
        ]
    );
}

/// promtool (`bash tests/run`) says what each query gives; here, that it is the shipped one.
#[test]
fn each_is_tested_with_the_shipped_rules() {
    let tests: Value = serde_saphyr::from_str(&text("prometheus/tests/after.yml")).unwrap();
    assert_eq!(tests["rule_files"], serde_json::json!(["../rules.yml"]));
    let in_one = |query: &str| query.split_whitespace().collect::<Vec<_>>().join(" ");
    let filled: BTreeSet<_> = looks("config/rollbacks.yaml")
        .iter()
        .map(|(measure, facts)| in_one(&measure.filled(facts).unwrap()))
        .collect();
    let cases = tests["tests"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let asked = case["promql_expr_test"].as_array().unwrap().iter();
        let asked: BTreeSet<_> = asked
            .map(|it| in_one(it["expr"].as_str().unwrap()))
            .collect();
        assert_eq!(asked, filled, "{}", case["name"]);
    }
}

#[test]
fn without_looks_the_policy_is_otherwise_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollbacks.yaml");
    let text = shipped::without_looks();
    assert!(!text.contains(shipped::looks()));
    std::fs::write(&path, text).unwrap();
    let bare = load_policy(&path).unwrap().policy;
    let mut whole = load_policy(&deploy().with_file_name("config/rollbacks.yaml"))
        .unwrap()
        .policy;
    for target in whole.targets.values_mut() {
        assert!(!target.after.is_empty());
        target.after.clear();
    }
    assert_eq!(
        format!("{:?}", bare.targets),
        format!("{:?}", whole.targets)
    );
    assert_eq!(bare.triggers.len(), whole.triggers.len());
    assert_eq!(bare.procedures, whole.procedures);
}
