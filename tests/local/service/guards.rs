//! What keeps a rollback from starting: holds, shadow mode, no cause, nowhere to go, no permission.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Method;
use ripcord::alert::Alert;
use ripcord::cluster::clock;
use ripcord::policy::guard::Hold;
use ripcord::rollback::Phase;
use serde_json::json;

use super::{ending, restored, said, untouched};
use crate::engine::{changes, image, live, promote};
use crate::support::proxy::{Act, Fault};
use crate::support::stage::scene::{self, COLD, LATENCY, Scene, firing, group, labelled, resolved};
use crate::support::stage::{self, NAME};
use crate::support::wait::until;

/// The alert is refused, the refusal is on record, and asking again costs nothing.
async fn refused(scene: &Scene, alert: &Alert, reason: &str) -> ripcord::rollback::Rollback {
    let done = scene.done().await;
    assert_eq!(ending(&done), (Phase::Declined, reason), "{}", said(&done));
    let mark = scene.mark();
    assert_eq!(scene.send(alert).await.one(), ("decline", reason));
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    untouched(&scene.sandbox);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_told_and_its_end_lets_the_next_repeat_start() {
    let scene = Scene::incident(scene::policy()).await;
    scene.hold(Some("jo: freeze"));
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("decline", "held"));
    let first = refused(&scene, &alert, "held").await;
    assert_eq!(said(&first), "held: jo: freeze");
    scene.hold(None);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    let second = scene.ended(&format!("{}-2", first.name())).await;
    assert_eq!(ending(&second), (Phase::Succeeded, "done"));
    assert_eq!(second.spec.parent.as_deref(), Some(first.name()));
    scene.close().await;
}

/// A bad canary whose rollback is stopped just before its first change, while the release is being blamed.
async fn about_to_change() -> (Scene, Alert) {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.proxy().on(|seen| {
        let status = seen.path.contains("/targets/") && seen.path.ends_with("/status");
        if status && String::from_utf8_lossy(&seen.body).contains("\"blamed\":[{") {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    assert!(
        scene.proxy().held(stage::LIMIT).await,
        "it is about to change"
    );
    (scene, alert)
}

/// It ends like this, nothing was touched, and nobody is blamed.
async fn let_be(scene: Scene, how: (Phase, &'static str)) {
    scene.proxy().release();
    let done = scene.done().await;
    assert_eq!(ending(&done), how, "{}", said(&done));
    untouched(&scene.sandbox);
    assert!(!done.touched(), "and it does not count as if it had");
    scene
        .until_memory(|memory| memory.state().blamed.is_empty())
        .await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_asked_for_until_the_first_change() {
    let (scene, _) = about_to_change().await;
    scene.hold(Some("jo: freeze"));
    let_be(scene, (Phase::Declined, "held")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_every_alert_counts_until_the_first_change() {
    let (scene, alert) = about_to_change().await;
    let end = scene.post_to(0, &group(&[resolved(&alert)])).await;
    assert_eq!(end.one(), ("note", "resolved_recorded"));
    scene.until(ripcord::rollback::Rollback::all_ended).await;
    let_be(scene, (Phase::Declined, "resolved_before_start")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_read_holds_until_it_can() {
    let scene = Scene::incident(scene::policy()).await;
    shows(&scene, "ripcord_hold_unreadable 0").await;
    scene.lose_hold().await;
    shows(&scene, "ripcord_hold_unreadable 1").await;
    shows(&scene, "ripcord_hold 0").await;
    let alert = firing(LATENCY);
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "hold_unreadable")
    );
    assert_eq!(
        scene.replicas[0].caches.hold(),
        Hold::Unreadable("ConfigMap ripcord/ripcord-hold: it does not exist".into())
    );
    let told = refused(&scene, &alert, "hold_unreadable").await;
    assert!(
        said(&told).contains("ripcord/ripcord-hold"),
        "{}",
        said(&told)
    );
    scene.hold(Some("jo: freeze"));
    shows(&scene, "ripcord_hold_unreadable 0").await;
    shows(&scene, "ripcord_hold 1").await;
    scene.hold(None);
    shows(&scene, "ripcord_hold 0").await;
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    scene.until(|r| r.phase() == Phase::Succeeded).await;
    scene.close().await;
}

/// On one thread, which alone logs to the file.
#[tokio::test]
async fn a_hold_that_does_not_exist_is_warned_of_once() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let lines = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::sync::Arc::new(log.reopen().unwrap()))
        .finish();
    // With one alone, what another thread logs first would be decided by that thread, which logs nowhere.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let guard = tracing::subscriber::set_default(lines);
    let mut scene = Scene::empty(scene::policy()).await;
    stage::good_release(&scene.sandbox).await;
    scene.replica().await;
    let warned = || {
        let text = std::fs::read_to_string(log.path()).unwrap();
        let warnings = text.lines().filter(|line| line.contains("WARN"));
        warnings
            .filter(|line| line.contains("there is no ConfigMap for the hold"))
            .filter(|line| line.contains("ripcord-hold"))
            .count()
    };
    assert_eq!(warned(), 0);
    scene.lose_hold().await;
    let told = async {
        while warned() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), told)
        .await
        .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(log.path()).unwrap()));
    // Whatever else changes is no news about the hold.
    scene.send(&firing(LATENCY)).await;
    assert_eq!(warned(), 1);
    drop(guard);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_no_rollback_that_runs() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.pause_controller();
    scene.send(&firing(LATENCY)).await;
    restored(&scene).await;
    scene.hold(Some("jo: too late"));
    scene.in_step().await;
    scene.sandbox.resume_controller();
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_target_is_held_until_its_time_is_over() {
    let scene = Scene::incident(scene::policy()).await;
    let hold = |minutes| {
        let until = clock::system()() + SignedDuration::from_mins(minutes);
        json!({"spec": {"hold": {"owner": "jo", "reason": "load test", "until": until}}})
    };
    assert_eq!(
        scene.person(Method::PATCH, "targets/api", hold(5)).await.0,
        200
    );
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("decline", "target_held"));
    let first = refused(&scene, &alert, "target_held").await;
    assert_eq!(said(&first), "held by jo: load test");
    shows_hold(&scene, "1").await;
    assert_eq!(
        scene.person(Method::PATCH, "targets/api", hold(-1)).await.0,
        200
    );
    shows_hold(&scene, "0").await;
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    scene.until(|r| r.phase() == Phase::Succeeded).await;
    scene.close().await;
}

/// Waits until the metric of a target that is held has this value.
async fn shows_hold(scene: &Scene, value: &str) {
    let series = format!("ripcord_target_held{{target=\"{NAME}\"}} {value}");
    shows(scene, &series).await;
}

/// Waits until the metrics have this line.
async fn shows(scene: &Scene, line: &str) {
    let line = format!("\n{line}\n");
    let shown = async {
        while !scene.replicas[0].metrics.encode().contains(&line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let shown = tokio::time::timeout(stage::LIMIT, shown).await;
    assert!(shown.is_ok(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_plans_and_touches_nothing_and_blocks_nothing() {
    let scene = Scene::incident(scene::policy()).await;
    let alert = firing(COLD);
    assert_eq!(scene.send(&alert).await.one(), ("shadow", "shadow"));
    let shadow = scene.done().await;
    assert_eq!(ending(&shadow), (Phase::Shadowed, "shadow"));
    assert!(shadow.name().ends_with("-shadow"), "{}", shadow.name());
    let plan = shadow.state().plan.clone().unwrap();
    assert_eq!((plan.from.revision, plan.to.revision), (2, 1));
    let mark = scene.mark();
    assert_eq!(scene.send(&alert).await.one(), ("decline", "shadow"));
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    untouched(&scene.sandbox);
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    scene.until(|r| r.phase() == Phase::Succeeded).await;
    assert_eq!(changes(&scene.sandbox), [NAME]);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_release_that_is_known_to_be_good_nothing_is_touched() {
    let mut scene = Scene::empty(scene::policy()).await;
    stage::good_release(&scene.sandbox).await;
    stage::bad_canary(&scene.sandbox).await;
    promote(&scene.sandbox).await;
    // It has never seen another release stable than the bad one.
    scene.replica().await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    refused(&scene, &alert, "no_destination").await;
    assert_eq!(image(&scene.sandbox), "demo:v2-half500");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_has_nowhere_to_go() {
    let scene = Scene::open(scene::policy()).await;
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    refused(&scene, &alert, "no_destination").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_and_nothing_is_touched() {
    let mut scene = Scene::empty(scene::policy()).await;
    scene.sandbox.deny("patch", "argoproj.io", "rollouts", "");
    scene.opens().await;
    stage::bad_canary(&scene.sandbox).await;
    let done = lacks_a_right(&scene).await;
    assert!(done.state().plan.is_none());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_was_there_a_moment_ago_is_named_and_nothing_is_touched() {
    let scene = Scene::incident(scene::policy()).await;
    let asked = async || {
        let requests = scene.sandbox.requests().into_iter();
        let asked = requests.filter(|it| it.path.ends_with("/selfsubjectaccessreviews"));
        (asked.count() >= 9).then_some(())
    };
    let asked = until(asked, stage::LIMIT).await;
    asked.expect("it has asked for its rights");
    scene.sandbox.deny("patch", "argoproj.io", "rollouts", "");
    let done = lacks_a_right(&scene).await;
    assert!(!done.touched());
    scene
        .until_memory(|memory| memory.state().blamed.is_empty())
        .await;
    scene.close().await;
}

/// Declined, because the Rollout may not be written.
async fn lacks_a_right(scene: &Scene) -> ripcord::rollback::Rollback {
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    let done = refused(scene, &alert, "permission_missing").await;
    assert_eq!(
        said(&done),
        "the service account may not patch rollouts.argoproj.io in shop"
    );
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_older_than_the_window_is_not_the_cause() {
    let scene = Scene::incident(scene::policy_with(|target| {
        target.change_window = Duration::ZERO;
    }))
    .await;
    promote(&scene.sandbox).await;
    scene
        .until_memory(|memory| memory.state().history.len() == 2)
        .await;
    let alert = firing(LATENCY);
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "no_recent_change")
    );
    refused(&scene, &alert, "no_recent_change").await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_about_the_good_release_is_not_about_the_bad_one() {
    let scene = Scene::open(scene::policy()).await;
    let good = live(&scene.sandbox).hash;
    stage::bad_canary(&scene.sandbox).await;
    let about = |hash: &str| labelled(LATENCY, &[("rollouts_pod_template_hash", hash)]);
    let alert = about(&good);
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "not_this_release")
    );
    refused(&scene, &alert, "not_this_release").await;
    let bad = live(&scene.sandbox).hash;
    assert_eq!(scene.send(&about(&bad)).await.one(), ("start", "claimed"));
    scene.until(|r| r.phase() == Phase::Succeeded).await;
    scene.close().await;
}
