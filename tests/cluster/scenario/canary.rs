//! A bad canary in flight.

use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;

/// A bad canary waits at its first pause. The good template comes back, once, and takes all traffic.
pub(crate) async fn paused() {
    let mut scene = Scene::start("canary, paused at its first step").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let posted = scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.times(posted, &rollback);
}

/// The same while the Rollouts controller does not move: it wakes after the template was restored.
pub(crate) async fn controller_asleep() {
    let mut scene = Scene::alone("canary, the controller asleep").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let asleep = scene.plane.freeze().unwrap();
    let posted = scene.alert(&ripcord).await;
    let restored = async || scene.mutations().first().cloned();
    until(restored, LIMIT)
        .await
        .expect("the template is restored");
    assert_eq!(
        scene.rollout().await["status"]["currentPodHash"],
        bad,
        "nobody has moved yet"
    );
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    scene.times(posted, &rollback);
}
