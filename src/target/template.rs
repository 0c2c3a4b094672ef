//! Makes a replica set's pod template fit to be written back to its workload.
//!
//! A replica set's template is the workload's plus what the controller put in: its hash label, ephemeral metadata and,
//! with anti-affinity, a term on the hash. Written back with those it would be a *new* template, and the controller
//! would walk every canary step with it.

use serde_json::{Map, Value};

use super::kind::Kind;

/// The annotation in which the controller records the metadata that it injected.
const EPHEMERAL_ANNOTATION: &str = "rollout.argoproj.io/ephemeral-metadata";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The label of a Rollout's pods.
const HASH_LABEL: &str = Kind::Rollout.hash_label();

/// The template of a replica set without what the controller of this kind injected. That of Deployments injects its hash
/// label alone.
#[must_use]
pub fn clean(replica_set: &Value, kind: Kind) -> Value {
    let mut template = replica_set
        .pointer("/spec/template")
        .cloned()
        .unwrap_or(Value::Null);
    remove_key(&mut template, "labels", kind.hash_label());
    if kind != Kind::Rollout {
        return template;
    }
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

/// The place of a container of a pod template among the others, and its image.
#[must_use]
pub fn container<'a>(template: &'a Value, name: &str) -> Option<(usize, &'a str)> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let place = containers.iter().position(|it| it["name"] == name)?;
    Some((place, containers.get(place)?["image"].as_str()?))
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
    let Some(affinity) = template
        .pointer_mut("/spec/affinity")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let Some(rules) = affinity
        .get_mut("podAntiAffinity")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let preferred = remove_terms(rules, PREFERRED);
    let required = remove_terms(rules, REQUIRED);
    // The controller takes the same terms out before it compares. Of requirements it leaves nothing; around preferences it
    // leaves the empty objects, and a template without these would be a new one to it.
    if required && !preferred && rules.is_empty() {
        affinity.remove("podAntiAffinity");
        if affinity.is_empty()
            && let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove("affinity");
        }
    }
}

/// Removes the terms on the hash, and the list where it held nothing else; says whether there were any.
fn remove_terms(rules: &mut Map<String, Value>, list: &str) -> bool {
    let Some(terms) = rules.get_mut(list).and_then(Value::as_array_mut) else {
        return false;
    };
    let before = terms.len();
    terms.retain(|term| !selects_hash(term));
    let (removed, empty) = (terms.len() < before, terms.is_empty());
    if removed && empty {
        rules.remove(list);
    }
    removed
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
            clean(&replica_set, Kind::Rollout),
            json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
        );
        assert_eq!(images(&clean(&replica_set, Kind::Rollout)), ["i:1"]);
    }

    #[test]
    fn preferences_leave_what_the_controller_compares_with() {
        let own = json!({"podAffinityTerm": {"topologyKey": "zone"}, "weight": 5});
        let injected = json!({
            "podAffinityTerm": {"labelSelector": {"matchExpressions": [{"key": HASH_LABEL, "operator": "In", "values": ["x"]}]}},
            "weight": 1,
        });
        let cleaned = |affinity: Value| {
            clean(
                &json!({"spec": {"template": {"spec": {"affinity": affinity}}}}),
                Kind::Rollout,
            )["spec"]["affinity"]
                .clone()
        };
        let alone = json!({"podAntiAffinity": {PREFERRED: [injected.clone()]}});
        assert_eq!(cleaned(alone), json!({"podAntiAffinity": {}}));
        let both = json!({"podAntiAffinity": {PREFERRED: [own.clone(), injected]}});
        let kept = json!({"podAntiAffinity": {PREFERRED: [own]}});
        assert_eq!(cleaned(both), kept);
    }

    #[test]
    fn a_template_without_injections_is_untouched() {
        let template = json!({
            "metadata": {"labels": {"app": "x"}, "annotations": {}},
            "spec": {"containers": [], "affinity": {"podAntiAffinity": {}}},
        });
        assert_eq!(
            clean(
                &json!({"metadata": {}, "spec": {"template": template.clone()}}),
                Kind::Rollout
            ),
            template
        );
    }
}
