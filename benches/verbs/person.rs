//! A person who approves a rollback the moment it is asked for, as `ripcord approve` does.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::mirror::Mirrors;
use crate::scene::{Scene, now};

/// Between two looks at what the watch has told of the rollback.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until a rollback asks, and approves the plan that it shows, once.
pub(crate) async fn approves(scene: &Scene, mirrors: &Mirrors, name: &str) -> Infallible {
    let asks = loop {
        let rollback = mirrors.rollback(name);
        if rollback["status"]["phase"] == "AwaitingApproval" {
            break rollback;
        }
        sleep(LOOK).await;
    };
    let approval = json!({
        "decision": "approve", "by": "ann", "to": asks["status"]["plan"]["to"]["hash"], "at": now().to_string(),
    });
    let path = format!(
        "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks/{name}",
        scene.namespaces.release
    );
    let patch = json!({ "spec": { "approval": approval } });
    let approved = scene.plane.admin.patch(&path, &patch).await;
    approved.expect("it is approved");
    pending().await
}
