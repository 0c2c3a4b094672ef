//! `ripcord drill` on a real API server: each change is tried and taken back, and what is told is what is then done.

use std::fs;

use serde_json::{Value, json};

use super::doctor::{is, typed};
use crate::scene::Scene;
use crate::scene::release::pausing;
use crate::support::story::prelude::*;

const DRILL: &str = "what a rollback would do";

/// An update in flight: one change is tried.
pub(crate) async fn in_flight() {
    let mut scene = Scene::start("drill, in flight").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let told = drilled(&scene, &["revert"]).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    is_what_was_done(&told, &rollback);
}

/// A release that is promoted: the template, and the promotion as well.
pub(crate) async fn promoted() {
    let mut scene = Scene::start("drill, promoted").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let told = drilled(&scene, &["revert", "revert"]).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    is_what_was_done(&told, &rollback);
}

/// Tries it as somebody who may everything; says what was told. The workload has not moved by it.
async fn drilled(scene: &Scene, changes: &[&str]) -> String {
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let before = scene.rollout().await;
    // The policy names a Redis that nobody runs here.
    let words = ["drill", "--outside", "--target", "options-api"];
    let (report, code) = typed(scene, &admin, &words).await;
    assert_eq!(code, Some(0), "{report:#}");
    let after = scene.rollout().await;
    let version = "/metadata/resourceVersion";
    assert_eq!(before.pointer(version), after.pointer(version));
    let sections = report["sections"].as_array().unwrap();
    let drill = sections.last().unwrap()["checks"].as_array().unwrap();
    let tried: Vec<&Value> = drill
        .iter()
        .filter(|it| {
            let found = it["found"].as_str().unwrap();
            found.ends_with("the API server would take it")
        })
        .map(|it| &it["name"])
        .collect();
    assert_eq!(json!(tried), json!(changes), "{report:#}");
    let decision = is(&report, DRILL, "decision", "ok");
    decision["found"].as_str().unwrap().to_owned()
}

fn is_what_was_done(told: &str, rollback: &Value) {
    let plan = &rollback["status"]["plan"];
    let to = plan["to"]["hash"].as_str().unwrap();
    let from = plan["from"]["hash"].as_str().unwrap();
    assert!(told.contains(from) && told.contains(to), "{told}");
}
