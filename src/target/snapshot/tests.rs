use serde_json::json;

use super::*;

/// A canary of three pods: `good` is stable, `bad` in flight with one pod, both behind one Service.
pub(crate) fn in_flight() -> Snapshot {
    Snapshot {
        taken: Timestamp::UNIX_EPOCH,
        rollout: Some(Rollout {
            uid: "uid".into(),
            generation: 2,
            observed: true,
            revision: 2,
            current: "bad".into(),
            stable: "good".into(),
            phase: "Paused".into(),
            message: String::new(),
            aborted: false,
            aborted_at: None,
            annotated: true,
            promote_full: false,
            paused: false,
            replicas: 3,
            strategy: Strategy::Canary {
                routed: false,
                services: vec![],
                canary_weight: None,
                verified: None,
            },
            images: vec![],
            workload_ref: false,
            owner: None,
            invalid: None,
            operation: None,
            drill: None,
            deleting: false,
            selector: "app=x".into(),
            created: None,
            restart_at: None,
            restarted_at: None,
        }),
        replica_sets: vec![set("good", 1, 2), set("bad", 2, 1)],
        pods: vec![
            pod("good-1", "good"),
            pod("good-2", "good"),
            pod("bad-1", "bad"),
        ],
        endpoints: ["good-1", "good-2", "bad-1"]
            .map(|pod| endpoint(pod, true))
            .to_vec(),
    }
}

/// The same workload after the bad release was promoted.
pub(crate) fn promoted() -> Snapshot {
    let mut at = in_flight();
    let rollout = at.rollout.as_mut().unwrap();
    rollout.stable = "bad".into();
    rollout.phase = "Healthy".into();
    at.replica_sets = vec![set("good", 1, 0), set("bad", 2, 3)];
    at.pods = vec![
        pod("bad-1", "bad"),
        pod("bad-2", "bad"),
        pod("bad-3", "bad"),
    ];
    at.endpoints = at.pods.iter().map(|p| endpoint(&p.name, true)).collect();
    at
}

/// The same workload with everything on the good release, which got a new revision.
pub(crate) fn restored() -> Snapshot {
    let mut at = promoted();
    let rollout = at.rollout.as_mut().unwrap();
    rollout.current = "good".into();
    rollout.stable = "good".into();
    rollout.revision = 3;
    rollout.generation = 3;
    at.replica_sets = vec![set("good", 3, 3), set("bad", 2, 0)];
    at.pods = vec![
        pod("good-1", "good"),
        pod("good-2", "good"),
        pod("good-3", "good"),
    ];
    at.endpoints = at.pods.iter().map(|p| endpoint(&p.name, true)).collect();
    at
}

pub(crate) fn set(hash: &str, revision: i64, pods: i32) -> ReplicaSet {
    ReplicaSet {
        name: format!("x-{hash}"),
        uid: format!("uid-{hash}"),
        hash: hash.into(),
        revision,
        available: pods,
        replicas: pods,
        template: json!({"spec": {"containers": [{"name": "c", "image": format!("app:{hash}")}]}}),
        created: None,
    }
}

pub(crate) fn pod(name: &str, hash: &str) -> Pod {
    Pod {
        name: name.into(),
        ip: Some("127.0.0.1".into()),
        hash: hash.into(),
        ready: true,
        deleting: false,
        created: None,
    }
}

fn endpoint(pod: &str, ready: bool) -> Endpoint {
    Endpoint {
        service: "x".into(),
        pod: pod.into(),
        ready,
    }
}

#[test]
fn traffic_is_back_when_no_other_pod_takes_any() {
    assert_eq!(
        in_flight().traffic_on("good", true).unwrap_err().said,
        "1 pod of another release still takes traffic"
    );
    assert_eq!(restored().traffic_on("good", true), Ok(()));
}

#[test]
fn a_pod_that_is_no_longer_ready_takes_no_traffic() {
    let mut at = in_flight();
    at.endpoints[2].ready = false;
    assert_eq!(at.traffic_on("good", true), Ok(()));
}

#[test]
fn an_empty_service_is_not_traffic_back() {
    let mut at = restored();
    for endpoint in &mut at.endpoints {
        endpoint.ready = false;
    }
    assert_eq!(
        at.traffic_on("good", true).unwrap_err().reason,
        Reason::TrafficMoving
    );
}

#[test]
fn a_router_weight_and_an_active_selector_count() {
    let mut at = restored();
    at.rollout.as_mut().unwrap().strategy = Strategy::Canary {
        routed: true,
        services: vec!["x".into()],
        canary_weight: Some(20),
        verified: None,
    };
    assert!(at.traffic_on("good", true).is_err());
    at.rollout.as_mut().unwrap().strategy = Strategy::BlueGreen {
        active: "bad".into(),
        service: "x".into(),
    };
    assert!(at.traffic_on("good", true).is_err());
}

#[test]
fn a_replica_set_is_read_as_its_owners_kind_marks_it() {
    let object = json!({
        "metadata": {
            "name": "x-1", "uid": "s", "labels": {"rollouts-pod-template-hash": "h"},
            "annotations": {"rollout.argoproj.io/revision": "4"},
            "ownerReferences": [{"uid": "me", "controller": true}],
        },
        "spec": {"template": {"spec": {"containers": [{"image": "a:1"}]}}},
        "status": {"replicas": 2, "availableReplicas": 1},
    });
    assert_eq!(ReplicaSet::owner(&object), Some("me"));
    let set = ReplicaSet::read(&object, Kind::Rollout).unwrap();
    assert_eq!((set.revision, set.replicas, set.available), (4, 2, 1));
    assert!(ReplicaSet::read(&object, Kind::Deployment).is_none());
}

#[test]
fn endpoints_of_strangers_are_left_out_and_an_absent_condition_means_ready() {
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "svc"}},
        "endpoints": [
            {"targetRef": {"kind": "Pod", "name": "mine"}},
            {"targetRef": {"kind": "Pod", "name": "other"}, "conditions": {"ready": true}},
        ],
    });
    let read = Endpoint::read(&slice, &BTreeSet::from(["mine".to_owned()]));
    assert_eq!(
        read,
        [Endpoint {
            service: "svc".into(),
            pod: "mine".into(),
            ready: true
        }]
    );
}

#[test]
fn the_live_release_has_no_identity_before_it_is_observed() {
    let mut at = in_flight();
    assert_eq!(at.live().unwrap().to_string(), "r2 bad");
    at.rollout.as_mut().unwrap().observed = false;
    assert_eq!(at.live(), None);
}

#[test]
fn a_service_that_takes_no_traffic_does_not_count() {
    let mut at = restored();
    at.pods.push(pod("bad-1", "bad"));
    at.endpoints.push(Endpoint {
        service: "metrics".into(),
        pod: "bad-1".into(),
        ready: true,
    });
    assert!(
        at.traffic_on("good", true).is_err(),
        "without a router it takes traffic"
    );
    at.rollout.as_mut().unwrap().strategy = Strategy::BlueGreen {
        active: "good".into(),
        service: "x".into(),
    };
    assert_eq!(at.traffic_on("good", true), Ok(()));
    at.rollout.as_mut().unwrap().strategy = Strategy::Canary {
        routed: true,
        services: vec!["x".into(), "x-canary".into()],
        canary_weight: Some(0),
        verified: None,
    };
    assert_eq!(at.traffic_on("good", true), Ok(()));
}

#[test]
fn a_service_that_lost_all_its_endpoints_is_not_traffic_back() {
    let mut at = restored();
    at.endpoints.clear();
    assert!(at.traffic_on("good", true).is_err());
    assert_eq!(
        at.traffic_on("good", false),
        Ok(()),
        "it never stood behind a Service"
    );
    at.rollout.as_mut().unwrap().strategy = Strategy::BlueGreen {
        active: "good".into(),
        service: "x".into(),
    };
    assert!(at.traffic_on("good", false).is_err());
}
