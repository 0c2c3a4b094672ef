//! Reads from the API server's log whether every change was announced before it was made, and could only be made to what
//! it was decided on.

use std::collections::BTreeSet;

use ripcord::sandbox::Request;
use serde_json::Value;

use crate::scene::{NAMESPACE, Scene, TARGET, names, rollout_path};

/// Checks every patch of the workload by Ripcord, also those that were refused.
pub(crate) fn announced(scene: &Scene) {
    let rollout = scene.rollout();
    let rollbacks = scene.sandbox.objects("rollbacks");
    let operation = &rollbacks[0]["metadata"]["uid"];
    // What was announced so far and is on record: each effect with its generation, and when it was thought of.
    let mut intents: Vec<(String, i64, String)> = Vec::new();
    let mut blamed = false;
    let mut made = Vec::new();
    let all = scene.sandbox.requests().into_iter();
    for request in all.filter(|it| it.user_agent != "person") {
        let accepted = request.status == 200;
        if accepted && is_journal(&request) {
            intents.extend(intended(&request.body));
        }
        blamed |= accepted && blames(&request.body);
        let Some(effect) = effect(&request) else {
            continue;
        };
        let body = &request.body;
        assert_eq!(
            tested(body, "/metadata/uid"),
            Some(&rollout["metadata"]["uid"])
        );
        let generation = tested(body, "/metadata/generation").and_then(Value::as_i64);
        let generation = generation.unwrap_or_else(|| panic!("of any generation: {body:#}"));
        if effect == "promote_full" {
            let hash = tested(body, "/status/currentPodHash").and_then(Value::as_str);
            assert!(hash.is_some_and(|it| !it.is_empty()), "{body:#}");
        } else {
            let mark = "/metadata/annotations/ripcord.dev~1operation";
            assert_eq!(written(body, mark), Some(operation), "{body:#}");
            assert!(blamed, "it is left before it is blamed");
        }
        made.push(effect);
        let times: BTreeSet<_> = intents
            .iter()
            .filter(|intent| intent.0 == effect && intent.1 == generation)
            .map(|intent| &intent.2)
            .collect();
        assert!(
            !times.is_empty(),
            "{effect} is not on record before it is made"
        );
        // A second try is a second decision, on another look.
        let times: BTreeSet<_> = intents
            .iter()
            .filter(|it| it.0 == effect)
            .map(|it| &it.2)
            .collect();
        let tries = made.iter().filter(|it| **it == effect).count();
        assert!(
            times.len() >= tries,
            "{tries} times {effect}, announced {}",
            times.len()
        );
    }
    assert!(made.contains(&"restore_template"), "nothing was restored");
}

/// What a patch of the workload does.
fn effect(request: &Request) -> Option<&'static str> {
    let status = format!("{}/status", rollout_path());
    match (request.method.as_str(), request.path.as_str()) {
        ("PATCH", path) if path == rollout_path() => {
            assert!(names(&request.body, "/spec/template"), "{:#}", request.body);
            Some("restore_template")
        }
        ("PATCH", path) if path == status => {
            assert!(
                names(&request.body, "/status/promoteFull"),
                "{:#}",
                request.body
            );
            Some("promote_full")
        }
        (method, path) => {
            let reads = method == "GET";
            assert!(
                reads || !path.starts_with(&rollout_path()),
                "{method} {path}"
            );
            None
        }
    }
}

fn is_journal(request: &Request) -> bool {
    let ours = format!("/namespaces/{NAMESPACE}/rollbacks/");
    request.method == "PATCH"
        && request.path.contains(&ours)
        && request.path.ends_with("/status")
        && names(&request.body, "/status/run")
}

/// The changes that a journal announces and that were not confirmed yet.
fn intended(journal: &Value) -> impl Iterator<Item = (String, i64, String)> {
    let steps = written(journal, "/status/run").map(|run| &run["steps"]);
    let steps = steps.and_then(Value::as_array).into_iter().flatten();
    let intents = steps.map(|step| &step["intent"]);
    intents
        .filter(|intent| intent.is_object() && intent["confirmed"].is_null())
        .map(|intent| {
            let text = |key: &str| intent[key].as_str().unwrap().to_owned();
            (
                text("effect"),
                intent["generation"].as_i64().unwrap(),
                text("at"),
            )
        })
}

/// Whether this is the memory of a target that has somebody to blame.
fn blames(body: &Value) -> bool {
    let blamed = body["status"]["blamed"].as_array();
    body["kind"] == "Target"
        && body["metadata"]["name"] == TARGET
        && blamed.is_some_and(|it| !it.is_empty())
}

fn tested<'a>(patch: &'a Value, path: &str) -> Option<&'a Value> {
    value(patch, path, true)
}

fn written<'a>(patch: &'a Value, path: &str) -> Option<&'a Value> {
    value(patch, path, false)
}

fn value<'a>(patch: &'a Value, path: &str, test: bool) -> Option<&'a Value> {
    let mut all = patch.as_array().into_iter().flatten();
    let found = all.find(|it| (it["op"] == "test") == test && it["path"] == path);
    found.map(|it| &it["value"])
}
