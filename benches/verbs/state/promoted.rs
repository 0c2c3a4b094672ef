//! A bad canary that was promoted past all its steps.

use std::time::Duration;

use serde_json::{Value, json};

use super::Ready;
use crate::scene::Scene;
use crate::scene::release::{BAD, containers, pausing};
use crate::support::story::prelude::*;

/// How soon an owner sees that its workload differs from what it wants.
const HEALS: Duration = Duration::from_millis(250);

/// Its steps have no pauses.
pub(super) fn walking() -> Value {
    json!({ "canary": { "steps": [{ "setWeight": 25 }, { "setWeight": 50 }] } })
}

pub(super) async fn plain(scene: &mut Scene) -> Ready {
    Ready::new(scene.bad_promoted(&walking()).await.0)
}

/// Its steps have endless pauses.
pub(super) async fn pausing_steps(scene: &mut Scene) -> Ready {
    Ready::new(scene.bad_promoted(&pausing()).await.0)
}

/// It has the image of the good release, and lacks a variable that this needs.
pub(super) async fn takes_away(scene: &mut Scene) -> Ready {
    let image = "demo:v1-needskey";
    let pod = |variables: Value| {
        let mut all = containers(image);
        all[0]["env"] = variables;
        json!({ "containers": all })
    };
    let whole = pod(json!([{ "name": "KEPT", "value": "1" }, { "name": "KEY", "value": "1" }]));
    scene.good = image;
    let spec = json!({ "strategy": walking(), "template": { "spec": whole } });
    scene.first(image, &spec).await;
    let replica = scene.ripcord().await;
    scene.soaked().await;
    let before = scene.live().await;
    scene
        .template(&pod(json!([{ "name": "KEPT", "value": "1" }])))
        .await;
    scene
        .status_is("it is taken up", |status| {
            status["currentPodHash"] != before.as_str()
        })
        .await;
    scene.promoted_by_hand().await;
    scene.users_are_hurt().await;
    Ready::new(replica)
}

/// Argo CD tracks it, and puts it back as soon as it differs from what is in Git.
pub(super) async fn owned(scene: &mut Scene) -> Ready {
    scene.target_has("on_call: [S0123ABCD]");
    let (replica, _) = scene.bad_promoted(&pausing()).await;
    scene.is_tracked_by("shop").await;
    let mut ready = Ready::new(replica);
    let (admin, path) = (scene.plane.admin.clone(), scene.rollout_path());
    let wanted = json!({ "spec": { "template": { "spec": { "containers": containers(BAD) } } } });
    ready.others.spawn(async move {
        loop {
            tokio::time::sleep(HEALS).await;
            let rollout = admin.get(&path).await.unwrap_or_default();
            let image = rollout.pointer("/spec/template/spec/containers/0/image");
            if image.is_some_and(|it| *it != BAD) {
                // Should it fail, it is tried again.
                drop(admin.patch(&path, &wanted).await);
            }
        }
    });
    ready
}
