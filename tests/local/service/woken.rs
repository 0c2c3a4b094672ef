//! What a replica does that was frozen, and hears of some things before it hears of others.

use jiff::SignedDuration;
use reqwest::Method;
use ripcord::alert::Alert;
use ripcord::cluster::{Caches, clock};
use ripcord::policy::guard::Hold;
use ripcord::rollback::{Memory, Phase, Rollback};

use crate::engine::live;
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::scene::{self, LATENCY, Scene, firing, group, resolved};
use crate::support::stage::{self, NAME, NAMESPACE, knows};

/// One more replica, that lists everything and is told nothing more of these kinds.
async fn is_late(scene: &mut Scene, kinds: &'static [&'static str]) {
    scene.through_a_proxy().await;
    scene.proxy().on(|seen| {
        if watches(seen, kinds) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
}

fn watches(seen: &Seen, kinds: &[&str]) -> bool {
    let kind = seen.path.rsplit('/').next().unwrap_or_default();
    seen.query.contains("watch=") && kinds.contains(&kind)
}

/// Waits until a replica knows that this release is live.
async fn sees(scene: &Scene, caches: &Caches, hash: &str) {
    let target = scene.target();
    knows(caches, || {
        let seen = caches.rollout(&target);
        seen.is_some_and(|it| it.rollout.current == hash)
    })
    .await;
}

/// Waits until a replica knows from the memory what a rollback made.
async fn remembers(scene: &Scene, caches: &Caches) {
    let target = scene.target();
    knows(caches, || {
        let free = |it: &Memory| it.state().active.is_none() && !it.state().made.is_empty();
        caches.memory(&target).is_some_and(|it| free(&it))
    })
    .await;
}

/// A rollback by the first replica, from its alert to its end: the name.
async fn rolled_back(scene: &Scene, alert: &Alert) -> String {
    let first = group(std::slice::from_ref(alert));
    assert_eq!(scene.post_to(0, &first).await.one(), ("start", "claimed"));
    let done = scene.done().await;
    assert_eq!(done.phase(), Phase::Succeeded);
    done.name().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_seen_the_workload_alone_looks_before_it_claims_and_before_it_forgets_an_end()
{
    let mut scene = Scene::incident(scene::policy()).await;
    is_late(&mut scene, &["rollbacks", "targets"]).await;
    let alert = firing(LATENCY);
    let name = rolled_back(&scene, &alert).await;
    let late = &scene.replicas[1].caches;
    sees(&scene, late, &live(&scene.sandbox).hash).await;
    assert!(late.rollbacks.all().is_empty(), "it has not heard of it");
    let end = group(&[resolved(&alert)]);
    assert_eq!(
        scene.post_to(1, &end).await.one(),
        ("note", "resolved_recorded")
    );
    assert!(scene.only().all_ended());
    late.rollbacks.forget(NAMESPACE, &name);
    late.memories.forget(NAMESPACE, NAME);
    let again = scene.post_to(1, &group(&[firing(LATENCY)])).await;
    assert_eq!(again.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hears_of_a_rollback_after_it_decided_claims_no_second_one() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.through_a_proxy().await;
    scene.proxy().on(|seen| {
        let memory = seen.method == Method::GET && seen.path.ends_with(&format!("/targets/{NAME}"));
        if memory || watches(seen, &["rollbacks", "targets"]) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
    let name = rolled_back(&scene, &firing(LATENCY)).await;
    let late = &scene.replicas[1].caches;
    sees(&scene, late, &live(&scene.sandbox).hash).await;
    let hears = async {
        // The watches of rollbacks in two namespaces and that of memories, and then the look.
        assert!(scene.proxy().holds(4, stage::LIMIT).await, "it looks");
        late.rollbacks.offer(NAMESPACE, &name, scene.only());
        late.memories
            .offer(NAMESPACE, NAME, scene.memory().unwrap());
        scene.proxy().release();
    };
    let again = group(&[firing(LATENCY)]);
    let (answer, ()) = tokio::join!(scene.post_to(1, &again), hears);
    assert_eq!(answer.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_not_seen_what_a_rollback_made_claims_no_second_one() {
    let mut scene = Scene::incident(scene::policy()).await;
    is_late(&mut scene, &["rollouts"]).await;
    let name = rolled_back(&scene, &firing(LATENCY)).await;
    let late = &scene.replicas[1].caches;
    remembers(&scene, late).await;
    knows(late, || {
        let known = late.rollbacks.get(NAMESPACE, &name);
        known.is_some_and(|it| it.phase() == Phase::Succeeded)
    })
    .await;
    let again = group(&[firing(LATENCY)]);
    let answer = scene.post_to(1, &again).await;
    assert_eq!(answer.decisions(), [("wait", "not_ready")]);
    assert_eq!(answer.status, 503, "Alertmanager comes back");
    scene.proxy().on(|_| Act::Forward);
    scene.proxy().release();
    sees(&scene, late, &live(&scene.sandbox).hash).await;
    let answer = scene.post_to(1, &again).await;
    assert_eq!(answer.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_knows_the_memory_alone_claims_nothing_on_the_release_before() {
    let mut scene = Scene::open(scene::policy()).await;
    is_late(&mut scene, &["rollouts", "rollbacks"]).await;
    stage::bad_canary(&scene.sandbox).await;
    let name = rolled_back(&scene, &firing(LATENCY)).await;
    let late = &scene.replicas[1].caches;
    remembers(&scene, late).await;
    assert!(late.rollbacks.all().is_empty(), "it has not heard of it");
    let again = scene.post_to(1, &group(&[firing(LATENCY)])).await;
    assert_eq!(again.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

/// The time in which a rollback has to show its effect is over.
fn it_settles(scene: &Scene) {
    scene.at(clock::system()() + SignedDuration::from_secs(302));
}

/// Whether it is on record that a rollback did not help.
fn persists(rollback: &Rollback) -> bool {
    rollback.state().alerts.persisting.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_not_heard_of_an_end_does_not_say_that_a_rollback_did_not_help() {
    let mut scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    let name = rolled_back(&scene, &alert).await;
    is_late(&mut scene, &["rollbacks"]).await;
    it_settles(&scene);
    let end = Alert {
        ends_at: Some(clock::system()() + SignedDuration::from_secs(295)),
        ..resolved(&alert)
    };
    let end = scene.post_to(0, &group(&[end])).await;
    assert_eq!(end.one(), ("note", "resolved_recorded"));
    let late = &scene.replicas[1].caches;
    let known = late.rollbacks.get(NAMESPACE, &name).unwrap();
    assert!(!known.all_ended(), "it has not heard of it");
    let copy = scene.post_to(1, &group(&[alert])).await;
    assert_eq!(copy.one(), ("decline", "late_copy"));
    assert!(!persists(&scene.only()));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_not_seen_the_next_release_does_not_say_that_a_rollback_did_not_help() {
    let mut scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    rolled_back(&scene, &alert).await;
    is_late(&mut scene, &["rollouts"]).await;
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v3-good")
        .unwrap();
    it_settles(&scene);
    let answer = scene.post_to(1, &group(&[alert])).await;
    assert_eq!(answer.decisions(), [("wait", "not_ready")]);
    assert!(!persists(&scene.only()));
    scene.close().await;
}

/// A rollback that the hold refused; of rollbacks the second replica hears no more than that. And its alert.
async fn refused() -> (Scene, Alert) {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.hold(Some("a freeze"));
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("decline", "held"));
    assert_eq!(scene.done().await.phase(), Phase::Declined);
    is_late(&mut scene, &["rollbacks"]).await;
    (scene, alert)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_knows_a_refused_rollback_records_an_end_with_the_one_that_acted_as_well() {
    let (scene, alert) = refused().await;
    let first = group(std::slice::from_ref(&alert));
    scene.hold(None);
    let leads = &scene.replicas[0].caches;
    knows(leads, || {
        let rollbacks = leads.rollbacks.all();
        let ended = rollbacks.iter().all(|it| it.phase() == Phase::Declined);
        ended && leads.hold() == Hold::Free
    })
    .await;
    assert_eq!(scene.post_to(0, &first).await.one(), ("start", "claimed"));
    assert_eq!(scene.rollbacks().len(), 2);
    let end = scene.post_to(1, &group(&[resolved(&alert)])).await;
    assert_eq!(end.one(), ("note", "resolved_recorded"));
    for rollback in scene.rollbacks() {
        assert!(rollback.all_ended(), "{}", rollback.name());
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_knows_a_refused_rollback_claims_none_for_an_alert_that_ended_since() {
    let (scene, alert) = refused().await;
    let first = group(std::slice::from_ref(&alert));
    let end = scene.post_to(0, &group(&[resolved(&alert)])).await;
    assert_eq!(end.one(), ("note", "resolved_recorded"));
    scene.hold(None);
    let late = &scene.replicas[1].caches;
    knows(late, || late.hold() == Hold::Free).await;
    assert!(
        !late.rollbacks.all()[0].all_ended(),
        "it has not heard of it"
    );
    let copy = scene.post_to(1, &first).await;
    assert_eq!(copy.one(), ("decline", "late_copy"));
    assert_eq!(scene.rollbacks().len(), 1);
    scene.close().await;
}
