//! A bad canary whose update is under way.

use jiff::SignedDuration;
use ripcord::cli::demo::client::Client;
use serde_json::{Value, json};

use super::Ready;
use crate::router::Router;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// At its first pause.
pub(super) async fn paused(scene: &mut Scene) -> Ready {
    Ready::new(scene.bad_canary().await.0)
}

/// A person has aborted it: the users are served, and the spec is still bad.
pub(super) async fn aborted(scene: &mut Scene) -> Ready {
    let (replica, _) = scene.bad_canary().await;
    scene.argo(&["abort", NAME]);
    scene.rollout_is("Degraded").await;
    scene.users_are_served().await;
    Ready::new(replica)
}

/// The controller has not looked at it yet.
pub(super) async fn not_looked_at(scene: &mut Scene) -> Ready {
    let replica = scene.good(&pausing()).await;
    let asleep = scene.plane.freeze().expect("it stands still");
    scene.push(BAD).await;
    // Ripcord has heard of the change once it says that the release has no identity. An alert that is so old is about a
    // time before all releases, and counts for nothing.
    let old = scene.notification(now() - SignedDuration::from_hours(1));
    let heard = async || (scene.post(&replica, old.clone()).await == 503).then_some(());
    until(heard, LIMIT).await.expect("Ripcord has heard of it");
    Ready {
        asleep: Some(asleep),
        ..Ready::new(replica)
    }
}

/// Somebody has asked for its full promotion, and the controller has not looked at that yet.
pub(super) async fn promotion_asked(scene: &mut Scene) -> Ready {
    let (replica, _) = scene.bad_canary().await;
    let asleep = scene.plane.freeze().expect("it stands still");
    scene.argo(&["promote", NAME, "--full"]);
    Ready {
        asleep: Some(asleep),
        ..Ready::new(replica)
    }
}

/// A router sends 60 % of the requests to it.
pub(super) async fn routed(scene: &mut Scene) -> Ready {
    split(scene, &json!({})).await
}

/// The same, and the good release has pods for the other 40 % alone.
pub(super) async fn routed_dynamic(scene: &mut Scene) -> Ready {
    split(scene, &json!({ "dynamicStableScale": true })).await
}

async fn split(scene: &mut Scene, more: &Value) -> Ready {
    let (replica, _) = scene.bad_split(more).await;
    let router = Router::start(scene).await;
    if let Some(users) = scene.users.take() {
        users.stop().await;
    }
    scene.users = Some(Client::start(router.url(), scene.rate));
    scene.users_are_hurt().await;
    Ready {
        router: Some(router),
        ..Ready::new(replica)
    }
}
