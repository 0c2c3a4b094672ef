//! What a person's plugin of Argo Rollouts does, for the commands of the stories: the requests of version 1.9.1. Its words
//! say what was asked for, not what came of it.

use serde_json::{Value, json};

use super::simulated::Simulated;
use crate::support::story::ground::Ground;

const REVISION: &str = "rollout.argoproj.io/revision";

/// Runs a command about a workload: its verb, the workload's name, and options.
pub(super) async fn run(ground: &Simulated, words: &[&str]) -> String {
    let rollout = ground.rollout().await;
    let status = |patch: Value| async move {
        let path = format!("{}/status", ground.rollout_path());
        ground.patch(&path, &json!({ "status": patch })).await;
    };
    let spec = |patch: Value| async move {
        ground
            .patch(&ground.rollout_path(), &json!({ "spec": patch }))
            .await;
    };
    let [verb, name, options @ ..] = words else {
        panic!("{words:?}")
    };
    let said = match (*verb, options) {
        ("abort", []) => {
            status(json!({ "abort": true })).await;
            "aborted"
        }
        ("pause", []) => {
            spec(json!({ "paused": true })).await;
            "paused"
        }
        ("promote", []) => {
            status(json!({ "pauseConditions": null })).await;
            "promoted"
        }
        ("promote", ["--full"]) => {
            if rollout["spec"]["paused"] == true {
                spec(json!({ "paused": false })).await;
            }
            let found = &rollout["status"];
            if found["currentPodHash"] != found["stableRS"] {
                status(json!({ "promoteFull": true })).await;
            }
            "fully promoted"
        }
        ("undo", options) => {
            let to = options.first().map_or(0, |option| {
                let revision = option.strip_prefix("--to-revision=");
                revision.unwrap().parse().unwrap()
            });
            return undo(ground, &rollout, to).await;
        }
        _ => panic!("{words:?}"),
    };
    format!("rollout '{name}' {said}")
}

/// Puts the template of a revision back: the one before the newest where none is named.
async fn undo(ground: &Simulated, rollout: &Value, to: u64) -> String {
    let namespace = ground.namespace();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
    let list = ground.get(&path).await.unwrap();
    let revision = |set: &Value| -> u64 {
        let revision = set["metadata"]["annotations"][REVISION].as_str();
        revision.unwrap().parse().unwrap()
    };
    let mut sets = list["items"].as_array().cloned().unwrap();
    sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
    let set = match to {
        0 => &sets[1],
        to => sets.iter().find(|set| revision(set) == to).unwrap(),
    };
    let mut template = set["spec"]["template"].clone();
    let labels = template["metadata"]["labels"].as_object_mut().unwrap();
    labels.remove("rollouts-pod-template-hash");
    if derives(&rollout["spec"]["template"], &template) {
        return format!("skipped rollback (current template already matches revision {to})");
    }
    let patch = json!([{ "op": "replace", "path": "/spec/template", "value": template }]);
    ground
        .patch_as("json-patch", &ground.rollout_path(), &patch)
        .await;
    "rolled back".to_owned()
}

/// `Semantic.DeepDerivative`: what the first lacks is not compared.
fn derives(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Null, _) => true,
        (Value::Array(first), Value::Array(second)) => {
            let mut pairs = first.iter().zip(second);
            first.len() <= second.len() && pairs.all(|(one, other)| derives(one, other))
        }
        (Value::Object(first), _) => first
            .iter()
            .all(|(name, value)| derives(value, &second[name])),
        _ => first == second,
    }
}
