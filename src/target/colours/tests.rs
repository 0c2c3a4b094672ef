use serde_json::json;

use super::*;
use crate::target::Snapshot;
use crate::target::snapshot::Endpoint;
use crate::target::snapshot::tests::pod;

/// A complete Deployment of this colour, with its one replica set.
fn colour(name: &str, replicas: i32, revision: i64) -> (Value, Vec<ReplicaSet>) {
    let template = json!({
        "metadata": {"labels": {"app": "x", "colour": name}},
        "spec": {"containers": [{"name": "c", "image": format!("app:{name}")}]},
    });
    let annotations = json!({"deployment.kubernetes.io/revision": revision.to_string()});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": format!("x-{name}"), "namespace": "n", "uid": format!("uid-{name}"), "generation": 2,
            "resourceVersion": "70", "annotations": annotations,
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"colour": name}}, "template": template},
        "status": {
            "observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
        },
    });
    let mut template = template;
    template["metadata"]["labels"]["pod-template-hash"] = json!(format!("hash-{name}"));
    let set = json!({
        "metadata": {
            "name": format!("x-{name}-hash-{name}"), "uid": format!("set-{name}"), "annotations": annotations,
            "labels": {"pod-template-hash": format!("hash-{name}")}, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"template": template},
        "status": {"replicas": replicas, "availableReplicas": replicas},
    });
    (
        deployment,
        Vec::from_iter(ReplicaSet::read(&set, Kind::Deployment)),
    )
}

fn service(selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "x", "namespace": "n", "uid": "uid", "resourceVersion": "50"},
        "spec": {"selector": selector},
    })
}

fn read_with(service: &Value, all: &[(Value, Vec<ReplicaSet>)]) -> Rollout {
    let all: Vec<_> = all.iter().map(|(it, sets)| (it, sets.as_slice())).collect();
    Rollout::of_service(service, &all).unwrap()
}

fn selecting(selector: &Value) -> Rollout {
    read_with(
        &service(selector),
        &[colour("blue", 3, 1), colour("green", 3, 2)],
    )
}

/// A look at a Service whose selector leads to this colour, with so many pods of each, all of them ready.
pub(crate) fn looking(live: &str, blue: i32, green: i32) -> Snapshot {
    let all = [colour("blue", blue, 1), colour("green", green, 2)];
    let owning: Vec<_> = all.iter().map(|(it, sets)| (it, sets.as_slice())).collect();
    let service = service(&json!({"app": "x", "colour": live}));
    let pods: Vec<_> = [("blue", blue), ("green", green)]
        .into_iter()
        .flat_map(|(colour, count)| {
            (1..=count).map(move |nth| pod(&format!("{colour}-{nth}"), &format!("hash-{colour}")))
        })
        .collect();
    let hash = format!("hash-{live}");
    let endpoints = pods.iter().filter(|pod| pod.hash == hash);
    Snapshot {
        taken: jiff::Timestamp::UNIX_EPOCH,
        rollout: Rollout::of_service(&service, &owning),
        replica_sets: own_sets(&owning),
        endpoints: endpoints
            .map(|pod| Endpoint {
                service: "x".into(),
                pod: pod.name.clone(),
                ready: true,
            })
            .collect(),
        pods,
    }
}

#[test]
fn the_live_release_is_that_of_the_deployment_which_is_selected() {
    let rollout = selecting(&json!({"app": "x", "colour": "green"}));
    assert_eq!(
        (rollout.uid.as_str(), rollout.generation, rollout.revision),
        ("uid", 50, 2)
    );
    assert_eq!(
        (rollout.current.as_str(), rollout.stable.as_str()),
        ("hash-green", "hash-green")
    );
    assert_eq!((rollout.invalid, rollout.replicas), (None, 3));
    assert!(rollout.observed && rollout.is_plain() && !rollout.is_deployment());
    assert!(rollout.abortable().is_err());
}

#[test]
fn a_live_deployment_that_rolls_out_has_no_stable_release() {
    let mut green = colour("green", 3, 2);
    green.0["status"]["availableReplicas"] = json!(1);
    let selector = json!({"colour": "green"});
    let rollout = read_with(&service(&selector), &[colour("blue", 3, 1), green]);
    assert_eq!(
        (rollout.current.as_str(), rollout.stable.as_str()),
        ("hash-green", "")
    );
}

#[test]
fn a_selector_that_names_no_one_release_is_no_ground_to_act_on() {
    let cases = [
        (json!({"app": "x"}), "selects the pods of both"),
        (
            json!({"app": "x", "colour": "red"}),
            "does not select the pods of Deployment x-blue, x-green",
        ),
        (json!({}), "does not select"),
        (Value::Null, "does not select"),
    ];
    for (selector, said) in cases {
        let rollout = selecting(&selector);
        assert_eq!(rollout.invalid, Some(Reason::SelectorUnclear), "{selector}");
        assert!(rollout.message.contains(said), "{}", rollout.message);
        assert!(!rollout.observed && rollout.current.is_empty());
    }
    let alone = read_with(&service(&json!({"app": "x"})), &[]);
    assert!(
        alone.message.contains("none of the Deployments"),
        "{}",
        alone.message
    );
}

#[test]
fn a_service_that_a_rollout_leads_is_the_controllers() {
    let selector = json!({"colour": "green", "rollouts-pod-template-hash": "abc"});
    assert_eq!(selecting(&selector).invalid, Some(Reason::ServiceOfRollout));
    let mut marked = service(&json!({"colour": "green"}));
    marked["metadata"]["annotations"] = json!({MANAGED: "shop"});
    let rollout = read_with(&marked, &[colour("blue", 3, 1), colour("green", 3, 2)]);
    assert_eq!(rollout.invalid, Some(Reason::ServiceOfRollout));
    assert_eq!(rollout.message, "Rollout shop leads Service x");
}

#[test]
fn only_the_values_that_differ_are_replaced_and_no_key_is_added() {
    let rollout = selecting(&json!({"app": "x", "colour": "green"}));
    let Strategy::Colours(mut colours) = rollout.strategy else {
        panic!()
    };
    let blue = colours.of("hash-blue").unwrap().clone();
    let keys: Vec<_> = colours.leading_to(&blue).unwrap().into_iter().collect();
    assert_eq!(keys, [("colour".to_owned(), "blue".to_owned())]);
    colours.selector.insert("tier".into(), "web".into());
    let refused = colours.leading_to(&blue).unwrap_err();
    assert_eq!(refused.reason, Reason::SelectorUnclear);
    assert!(refused.said.contains("`tier`"), "{}", refused.said);
}

#[test]
fn the_age_of_a_replica_set_does_not_date_the_switch() {
    let at = looking("green", 3, 3);
    let hashes: Vec<_> = at.replica_sets.iter().map(|it| it.hash.as_str()).collect();
    assert_eq!(hashes, ["hash-blue", "hash-green"]);
    assert!(at.replica_sets.iter().all(|it| it.created.is_none()));
}

#[test]
fn traffic_is_on_what_the_service_selects_and_its_ready_endpoints() {
    let at = looking("blue", 3, 3);
    assert!(at.traffic_on("hash-blue", true).is_ok());
    assert!(at.traffic_on("hash-green", true).is_err());
    let mut lagging = looking("blue", 3, 3);
    lagging.endpoints[0].pod = "green-1".into();
    let moving = lagging.traffic_on("hash-blue", true).unwrap_err();
    assert!(
        moving.said.contains("1 pod of another release"),
        "{}",
        moving.said
    );
    lagging.endpoints.clear();
    assert!(lagging.traffic_on("hash-blue", true).is_err());
    // What another Service sends there says nothing about this one.
    let mut other = looking("blue", 3, 3);
    other.endpoints.push(Endpoint {
        service: "preview".into(),
        pod: "green-1".into(),
        ready: true,
    });
    assert!(other.traffic_on("hash-blue", true).is_ok());
}

#[test]
fn the_state_names_the_deployments() {
    assert_eq!(
        looking("blue", 3, 2).state(),
        "r1 hash-blue is live, phase Healthy; x-blue r1: 3 of 3 pods available; x-green r2: 2 of 2 pods available"
    );
}
