//! What notifications come to: repeated, doubled, mixed, cut off, late, many.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use ripcord::alert::{Severity, Status};
use ripcord::procedure::BUILT_IN;
use ripcord::rollback::Phase;
use ripcord::target::Target;
use serde_json::json;

use super::{ending, restored, untouched};
use crate::engine::{changes, image};
use crate::support::stage::scene::{
    self, Answer, EMERGENCY, ERRORS, LATENCY, Scene, firing, group, resolved,
};
use crate::support::stage::{self, NAME};

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
