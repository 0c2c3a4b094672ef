use serde_json::json;

use super::*;

fn object(generation: i64, observed: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "x", "namespace": "n", "uid": "u", "generation": generation},
        "spec": {}, "status": {"observedGeneration": observed, "currentPodHash": "h"},
    }))
    .unwrap()
}

#[test]
fn the_time_without_observation_runs_on_over_further_changes() {
    let at = |n| Timestamp::from_second(n).unwrap();
    let first = seen(&object(2, "1"), None, at(10)).unwrap();
    assert_eq!(first.unobserved_since, Some(at(10)));
    let second = seen(&object(3, "1"), Some(&first), at(20)).unwrap();
    assert_eq!(second.unobserved_since, Some(at(10)));
    assert_eq!(
        seen(&object(3, "3"), Some(&second), at(21))
            .unwrap()
            .unobserved_since,
        None
    );
}
