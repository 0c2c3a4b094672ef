use serde_json::json;

use super::*;

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": image}], "volumes": [{"name": "v", "emptyDir": {}}]},
    })
}

/// A complete Deployment of three pods of this image.
pub(crate) fn deployment(image: &str, revision: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "x", "namespace": "n", "uid": "u", "generation": 2,
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
        },
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}, "template": template(image)},
        "status": {
            "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "done"}],
        },
    })
}

/// A replica set that the Deployment owns.
pub(crate) fn replica_set(hash: &str, image: &str, revision: i64) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = hash.into();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("x-{hash}"), "namespace": "n", "uid": hash, "labels": {"pod-template-hash": hash},
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": [{"uid": "u", "controller": true}],
            "creationTimestamp": format!("2026-01-01T00:00:0{revision}Z"),
        },
        "spec": {"template": template},
    })
}

fn read(object: &Value, sets: &[Value]) -> Rollout {
    let sets: Vec<_> = sets
        .iter()
        .filter_map(|set| ReplicaSet::read(set, Kind::Deployment))
        .collect();
    Rollout::of_deployment(object, &sets).unwrap()
}

fn both() -> [Value; 2] {
    [
        replica_set("one", "app:1", 1),
        replica_set("two", "app:2", 2),
    ]
}

#[test]
fn the_live_release_is_the_replica_set_of_the_spec() {
    let rollout = read(&deployment("app:2", 2), &both());
    assert!(rollout.observed && !rollout.in_flight());
    assert_eq!(
        (rollout.current.as_str(), rollout.stable.as_str()),
        ("two", "two")
    );
    assert_eq!((rollout.phase.as_str(), rollout.revision), ("Healthy", 2));
    assert_eq!((rollout.selector.as_str(), rollout.replicas), ("app=x", 3));
    assert_eq!(rollout.images, ["app:2"]);
    assert!(rollout.abortable().is_err());
    // Of several that are equal the controller takes the oldest.
    let mut twins = both().to_vec();
    twins.insert(0, replica_set("twin", "app:2", 3));
    assert_eq!(read(&deployment("app:2", 2), &twins).current, "two");
}

#[test]
fn it_has_no_identity_until_the_controller_has_looked() {
    let mut unseen = deployment("app:2", 2);
    unseen["metadata"]["generation"] = json!(3);
    // Changed while it is paused: no replica set is made of it.
    let unmade = deployment("app:3", 2);
    // Used again, and not marked with its new revision yet.
    let unmarked = deployment("app:1", 2);
    for object in [unseen, unmade, unmarked] {
        let rollout = read(&object, &both());
        assert!(!rollout.observed, "{object}");
        assert_eq!(
            (rollout.stable.as_str(), rollout.phase.as_str()),
            ("", "Progressing")
        );
    }
}

#[test]
fn it_is_complete_as_kubectl_says() {
    let progressing = json!([{"type": "Progressing", "reason": "ReplicaSetUpdated"}]);
    let late = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
    for (status, phase) in [
        (json!({"updatedReplicas": 2}), "Progressing"),
        (json!({"replicas": 4}), "Progressing"),
        (
            json!({"availableReplicas": 2, "conditions": progressing}),
            "Progressing",
        ),
        (json!({"conditions": late}), "Degraded"),
        (json!({"observedGeneration": 1}), "Progressing"),
        (json!({"observedGeneration": 3}), "Healthy"),
        (json!({"conditions": []}), "Healthy"),
    ] {
        let mut object = deployment("app:2", 2);
        json_patch::merge(&mut object["status"], &status);
        assert_eq!(read(&object, &both()).phase, phase, "{status}");
        object["spec"]["paused"] = json!(true);
        let paused = if phase == "Healthy" {
            "Healthy"
        } else {
            "Paused"
        };
        assert_eq!(read(&object, &both()).phase, paused, "{status}");
    }
}
