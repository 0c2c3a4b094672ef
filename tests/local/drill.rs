//! `ripcord drill --execute` against the whole service on the sandbox: what is shipped is taken back, nothing is held against
//! anybody, and what is left is said.

use std::fs;
use std::process::{Output, Stdio};

use ripcord::policy::Policy;
use ripcord::rollback::Phase;
use ripcord::target::Drills;
use ripcord::target::drill::MARK;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, ERRORS, Scene, firing};
use crate::support::stage::{self, NAME, NAMESPACE};
use crate::support::wait::until;

/// The policy of these scenes, as people write it.
const POLICY: &str = r#"
targets:
  api:
    workload: { rollout: api, namespace: shop }
    health: { path: /health/pinn, port: 8000, pointer: /overall_status, equals: healthy }
    min_soak: 1s
    drill: allowed
triggers:
  - { name: errorshigh, match: ['alertname="ErrorsHigh"'], target: api, severity: P0, mode: act }
"#;

/// A command in a folder of its own.
struct Typed {
    child: Child,
    _folder: tempfile::TempDir,
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The service's policy allows drills.
fn allowing() -> Policy {
    scene::policy_with(|target| target.drills = Drills::Allowed)
}

fn types(scene: &Scene, policy: &str, words: &[&str]) -> Typed {
    types_by(&scene.sandbox.kubeconfig(), policy, words)
}

fn types_by(kubeconfig: &str, policy: &str, words: &[&str]) -> Typed {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let child = Command::new(env!("CARGO_BIN_EXE_ripcord"))
        .args(words)
        .arg("--policy")
        .arg(file("rollbacks.yaml", policy))
        .arg("--kubeconfig")
        .arg(file("kubeconfig", kubeconfig))
        .env_clear()
        .env("USER", "jo")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Typed {
        child,
        _folder: folder,
    }
}

impl Typed {
    async fn ends(self) -> Ended {
        let output: Output = self.child.wait_with_output().await.unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn interrupt(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await;
        assert!(sent.unwrap().success());
    }
}

async fn drill(scene: &Scene, words: &[&str]) -> Ended {
    let words = [&["drill", "--target", NAME], words].concat();
    types(scene, POLICY, &words).ends().await
}

fn mark(scene: &Scene) -> Option<String> {
    let rollout = scene.sandbox.object("rollouts", NAMESPACE, NAME)?;
    let annotations = &rollout["spec"]["template"]["metadata"]["annotations"];
    annotations[MARK].as_str().map(str::to_owned)
}

/// Writes of a workload that had an effect.
fn writes(scene: &Scene) -> usize {
    let all = scene.sandbox.requests();
    let made = all.iter().filter(|it| {
        it.path.contains("/rollouts/") && it.method != "GET" && !it.query.contains_key("dryRun")
    });
    made.count()
}

/// The check of doctor of this name, as verdict and what was found.
async fn doctor(scene: &Scene, name: &str) -> Option<(String, String)> {
    let typed = types(scene, POLICY, &["doctor", "--output", "json"]);
    let ended = typed.ends().await;
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let sections = report["sections"].as_array().unwrap().iter();
    let mut checks = sections.flat_map(|it| it["checks"].as_array().unwrap());
    let found = checks.find(|it| it["name"] == name)?;
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    Some((text("verdict"), text("found")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drill_ships_is_taken_back_and_nothing_is_held_against_it() {
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C0OPS1");
    let mut scene = Scene::empty(allowing()).await;
    scene.slack = Some(slack.url());
    scene.opens().await;
    let before = scene.until_memory(|_| true).await.state().into_owned();
    let never = doctor(&scene, "last good drill").await.unwrap();
    assert_eq!(never, ("warning".into(), "it was never drilled".into()));

    let ended = drill(&scene, &["--execute"]).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    for words in [
        "marked ",
        "waits at a pause",
        "asked for  shop/api-drill-",
        "drill · api is back: r2 → r1",
        "ok  ",
        "is live as before; first change after",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    assert_eq!(mark(&scene), None);
    let rollbacks = scene.rollbacks();
    assert_eq!(rollbacks.len(), 1);
    let done = &rollbacks[0];
    assert_eq!(done.phase(), Phase::Succeeded);
    assert!(done.spec.drill);

    let after = scene
        .until_memory(|memory| {
            let state = memory.state();
            state.live.as_ref().is_some_and(|live| live.revision == 3) && state.active.is_none()
        })
        .await
        .state()
        .into_owned();
    let last = after.drill.clone().unwrap();
    assert!(last.ok && last.rollback == done.name(), "{last:?}");
    let seconds = last.seconds;
    assert!(
        seconds.first_change <= seconds.traffic_back && seconds.traffic_back <= seconds.healthy
    );
    assert_eq!(after.blamed, []);
    assert_eq!(after.made, []);
    assert_eq!(after.latch, None);
    assert_eq!(after.shown.last, before.shown.last);
    let age = |state: &ripcord::rollback::MemoryStatus| {
        let live = state.live.clone().unwrap();
        (live.hash, live.changed, live.promoted)
    };
    assert_eq!(age(&after), age(&before), "nothing is new");
    assert_eq!(after.history.len(), 1);
    assert_eq!(after.history[0].since, before.history[0].since);

    let (verdict, found) = doctor(&scene, "last good drill").await.unwrap();
    assert_eq!(verdict, "ok", "{found}");
    let told = until(
        async || {
            let messages = slack.messages();
            let ended = messages
                .iter()
                .any(|it| it.text.contains("drill · api is back"));
            ended.then_some(messages)
        },
        stage::LIMIT,
    );
    let told = told.await.expect("Slack is told");
    assert!(
        told.iter().all(|it| !it.text.contains("you are needed")),
        "{told:#?}"
    );
    // It can be drilled again.
    let again = drill(&scene, &["--execute", "--output", "json"]).await;
    assert_eq!(again.code, Some(0), "{}{}", again.out, again.err);
    let last: Value = serde_json::from_str(again.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["drill"]["ok"], true, "{last:#}");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_refused_touches_nothing() {
    let scene = Scene::open(allowing()).await;
    let refused = async |policy: &str, code: &str| {
        let words = ["drill", "--execute", "--target", NAME];
        let ended = types(&scene, policy, &words).ends().await;
        assert_eq!(ended.code, Some(11), "{}{}", ended.out, ended.err);
        assert!(ended.err.contains(code), "{code}: {}", ended.err);
    };
    refused(
        &POLICY.replace("    drill: allowed\n", ""),
        "drill_not_allowed",
    )
    .await;
    scene.hold(Some("jo: freeze"));
    refused(POLICY, "held: jo: freeze").await;
    scene.hold(None);
    let nothing = drill(&scene, &["--put-back"]).await;
    assert_eq!(nothing.code, Some(11));
    assert!(nothing.err.contains("no_drill"), "{}", nothing.err);
    assert_eq!(writes(&scene), 0);
    stage::bad_canary(&scene.sandbox).await;
    scene.in_step().await;
    refused(POLICY, "not_at_rest: an update is in flight").await;
    assert_eq!(mark(&scene), None);
    assert!(scene.rollbacks().is_empty());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_mark_it_is_told_whether_a_right_or_a_rule_is_in_the_way() {
    let mut scene = Scene::empty(allowing()).await;
    scene.through_a_proxy().await;
    scene.opens().await;
    scene.workload_is_kept_as_it_is();
    let words = ["drill", "--execute", "--target", NAME];
    let refused = types_by(&scene.kubeconfig(), POLICY, &words).ends().await;
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    for said in [
        "cannot be marked: forbidden",
        "nothing was touched",
        "policy",
    ] {
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    assert!(
        !refused.err.contains("you need the right"),
        "{}",
        refused.err
    );
    assert_eq!(mark(&scene), None);
    assert!(scene.rollbacks().is_empty());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_policy_does_not_allow_it_is_asked_for_nothing() {
    let scene = Scene::open(scene::policy()).await;
    let refused = drill(&scene, &["--execute"]).await;
    assert_eq!(refused.code, Some(11), "{}{}", refused.out, refused.err);
    assert!(
        refused.err.contains("does it run this policy?"),
        "{}",
        refused.err
    );
    assert_eq!(writes(&scene), 0);
    scene.close().await;
}

/// A drill that a person broke off before the controller looked; it is a canary now.
async fn left_behind() -> Scene {
    let scene = Scene::open(allowing()).await;
    scene.sandbox.pause_controller();
    let words = ["drill", "--execute", "--target", NAME];
    let typed = types(&scene, POLICY, &words);
    let marked = async || mark(&scene);
    let id = until(marked, stage::LIMIT).await.expect("it is marked");
    typed.interrupt().await;
    let ended = typed.ends().await;
    assert_eq!(ended.code, Some(16), "{}{}", ended.out, ended.err);
    for words in [
        "it was interrupted",
        &format!("bears {MARK}={id}"),
        "ripcord drill --put-back --target api",
        "kubectl patch rollout.argoproj.io api -n shop --type json -p",
    ] {
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
    }
    scene.sandbox.resume_controller();
    scene
        .until_workload(|object| object["status"]["phase"] == "Paused")
        .await;
    scene
        .until_memory(|memory| {
            let state = memory.state();
            state.live.as_ref().is_some_and(|live| live.revision == 2)
        })
        .await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_off_drill_left_is_said_found_and_put_back() {
    let scene = left_behind().await;
    let (verdict, found) = doctor(&scene, "drill's mark").await.unwrap();
    assert_eq!(verdict, "failed", "{found}");
    let refused = drill(&scene, &["--execute"]).await;
    assert_eq!(refused.code, Some(11));
    assert!(
        refused.err.contains("was not taken back"),
        "{}",
        refused.err
    );
    let back = drill(&scene, &["--put-back"]).await;
    assert_eq!(back.code, Some(0), "{}{}", back.out, back.err);
    assert_eq!(mark(&scene), None);
    assert_eq!(doctor(&scene, "drill's mark").await, None);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_on_what_a_drill_left_is_about_the_release_that_it_was_made_of() {
    let scene = left_behind().await;
    // There is nothing before that one: it is not "pulled back" to itself, although a canary is in flight.
    let answer = scene.send(&firing(ERRORS)).await;
    assert_eq!(answer.one().0, "start");
    let rollbacks = scene.until(|rollback| rollback.phase().ended()).await;
    let reason = rollbacks.state().reason.clone().unwrap();
    assert_eq!(reason.reason.code(), "no_destination", "{reason}");
    assert_eq!(writes(&scene), 1, "the mark alone");
    // What was told to people is over, and the drill's way back is still open.
    let back = drill(&scene, &["--put-back"]).await;
    assert_eq!(back.code, Some(0), "{}{}", back.out, back.err);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_no_drill_made_is_not_taken_back_as_one() {
    let scene = Scene::incident(allowing()).await;
    scene.in_step().await;
    let live = scene
        .until_memory(|memory| memory.state().live.is_some())
        .await;
    let live = live.state().live.clone().unwrap();
    let request = serde_json::json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback", "metadata": { "name": "sly" },
        "spec": {
            "target": NAME, "drill": true, "requestedBy": "jo",
            "release": { "uid": live.uid, "revision": live.revision, "hash": live.hash },
        },
    });
    let made = scene.person(reqwest::Method::POST, "rollbacks", request);
    assert_eq!(made.await.0, 201);
    let ended = scene.ended("sly").await;
    assert_eq!(ended.phase(), Phase::Declined);
    assert_eq!(
        ended.state().reason.clone().unwrap().reason.code(),
        "no_drill"
    );
    assert_eq!(writes(&scene), 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_whose_release_is_gone_gives_way_to_an_alert() {
    // What comes back is not healthy, so that the drill waits.
    let mut scene = Scene::empty(allowing()).await;
    stage::first_release(&scene.sandbox, "demo:v1-unhealthy");
    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    let marked = serde_json::json!({ MARK: "d1" });
    let template = serde_json::json!({ "metadata": { "annotations": marked } });
    scene
        .patch_workload("", serde_json::json!({ "spec": { "template": template } }))
        .await;
    let memory = scene
        .until_memory(|memory| memory.state().drilled.len() == 1)
        .await;
    let live = memory.state().live.clone().unwrap();
    let request = serde_json::json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback", "metadata": { "name": "drill" },
        "spec": {
            "target": NAME, "drill": true, "requestedBy": "jo",
            "release": { "uid": live.uid, "revision": live.revision, "hash": live.hash },
        },
    });
    let made = scene.person(reqwest::Method::POST, "rollbacks", request);
    assert_eq!(made.await.0, 201);
    let waits = scene.until(|rollback| {
        let state = rollback.state();
        let step = state.run.steps.get(1);
        let seen = step.and_then(|step| step.observed.as_ref());
        seen.is_some_and(|seen| seen.reason.code() == "unhealthy")
    });
    waits.await;
    let answer = scene.send(&firing(ERRORS)).await;
    assert_eq!(answer.one().0, "start", "it does not join the drill");
    let drill = scene.ended("drill").await;
    assert_eq!(drill.phase(), Phase::Superseded);
    assert_eq!(
        drill.state().reason.clone().unwrap().reason.code(),
        "real_alert"
    );
    let declined = scene
        .until(|rollback| !rollback.spec.drill && rollback.phase().ended())
        .await;
    assert_eq!(
        declined.state().reason.clone().unwrap().reason.code(),
        "no_destination",
        "the alert is about what serves, and nothing is older"
    );
    let memory = scene
        .until_memory(|memory| memory.state().active.is_none())
        .await;
    let state = memory.state();
    assert!(state.drill.is_none(), "one that gave way shows nothing");
    assert!(state.blamed.is_empty() && state.latch.is_none());
    scene.close().await;
}
