//! What goes wrong around Ripcord: a controller that does not look, an API server that refuses, pods that never get
//! ready, a replica that is taken away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use ripcord::policy::trigger::TargetChoice;
use ripcord::procedure::StepSpec;
use ripcord::procedure::healthy::Healthy;
use ripcord::rollback::Phase;
use ripcord::target::Kind;
use ripcord::target::workload::Rollout;

use super::{ending, restored, said};
use crate::engine::{changes, image};
use crate::support::proxy::{Act, Fault};
use crate::support::stage::scene::{self, LATENCY, Scene, firing, group};
use crate::support::stage::{self, NAME, NAMESPACE};

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_identity_is_waited_for() {
    let scene = Scene::open(scene::policy()).await;
    scene.sandbox.pause_controller();
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v2-half500")
        .unwrap();
    let group = group(&[firing(LATENCY)]);
    scene.in_step().await;
    let began = Instant::now();
    let answer = scene.post_to(0, &group).await;
    let took = began.elapsed();
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (503, Some("workload_unobserved"))
    );
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(3),
        "{took:?}"
    );
    assert!(scene.rollbacks().is_empty());
    // It gets its identity while the next try waits.
    let (answer, ()) = tokio::join!(scene.post_to(0, &group), async {
        scene.sandbox.resume_controller();
    });
    assert_eq!(answer.one(), ("start", "claimed"));
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(done.spec.release.as_ref().unwrap().revision, 2);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_asked_again() {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.proxy().fail_next(Method::POST, "/rollbacks", 500);
    let alert = firing(LATENCY);
    let answer = scene.send(&alert).await;
    assert_eq!(
        (answer.status, answer.body["reason"].as_str()),
        (503, Some("unrecorded"))
    );
    assert!(scene.rollbacks().is_empty());
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    scene.done().await;
    // The end of an alert is no less worth.
    scene.proxy().fail_next(Method::PATCH, "/rollbacks", 500);
    let end = scene::resolved(&alert);
    assert_eq!(scene.send(&end).await.status, 503);
    assert_eq!(scene.send(&end).await.one(), ("note", "resolved_recorded"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_not_healthy_fails_with_what_was_seen() {
    let mut policy = scene::policy();
    for procedure in policy.procedures.values_mut() {
        procedure.steps[1] = StepSpec::Healthy(Healthy {
            consecutive: 3,
            every: Duration::from_millis(50),
            within: Duration::from_secs(1),
        });
    }
    let scene = bad_all_over(policy, "demo:v1-unhealthy").await;
    scene
        .until_workload(|object| object["status"]["phase"] == "Paused")
        .await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "unhealthy"));
    let last = said(&done);
    assert!(
        last.contains("0 of 4") && last.contains("degraded"),
        "{last}"
    );
    let_a_person_see(&scene, &alert).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_never_gets_ready_is_given_up() {
    let policy = scene::policy_with(|target| target.give_up = Duration::from_secs(2));
    let scene = bad_all_over(policy, "demo:v1-neverready").await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "gave_up"));
    let last = said(&done);
    assert!(
        last.starts_with("not done after 2s; last observed: ") && last.contains("traffic"),
        "{last}"
    );
    let_a_person_see(&scene, &alert).await;
    scene.close().await;
}

/// A first release that is worth nothing, and a bad one after it.
async fn bad_all_over(policy: ripcord::policy::Policy, first: &str) -> Scene {
    let mut scene = Scene::empty(policy).await;
    stage::first_release(&scene.sandbox, first);
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v2-half500")
        .unwrap();
    scene
        .until_workload(|object| {
            Rollout::read(object).is_some_and(|rollout| rollout.observed && rollout.in_flight())
        })
        .await;
    scene
}

/// The failure says what is live, and nothing starts before a person has looked.
async fn let_a_person_see(scene: &Scene, alert: &ripcord::alert::Alert) {
    let done = scene.only();
    let state = done.state().run.state.clone().unwrap();
    assert!(
        state.starts_with("r3 ") && state.contains("is live"),
        "{state}"
    );
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(memory.latch().unwrap().rollback, done.name());
    scene
        .sandbox
        .deploy(NAMESPACE, NAME, "demo:v4-half500")
        .unwrap();
    scene
        .until_workload(|object| {
            Rollout::read(object).is_some_and(|rollout| rollout.observed && rollout.revision == 4)
        })
        .await;
    assert_eq!(scene.send(alert).await.one(), ("decline", "latched"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_hands_over_at_once() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.replica().await;
    let alert = firing(LATENCY);
    scene.sandbox.pause_controller();
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    restored(&scene).await;
    assert_eq!(scene.leader(), Some(0));
    let begun = scene
        .until(|r| r.state().run.first_mutation.is_some())
        .await;
    let before = begun.state().run.clone();
    let first = scene.replicas.remove(0);
    let began = Instant::now();
    first.stop().await;
    let second = scene.replicas[0].identity.clone();
    let taken = scene
        .until(|r| r.state().run.leader.as_ref() == Some(&second))
        .await;
    // A lease that ran out instead would take five seconds.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(taken.state().run.epoch, before.epoch + 1);
    assert_eq!(taken.state().run.first_mutation, before.first_mutation);
    assert_eq!(scene.send(&alert).await.one(), ("join", "known"));
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

/// A second target, in a namespace that the API server will not let anybody read, and a trigger for it.
fn with_a_forbidden_namespace() -> ripcord::policy::Policy {
    let mut policy = scene::policy();
    let mut target = policy.targets[NAME].clone();
    target.name = "hidden".into();
    target.workload.namespace = "forbidden".into();
    let mut trigger = policy.triggers[0].clone();
    trigger.name = "hidden".into();
    trigger.matchers = "alertname=\"Hidden\"".parse().unwrap();
    trigger.target = TargetChoice::Named("hidden".into());
    policy.targets.insert("hidden".into(), target);
    policy.triggers.push(trigger);
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_read_holds_up_no_end_of_another() {
    let mut scene = Scene::empty(with_a_forbidden_namespace()).await;
    stage::good_release(&scene.sandbox).await;
    scene.through_a_proxy().await;
    scene.proxy().on(|seen| {
        if seen.path.contains("/namespaces/forbidden/") {
            Act::Before(Fault::Answer(403))
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
    for (name, status) in [(LATENCY, 200), ("NobodyAskedForThis", 200), ("Hidden", 503)] {
        let answer = scene.send(&scene::resolved(&firing(name))).await;
        assert_eq!(answer.status, status, "{name}: {:?}", answer.body);
        if status == 200 {
            assert_eq!(answer.one(), ("decline", "resolved_unknown"), "{name}");
        } else {
            assert_eq!(answer.body["reason"], "not_ready", "{name}");
        }
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_of_workload_in_a_namespace_are_followed_instead() {
    let scene = Scene::incident(scene::policy()).await;
    let caches = std::sync::Arc::clone(&scene.replicas[0].caches);
    let follow = |kind: Kind| caches.follow(&[(NAMESPACE.to_owned(), [kind].into())].into());
    let until = async |what: &dyn Fn() -> bool| stage::knows(&caches, what).await;
    assert!(caches.listed(NAMESPACE).is_ok());
    follow(Kind::Deployment);
    // The simulated cluster has none.
    until(&|| caches.rollouts.all().is_empty()).await;
    let missing = caches.listed(NAMESPACE).unwrap_err();
    assert!(missing.said.contains("deployments"), "{}", missing.said);
    follow(Kind::Rollout);
    until(&|| caches.listed(NAMESPACE).is_ok()).await;
    assert_eq!(caches.rollouts.all().len(), 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_leaves_the_policy_is_forgotten_when_nothing_runs_there() {
    let scene = Scene::incident(scene::policy()).await;
    let caches = std::sync::Arc::clone(&scene.replicas[0].caches);
    let until = async |what: &dyn Fn() -> bool| stage::knows(&caches, what).await;
    let kinds = [Kind::Rollout].into();
    let (all, none) = ([(NAMESPACE.to_owned(), kinds)].into(), BTreeMap::new());
    let filled = || caches.listed(NAMESPACE).is_ok();
    caches.follow(&none);
    until(&|| !filled() && caches.rollouts.all().is_empty()).await;
    // It comes back as if it were new.
    caches.follow(&all);
    until(&|| filled()).await;
    scene.sandbox.pause_controller();
    scene.send(&firing(LATENCY)).await;
    caches.follow(&none);
    restored(&scene).await;
    assert!(filled(), "what runs there is seen to its end");
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert!(filled(), "its end is still to be told");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_stays_open_for_a_while_and_the_lease_goes_at_once() {
    let mut scene = Scene::empty(scene::policy()).await;
    stage::good_release(&scene.sandbox).await;
    scene.drain_delay = Duration::from_secs(3);
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    assert_eq!(scene.leader(), Some(0));
    let first = scene.replicas.remove(0);
    let addr = first.addr;
    let began = Instant::now();
    let stopping = tokio::spawn(first.stop());
    let holder = || {
        let lease = scene
            .sandbox
            .object("leases", "ripcord", "ripcord")
            .unwrap();
        lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    while !holder().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "it waits for the door"
        );
    }
    assert!(tokio::net::TcpStream::connect(addr).await.is_ok());
    stopping.await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    scene.close().await;
}
