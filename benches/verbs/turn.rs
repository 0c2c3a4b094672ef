//! One turn: a release of its own goes bad in some state, a contender acts, and what comes of it is noted.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use axum::http::Request;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use tokio::time::timeout;

use crate::contender::{self, Act, Contender};
use crate::good::Good;
use crate::mirror::Mirrors;
use crate::observe::{self, Watched};
use crate::outcome::{End, Outcome, Ran};
use crate::scene::{LIMIT, Scene, now};
use crate::script;
use crate::state::{Ready, State};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// How often the users ask, in a second.
const RATE: u32 = 250;
/// How often a state is prepared anew when people's own commands were lost on the way there.
const PREPARATIONS: usize = 3;
/// For how long no endpoint has changed before whoever acts does. Between two renewals of its rules kube-proxy waits for a
/// second: the renewal that follows the last change, and the second after it, are over then, and the next change is seen at once.
const REST: Duration = Duration::from_millis(2_200);

/// What a contender finds.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'static State,
    pub(crate) scene: &'a Scene,
    pub(crate) ready: &'a Ready,
    pub(crate) mirrors: &'a Mirrors,
    pub(crate) good: &'a Good,
    pub(crate) began: Timestamp,
}

/// Lets a contender act once in a state.
pub(crate) async fn take(state: &'static State, contender: Contender, bound: Duration) -> Outcome {
    let mut tries = 0;
    let (mut scene, mut ready, good) = loop {
        tries += 1;
        match AssertUnwindSafe(prepare(state)).catch_unwind().await {
            Ok(prepared) => break prepared,
            Err(cause) if tries == PREPARATIONS => std::panic::resume_unwind(cause),
            Err(_) => eprintln!("{} could not be prepared; once more", state.name),
        }
    };
    let outcome = act(&scene, &mut ready, &good, state, contender, bound).await;
    clean(&mut scene, ready).await;
    outcome
}

async fn act(
    scene: &Scene,
    ready: &mut Ready,
    good: &Good,
    state: &'static State,
    contender: Contender,
    bound: Duration,
) -> Outcome {
    let asleep = ready.asleep.take();
    let mirrors = Mirrors::start(scene).await;
    let turn = Turn {
        state,
        scene,
        ready,
        mirrors: &mirrors,
        good,
        began: now(),
    };
    let acted = RefCell::new(None);
    let act = async {
        let act = match contender {
            Contender::Ripcord => contender::alert(&turn, asleep).await,
            _ => script::run(&turn, contender.script(state), asleep).await,
        };
        *acted.borrow_mut() = Some((act, now()));
        pending::<Infallible>().await
    };
    let spoilt = async {
        match &turn.ready.cache {
            Some(cache) => cache.is_spoilt(&mirrors).await,
            None => pending().await,
        }
    };
    let rollback = || {
        let acted = acted.borrow();
        acted.as_ref().map(|(act, _)| act.rollback.clone())
    };
    // What has not been done when the time is over does not count.
    let watched = tokio::select! {
        watched = observe::watch(&turn, bound, rollback) => watched,
        never = act => match never {},
        never = spoilt => match never {},
    };
    let left = match &turn.ready.cache {
        Some(cache) => Some(cache.left(scene, &mirrors).await),
        None => None,
    };
    Outcome {
        left,
        ..judge(&turn, contender, &watched, acted.borrow().as_ref())
    }
}

/// A fresh scene in this state, and its good release.
async fn prepare(state: &'static State) -> (Scene, Ready, Good) {
    let mut scene = Scene::start(state.name).await;
    scene.rate = RATE;
    let mut ready = (state.prepare)(&mut scene).await;
    let good = match ready.good.take() {
        Some(good) => good,
        None => Good::Hash(first_release(&scene).await),
    };
    is_alone(&scene).await;
    timeout(LIMIT, still(&scene))
        .await
        .expect("the endpoints keep still");
    (scene, ready, good)
}

/// The first release of a scene is its good one.
async fn first_release(scene: &Scene) -> String {
    let path = format!(
        "/apis/apps/v1/namespaces/{}/replicasets",
        scene.namespaces.release
    );
    let sets = scene.plane.admin.get(&path).await.expect("a list");
    let mut sets = sets["items"].as_array().into_iter().flatten();
    let first =
        sets.find(|it| it["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "1");
    let hash = &first.expect("a first release")["metadata"]["labels"]["rollouts-pod-template-hash"];
    hash.as_str().expect("a hash").to_owned()
}

fn judge(
    turn: &Turn<'_>,
    contender: Contender,
    watched: &Watched,
    acted: Option<&(Act, Timestamp)>,
) -> Outcome {
    let after = |at: Timestamp| at.duration_since(turn.began).as_secs_f64();
    let (scene, began) = (turn.scene, turn.began);
    let changes = match contender {
        Contender::Ripcord => scene.mutations(),
        _ => changes_by_people(scene, began),
    };
    let mut end = watched.last.end();
    let mut called = None;
    if let Some((act, at)) = acted
        && changes.is_empty()
        && is_true_call(scene, &act.rollback)
    {
        end = End::Called;
        called = Some(after(*at));
    }
    let first = changes
        .into_iter()
        .map(|it| it.received)
        .find(|at| *at >= began);
    let rollback = acted.map(|(act, _)| &act.rollback);
    let told =
        |pointer: &str| -> Option<Timestamp> { rollback?.pointer(pointer)?.as_str()?.parse().ok() };
    let ended = match contender {
        Contender::Ripcord => told("/status/run/finished"),
        _ => acted.map(|(_, at)| *at),
    };
    Outcome {
        end,
        first_change: first.map(after),
        last_bad: observe::last_bad(scene, began).map(after),
        healthy: watched.healthy.map(after),
        called,
        asked: told("/status/run/asked/at").map(after),
        ended: ended.map(after),
        stopped: acted.and_then(|(act, _)| act.stopped.clone()),
        ran: rollback.and_then(ran),
        left: None,
        seen: watched.last.text(),
        said: acted.map(|(act, _)| act.said.clone()).unwrap_or_default(),
    }
}

/// What a rollback says that it ran.
fn ran(rollback: &Value) -> Option<Ran> {
    let status = &rollback["status"];
    let at = |it: &Value| -> Option<Timestamp> { it.as_str()?.parse().ok() };
    let took = |it: &Value| {
        let took = at(&it["finished"])?.duration_since(at(&it["started"])?);
        Some((it["step"].as_str()?.to_owned(), took.as_secs_f64()))
    };
    let steps = status["run"]["steps"].as_array().into_iter().flatten();
    Some(Ran {
        procedure: status["plan"]["procedure"].as_str()?.to_owned(),
        budget: status["plan"]["budgetSeconds"].as_f64()?,
        succeeded: status["phase"] == "Succeeded",
        steps: steps.filter_map(took).collect(),
    })
}

/// What people have changed since, of the workload and of its Services.
fn changes_by_people(scene: &Scene, began: Timestamp) -> Vec<crate::plane::audit::Audited> {
    let mut all = scene
        .plane
        .audit(&scene.namespaces.release)
        .expect("the audit log");
    all.retain(|it| {
        let theirs = ["rollouts", "deployments", "services"].contains(&it.resource.as_str());
        it.user == "admin" && theirs && it.is_write() && it.code < 300 && it.received >= began
    });
    all
}

/// Whether a rollback was refused for whose the spec is, and the people on call were told so.
fn is_true_call(scene: &Scene, rollback: &Value) -> bool {
    let messages = scene.slack.messages();
    let told = messages.first().is_some_and(|it| {
        it.text.contains("NOT acted on") && it.pings().contains(&crate::state::ON_CALL.to_owned())
    });
    rollback["status"]["reason"]["reason"] == "owned_elsewhere" && told
}

/// Ends all that is left of a turn, so that it takes nothing from the next one.
async fn clean(scene: &mut Scene, ready: Ready) {
    drop(ready);
    if let Some(users) = scene.users.take() {
        users.stop().await;
    }
    let deployments = format!(
        "/apis/apps/v1/namespaces/{}/deployments",
        scene.namespaces.release
    );
    for path in [scene.rollout_path(), deployments] {
        let delete = Request::delete(path).body(Vec::new());
        let delete = delete.expect("a request");
        let deleted = scene.plane.admin.client().request::<Value>(delete).await;
        deleted.expect("it is deleted");
    }
}

/// Waits until nothing runs but what is this scene's.
async fn is_alone(scene: &Scene) {
    let namespace = &scene.namespaces.release;
    let others = format!("/api/v1/pods?fieldSelector=metadata.namespace!={namespace}");
    let gone = async || {
        let pods = scene.plane.admin.get(&others).await?;
        pods["items"].as_array()?.is_empty().then_some(())
    };
    until(gone, LIMIT)
        .await
        .expect("the pods of earlier turns are gone");
}

/// Waits until no endpoint anywhere has changed for a while. What became of the pods of an earlier turn can reach them
/// seconds late.
async fn still(scene: &Scene) {
    let slices: Api<EndpointSlice> = Api::all(scene.plane.admin.client());
    // Its list is the beginning of its watch, so that nothing that comes in between is missed.
    let config = watcher::Config::default().streaming_lists();
    let mut changes = pin!(watcher::watcher(slices, config));
    let mut listed = false;
    loop {
        match timeout(REST, changes.next()).await {
            Err(_) if listed => return,
            Ok(Some(Ok(Event::Init))) => listed = false,
            Ok(Some(Ok(Event::InitDone))) => listed = true,
            Err(_) | Ok(Some(Ok(_))) => {}
            Ok(ended) => panic!("the endpoints are watched: {ended:?}"),
        }
    }
}
