//! Makes a replica set's pod template fit to be written back to its workload.
//!
//! A replica set's template is the workload's plus what the controller put in: its hash label, ephemeral metadata and,
//! with anti-affinity, a term on the hash. Written back with those it would be a *new* template, and the controller
//! would walk every canary step with it.

use serde_json::Value;

use super::workload::HASH_LABEL;

/// The annotation in which the controller records the metadata that it injected.
const EPHEMERAL_ANNOTATION: &str = "rollout.argoproj.io/ephemeral-metadata";
const AFFINITY_LISTS: [&str; 2] = [
    "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution",
    "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution",
];

/// The template of a replica set without what the controller injected.
#[must_use]
pub fn clean(replica_set: &Value) -> Value {
    let mut template = replica_set
        .pointer("/spec/template")
        .cloned()
        .unwrap_or(Value::Null);
    remove_key(&mut template, "labels", HASH_LABEL);
    let ephemeral: Value = replica_set
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(EPHEMERAL_ANNOTATION))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null);
    for kind in ["labels", "annotations"] {
        for key in ephemeral
            .get(kind)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys())
        {
            remove_key(&mut template, kind, key);
        }
    }
    remove_anti_affinity(&mut template);
    template
}

/// The images of the containers of a pod template.
#[must_use]
pub fn images(template: &Value) -> Vec<String> {
    let containers = template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    let images = containers
        .into_iter()
        .flatten()
        .filter_map(|c| c["image"].as_str());
    images.map(str::to_owned).collect()
}

fn remove_key(template: &mut Value, kind: &str, key: &str) {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(map) = metadata.get_mut(kind).and_then(Value::as_object_mut) else {
        return;
    };
    if map.remove(key).is_some() && map.is_empty() {
        metadata.remove(kind);
    }
}

fn remove_anti_affinity(template: &mut Value) {
    let mut removed = false;
    for list in AFFINITY_LISTS {
        if let Some(terms) = template.pointer_mut(list).and_then(Value::as_array_mut) {
            let before = terms.len();
            terms.retain(|term| !selects_hash(term));
            removed |= terms.len() < before;
        }
    }
    if removed {
        drop_empty(template, &["spec", "affinity", "podAntiAffinity"]);
    }
}

fn selects_hash(term: &Value) -> bool {
    let inner = term.get("podAffinityTerm").unwrap_or(term);
    let expressions = inner
        .pointer("/labelSelector/matchExpressions")
        .and_then(Value::as_array);
    expressions
        .into_iter()
        .flatten()
        .any(|expression| expression["key"] == HASH_LABEL)
}

/// Removes what the injection alone had made: empty lists, then the objects that hold nothing else.
fn drop_empty(value: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else {
        if let Some(map) = value.as_object_mut() {
            map.retain(|_, v| !v.as_array().is_some_and(Vec::is_empty));
        }
        return;
    };
    let Some(map) = value.as_object_mut() else {
        return;
    };
    if let Some(child) = map.get_mut(*first) {
        drop_empty(child, rest);
        if *first != "spec" && child.as_object().is_some_and(serde_json::Map::is_empty) {
            map.remove(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn injected_parts_go_and_a_persons_own_stay() {
        let replica_set = json!({
            "metadata": {"annotations": {EPHEMERAL_ANNOTATION: r#"{"labels":{"role":"stable"},"annotations":{"a":"b"}}"#}},
            "spec": {"template": {
                "metadata": {"labels": {"app": "x", HASH_LABEL: "abc", "role": "stable"}, "annotations": {"a": "b"}},
                "spec": {
                    "containers": [{"name": "c", "image": "i:1"}],
                    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                        {"labelSelector": {"matchExpressions": [{"key": HASH_LABEL, "operator": "NotIn", "values": ["x"]}]}},
                    ]}},
                },
            }},
        });
        assert_eq!(
            clean(&replica_set),
            json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
        );
        assert_eq!(images(&clean(&replica_set)), ["i:1"]);
    }

    #[test]
    fn a_template_without_injections_is_untouched() {
        let template = json!({
            "metadata": {"labels": {"app": "x"}, "annotations": {}},
            "spec": {"containers": [], "affinity": {"podAntiAffinity": {}}},
        });
        assert_eq!(
            clean(&json!({"metadata": {}, "spec": {"template": template.clone()}})),
            template
        );
    }
}
