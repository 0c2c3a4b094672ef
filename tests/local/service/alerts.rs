//! What notifications come to: repeated, doubled, mixed, cut off, late, many.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use ripcord::alert::{Severity, Status};
use ripcord::cluster::Caches;
use ripcord::procedure::BUILT_IN;
use ripcord::rollback::{Memory, Phase};
use ripcord::target::Target;
use serde_json::json;

use super::{ending, restored, untouched};
use crate::engine::{changes, image};
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::scene::{
    self, Answer, EMERGENCY, ERRORS, LATENCY, Scene, firing, group, resolved,
};
use crate::support::stage::{self, NAME, NAMESPACE};

const NOTHING: [&str; 0] = [];

/// An effect is expected at once.
fn at_once(target: &mut Target) {
    target.settle = Duration::ZERO;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_copies_to_two_replicas_one_starts() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.replica().await;
    scene.in_step().await;
    // It keeps running, so that no copy comes after its end.
    scene.sandbox.pause_controller();
    let (mark, group) = (scene.mark(), group(&[firing(LATENCY)]));
    let copies = (0..6).map(|copy| scene.post_to(copy % 2, &group));
    let answers = join_all(copies).await;
    let mut decisions: Vec<_> = answers.iter().map(Answer::one).collect();
    decisions.sort_unstable();
    assert_eq!(decisions.pop(), Some(("start", "claimed")));
    assert_eq!(decisions, [("join", "known"); 5]);
    let calls = scene.intake_calls(mark);
    let posts = |status: &str| {
        calls
            .iter()
            .filter(|call| **call == format!("POST {status}"))
            .count()
    };
    assert_eq!(posts("201"), 1);
    assert!(posts("409") <= 1, "{calls:?}");
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_cost_nothing() {
    let scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    scene.sandbox.pause_controller();
    let mark = scene.mark();
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    assert_eq!(scene.intake_calls(mark)[0], "POST 201");
    restored(&scene).await;
    let mark = scene.mark();
    assert_eq!(scene.send(&alert).await.one(), ("join", "known"));
    assert_eq!(scene.intake_calls(mark), NOTHING);
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    let mark = scene.mark();
    for again in [alert, firing(LATENCY), firing(ERRORS)] {
        assert_eq!(scene.send(&again).await.one(), ("decline", "duplicate"));
    }
    assert_eq!(scene.intake_calls(mark), NOTHING);
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_recorded_once_and_a_late_copy_starts_nothing() {
    let scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    let name = scene.done().await.name().to_owned();
    let (mark, end) = (scene.mark(), resolved(&alert));
    assert_eq!(scene.send(&end).await.one(), ("note", "resolved_recorded"));
    assert_eq!(scene.intake_calls(mark), ["PATCH 200"]);
    let kept = scene.until(|r| r.name() == name && r.all_ended()).await;
    assert_eq!(kept.record(&alert.episode()).unwrap().ended, end.ends_at);
    let mark = scene.mark();
    assert_eq!(scene.send(&end).await.one(), ("note", "resolved_recorded"));
    assert_eq!(scene.send(&alert).await.one(), ("decline", "late_copy"));
    let stranger = resolved(&firing("SomebodyElses"));
    assert_eq!(
        scene.send(&stranger).await.one(),
        ("decline", "resolved_unknown")
    );
    assert_eq!(scene.intake_calls(mark), NOTHING);
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

/// Its watches of rollbacks and of memories tell nothing, while that of workloads does: as in a process that was frozen.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_looks_before_it_claims_and_before_it_forgets_an_end() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.through_a_proxy().await;
    scene.proxy().on(|seen| {
        let watches = seen.query.contains("watch=");
        let late = seen.path.ends_with("/rollbacks") || seen.path.ends_with("/targets");
        if watches && late {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
    let alert = firing(LATENCY);
    assert_eq!(
        scene
            .post_to(0, &group(std::slice::from_ref(&alert)))
            .await
            .one(),
        ("start", "claimed")
    );
    let name = scene.done().await.name().to_owned();
    let hash = crate::engine::live(&scene.sandbox).hash;
    let late = &scene.replicas[1].caches;
    let target = scene.target();
    knows(late, || {
        let seen = late.rollout(&target);
        seen.is_some_and(|it| it.rollout.current == hash)
    })
    .await;
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

/// It decides before its watches of rollbacks and of memories tell of one, and they tell before it has looked.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hears_of_a_rollback_after_it_decided_claims_no_second_one() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.through_a_proxy().await;
    let late = |seen: &Seen| {
        let late = seen.path.ends_with("/rollbacks") || seen.path.ends_with("/targets");
        seen.query.contains("watch=") && late
    };
    scene.proxy().on(move |seen| {
        if late(seen) {
            Act::Before(Fault::Answer(503))
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
    let first = group(&[firing(LATENCY)]);
    assert_eq!(scene.post_to(0, &first).await.one(), ("start", "claimed"));
    let name = scene.done().await.name().to_owned();
    let (caches, target) = (&scene.replicas[1].caches, scene.target());
    let hash = crate::engine::live(&scene.sandbox).hash;
    knows(caches, || {
        let seen = caches.rollout(&target);
        seen.is_some_and(|it| it.rollout.current == hash)
    })
    .await;
    assert!(caches.rollbacks.all().is_empty(), "it has not heard of it");
    let memory = format!("/targets/{NAME}");
    scene.proxy().on(move |seen| {
        if seen.path.ends_with(&memory) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    let hears = async {
        assert!(scene.proxy().held(stage::LIMIT).await, "it looks");
        knows(caches, || {
            let memory = caches.memory(&target);
            let known = caches.rollbacks.get(NAMESPACE, &name);
            known.is_some() && memory.is_some_and(|it| !it.state().made.is_empty())
        })
        .await;
        scene.proxy().release();
    };
    let again = group(&[firing(LATENCY)]);
    let (answer, ()) = tokio::join!(scene.post_to(1, &again), hears);
    assert_eq!(answer.one(), ("decline", "duplicate"));
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

/// Waits until a replica's caches know this.
async fn knows(caches: &Caches, known: impl Fn() -> bool) {
    let mut changes = caches.changes();
    let waiting = async {
        while !known() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(stage::LIMIT, waiting).await.unwrap();
}

/// Its watch of workloads tells nothing, while those of rollbacks and of memories do.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_not_seen_what_a_rollback_made_claims_no_second_one() {
    let mut scene = Scene::incident(scene::policy()).await;
    scene.through_a_proxy().await;
    scene.proxy().on(|seen| {
        if seen.query.contains("watch=") && seen.path.ends_with("/rollouts") {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.replica().await;
    let bad = crate::engine::live(&scene.sandbox).hash;
    let first = group(&[firing(LATENCY)]);
    assert_eq!(scene.post_to(0, &first).await.one(), ("start", "claimed"));
    let name = scene.done().await.name().to_owned();
    let restored = crate::engine::live(&scene.sandbox).hash;
    let (late, target) = (&scene.replicas[1].caches, scene.target());
    let current = || late.rollout(&target).unwrap().rollout.current.clone();
    let ended = || {
        let known = late.rollbacks.get(NAMESPACE, &name);
        let free = |memory: &Memory| memory.state().active.is_none();
        known.is_some_and(|it| it.phase() == Phase::Succeeded)
            && late.memory(&target).is_some_and(|it| free(&it))
    };
    knows(late, ended).await;
    assert_eq!(current(), bad, "of the workload it has heard nothing");
    let again = group(&[firing(LATENCY)]);
    let answer = scene.post_to(1, &again).await;
    assert_eq!(answer.decisions(), [("wait", "not_ready")]);
    assert_eq!(answer.status, 503, "Alertmanager comes back");
    scene.proxy().on(|_| Act::Forward);
    scene.proxy().release();
    knows(late, || current() == restored).await;
    assert_eq!(
        scene.post_to(1, &again).await.one(),
        ("decline", "duplicate")
    );
    assert_eq!(scene.only().name(), name);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_ends_before_the_start_starts_nothing() {
    let scene = unled(scene::policy()).await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    assert_eq!(
        scene.send(&resolved(&alert)).await.one(),
        ("note", "resolved_recorded")
    );
    // A copy of the firing that was on its way does not open it again.
    assert_eq!(scene.send(&alert).await.one(), ("decline", "late_copy"));
    scene.somebody_may_lead().await;
    assert_eq!(
        ending(&scene.done().await),
        (Phase::Declined, "resolved_before_start")
    );
    untouched(&scene.sandbox);
    scene.close().await;
}

/// A bad canary, and one replica that only listens: nobody leads.
async fn unled(policy: ripcord::policy::Policy) -> Scene {
    let mut scene = Scene::empty(policy).await;
    stage::good_release(&scene.sandbox).await;
    stage::bad_canary(&scene.sandbox).await;
    scene.nobody_leads();
    scene.through_a_proxy().await;
    scene.replica().await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_alerts_at_once_the_most_severe_decides() {
    let scene = Scene::incident(scene::policy()).await;
    let answer = scene.send_all(&[firing(LATENCY), firing(ERRORS)]).await;
    assert_eq!(answer.decisions(), [("start", "claimed"); 2]);
    let done = scene.done().await;
    let state = done.state();
    let plan = state.plan.as_ref().unwrap();
    assert_eq!(
        (plan.severity, plan.procedure.as_str()),
        (Severity::P0, EMERGENCY)
    );
    assert_eq!(
        (done.spec.severity, done.spec.alerts.len()),
        (Severity::P0, 2)
    );
    assert_eq!(state.phase, Phase::Succeeded);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_severe_alert_that_comes_second_still_decides_the_plan() {
    let scene = unled(scene::policy()).await;
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    let (mark, severe) = (scene.mark(), firing(ERRORS));
    assert_eq!(scene.send(&severe).await.one(), ("join", "joined"));
    assert_eq!(scene.send(&severe).await.one(), ("join", "known"));
    assert_eq!(scene.intake_calls(mark), ["PATCH 200"]);
    let waiting = scene.only();
    assert_eq!(
        (waiting.phase(), waiting.spec.severity),
        (Phase::Pending, Severity::P1)
    );
    scene.somebody_may_lead().await;
    let done = scene.done().await;
    let state = done.state();
    let plan = state.plan.as_ref().unwrap();
    assert_eq!(
        (plan.severity, plan.procedure.as_str()),
        (Severity::P0, EMERGENCY)
    );
    assert_eq!(state.phase, Phase::Succeeded);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_severe_alert_that_comes_while_the_plan_is_written_makes_it_anew() {
    let scene = unled(scene::policy()).await;
    scene.send(&firing(LATENCY)).await;
    let name = scene.only().name().to_owned();
    // The first try to write the plan is refused; the leader tries again a moment later.
    let mark = scene.proxy().seen().len();
    scene.proxy().fail_next(Method::PATCH, &name, 500);
    scene.somebody_may_lead().await;
    let refused = || {
        let mut since = scene.proxy().seen().into_iter().skip(mark);
        since.any(|call| call.method == Method::PATCH && call.path.contains(&name))
    };
    scene.until_called(refused).await;
    let severe = group(&[firing(ERRORS)]);
    assert_eq!(scene.post_to(0, &severe).await.one(), ("join", "joined"));
    let done = scene.done().await;
    let plan = done.state().plan.clone().unwrap();
    assert_eq!(
        (plan.severity, plan.procedure.as_str()),
        (Severity::P0, EMERGENCY)
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_fires_on_latches_until_a_person_has_seen_it() {
    let scene = Scene::incident(scene::policy_with(at_once)).await;
    let alert = firing(LATENCY);
    scene.send(&alert).await;
    let name = scene.done().await.name().to_owned();
    let mark = scene.mark();
    assert_eq!(scene.send(&alert).await.one(), ("decline", "still_firing"));
    assert_eq!(scene.intake_calls(mark), ["PATCH 200"]);
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(
        memory.latch().unwrap().finding.reason.code(),
        "still_firing"
    );
    let mark = scene.mark();
    for again in [alert.clone(), firing(ERRORS)] {
        assert_eq!(scene.send(&again).await.one(), ("decline", "latched"));
    }
    // Not even another bad release is pulled back before a person has looked.
    scene
        .sandbox
        .deploy(stage::NAMESPACE, NAME, "demo:v3-half500")
        .unwrap();
    scene
        .until_workload(|object| object["status"]["phase"] == "Paused")
        .await;
    assert_eq!(scene.intake_calls(mark), NOTHING);
    assert_eq!(scene.send(&alert).await.one(), ("decline", "latched"));
    let refused = scene.until(|r| r.name() != name && r.phase().ended()).await;
    assert_eq!(ending(&refused), (Phase::Declined, "latched"));
    let seen = json!({"spec": {"acknowledge": name}});
    assert_eq!(
        scene
            .person(reqwest::Method::PATCH, "targets/api", seen)
            .await
            .0,
        200
    );
    let answer = scene.send(&alert).await;
    assert_eq!(answer.one(), ("start", "claimed"));
    let second = format!("{}-2", refused.name());
    let done = scene.ended(&second).await;
    assert_eq!(ending(&done), (Phase::Succeeded, "done"));
    assert_eq!(done.spec.parent.as_deref(), Some(refused.name()));
    assert_eq!(image(&scene.sandbox), "demo:v1-good");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ripcord_restored_is_never_pulled_back() {
    let scene = Scene::incident(scene::policy_with(at_once)).await;
    scene.send(&firing(LATENCY)).await;
    let name = scene.done().await.name().to_owned();
    let later = firing(ERRORS);
    assert_eq!(
        scene.send(&later).await.one(),
        ("decline", "release_is_ours")
    );
    let memory = scene.until_memory(|memory| memory.latch().is_some()).await;
    assert_eq!(memory.latch().unwrap().rollback, name);
    assert_eq!(scene.send(&later).await.one(), ("decline", "latched"));
    assert_eq!(scene.only().name(), name);
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_of_a_group_is_judged_for_itself() {
    let scene = Scene::incident(scene::policy()).await;
    let (ended, fires) = (resolved(&firing(ERRORS)), firing(LATENCY));
    // What Alertmanager says of the whole is worth nothing once it cut something off.
    let mut cut = group(&[ended.clone(), fires.clone()]);
    cut.status = Some(Status::Resolved);
    cut.truncated_alerts = 7;
    let answer = scene.post(&cut).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.decisions(),
        [("decline", "resolved_unknown"), ("start", "claimed")]
    );
    let done = scene.done().await;
    assert_eq!(done.spec.severity, Severity::P1);
    assert_eq!(done.state().plan.as_ref().unwrap().procedure, BUILT_IN);
    // A group that fires as a whole holds the end of one alert, and one that nobody asked for.
    let answer = scene
        .send_all(&[resolved(&fires), firing(ERRORS), firing("Unknown")])
        .await;
    let wanted = [
        ("note", "resolved_recorded"),
        ("decline", "duplicate"),
        ("decline", "no_trigger"),
    ];
    assert_eq!(answer.decisions(), wanted);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_alerts_make_one_rollback() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    let alerts = |name: &str| -> Vec<_> {
        let pod = |number: i32| scene::labelled(name, &[("pod", &number.to_string())]);
        (0..1000).map(pod).collect()
    };
    let (mark, all) = (scene.mark(), alerts(LATENCY));
    let answer = scene.send_all(&all).await;
    assert!(answer.all(1000, ("start", "claimed")));
    let posts = scene
        .intake_calls(mark)
        .into_iter()
        .filter(|call| call.starts_with("POST"));
    assert_eq!(posts.collect::<Vec<_>>(), ["POST 201"]);
    let claimed = scene.only();
    assert_eq!(
        (claimed.spec.alerts.len(), claimed.spec.alerts_omitted),
        (50, 950)
    );
    restored(&scene).await;
    let mark = scene.mark();
    assert!(scene.send_all(&all).await.all(1000, ("join", "known")));
    let unknown = scene.send_all(&alerts("Unknown")).await;
    assert!(unknown.all(1000, ("decline", "no_trigger")));
    assert_eq!(scene.intake_calls(mark), NOTHING);
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    scene.close().await;
}
