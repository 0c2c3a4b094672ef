//! The shared address of a target: it must answer well, besides every pod of the destination.

use std::time::Duration;

use ripcord::policy::Policy;
use ripcord::procedure::StepSpec;
use ripcord::procedure::healthy::Healthy;
use ripcord::rollback::Phase;

use super::{ending, said};
use crate::engine::image;
use crate::support::proxy::{Act, Fault, Proxy};
use crate::support::stage::scene::{self, LATENCY, Scene, firing};

/// A shared address that answers this, and a policy whose target has it. How it answers is all that counts.
async fn shared(answer: u16, within: Duration) -> (Proxy, String, Policy) {
    // Nothing is behind it.
    let proxy = Proxy::start("127.0.0.1:1".parse().unwrap()).await;
    proxy.on(move |_| Act::Before(Fault::Answer(answer)));
    let url = format!("http://{}/from/outside?deep=1", proxy.addr());
    let mut policy = scene::policy_with(|target| {
        let health = target.health.as_mut().unwrap();
        health.url = Some(url.clone());
        (health.pointer, health.equals) = (None, None);
    });
    for procedure in policy.procedures.values_mut() {
        procedure.steps[1] = StepSpec::Healthy(Healthy {
            consecutive: 3,
            every: Duration::from_millis(50),
            within,
        });
    }
    (proxy, url, policy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_address_must_answer_well_too() {
    let (proxy, url, policy) = shared(503, Duration::from_secs(20)).await;
    let scene = Scene::incident(policy).await;
    scene.send(&firing(LATENCY)).await;
    let bad = format!("4 of 5 answered well 3 times in a row; {url} answers HTTP 503");
    let waits = scene.until(|rollback| {
        let state = rollback.state();
        let step = state.run.steps.get(1).and_then(|it| it.observed.as_ref());
        step.is_some_and(|it| it.reason.code() == "unhealthy" && it.said == bad)
    });
    assert_eq!(waits.await.phase(), Phase::Running);
    let before = proxy.seen().len();
    proxy.on(|_| Act::Before(Fault::Answer(200)));
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    let seen = proxy.seen();
    assert!(seen.len() >= before + 3, "one good answer is not enough");
    let asked = |it: &crate::support::proxy::Seen| {
        it.method == "GET" && it.path == "/from/outside" && it.query == "deep=1"
    };
    assert!(seen.iter().all(asked), "{seen:?}");
    let steps = &done.state().run.steps;
    let found = steps[1].observed.as_ref().unwrap();
    assert!(found.said.starts_with("5 of 5 "), "{}", found.said);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_address_that_answers_badly_is_a_failure_that_names_it() {
    let (_proxy, url, policy) = shared(503, Duration::from_secs(1)).await;
    let scene = Scene::incident(policy).await;
    scene.send(&firing(LATENCY)).await;
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Failed, "unhealthy"));
    let last = said(&done);
    assert!(last.contains("4 of 5"), "{last}");
    assert!(last.contains(&format!("{url} answers HTTP 503")), "{last}");
    // The pods are well, so that the good release stays.
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(memory.latch().unwrap().rollback, done.name());
    scene.close().await;
}
