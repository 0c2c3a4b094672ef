//! The whole service against the sandbox, through real HTTP: what each story of alerts, people and releases comes to.

mod alerts;
mod approval;
mod giving_up;
mod guards;
pub(crate) mod hands;
mod lateness;
mod mishaps;
mod nowhere;
mod numbers;
mod owned;
mod queue;
mod refused_change;
mod refused_journal;
mod shared;
mod unreadable;
mod woken;

use ripcord::rollback::{Phase, Rollback};
use ripcord::sandbox::Sandbox;

use crate::engine::{changes, image};
use crate::support::stage::scene::Scene;

/// How a rollback stands: its phase and its reason code.
fn ending(rollback: &Rollback) -> (Phase, &'static str) {
    let state = rollback.state();
    let reason = state
        .reason
        .as_ref()
        .map_or("", |found| found.reason.code());
    (state.phase, reason)
}

/// What a rollback's reason says.
fn said(rollback: &Rollback) -> String {
    let state = rollback.state();
    state
        .reason
        .as_ref()
        .map(|found| found.said.clone())
        .unwrap_or_default()
}

/// Nobody but people changed the workload.
fn untouched(sandbox: &Sandbox) {
    assert_eq!(changes(sandbox), [""; 0]);
}

/// Waits until Ripcord wrote the good template, while the controller does not look.
async fn restored(scene: &Scene) {
    scene
        .until_workload(|object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] == "demo:v1-good"
        })
        .await;
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
}
