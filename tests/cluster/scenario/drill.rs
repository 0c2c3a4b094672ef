//! `ripcord drill` on a real API server: each change is tried and taken back, and what is told is what is then done. With
//! `--execute`, a release is shipped and pulled back, and nothing is held against it.

use std::fs;

use jiff::Timestamp;
use ripcord::target::drill::MARK;
use serde_json::{Value, json};

use super::blue_green;
use super::doctor::{found, is};
use crate::scene::blue_green::strategy;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;
use crate::typed::{self, Ended};

const DRILL: &str = "what a rollback would do";

/// An update in flight: one change is tried.
pub(crate) async fn in_flight() {
    let mut scene = Scene::start("drill, in flight").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let told = drilled(&scene, &["revert"]).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    is_what_was_done(&told, &rollback);
}

/// A release that is promoted: the template, and the promotion as well.
pub(crate) async fn promoted() {
    let mut scene = Scene::start("drill, promoted").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let told = drilled(&scene, &["revert", "revert"]).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    is_what_was_done(&told, &rollback);
}

/// Somebody's rule keeps the good template out. The API server says the same where a right is missing, and yet it has failed: the
/// service would be refused as well. Nothing was touched, and without the rule all is well.
pub(crate) async fn kept_out() {
    let mut scene = Scene::start("drill, kept out").await;
    let _run = scene.bad_canary().await;
    scene.good_is_kept_out().await;
    let before = scene.rollout().await["metadata"]["generation"].clone();
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let words = ["drill", "--outside", "--target", "options-api"];
    let (report, code) = found(&scene, &admin, &words).await;
    scene.good_is_let_in().await;
    assert_eq!(code, Some(20), "{report:#}");
    is(&report, DRILL, "decision", "ok");
    let refused = is(&report, DRILL, "revert", "failed");
    let said = refused["found"].as_str().unwrap();
    for words in ["the API server refuses it: forbidden", "this is kept out"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let help = refused["do"].as_str().unwrap();
    assert!(help.contains("admission policy"), "{help}");
    assert_eq!(report["failed"], 1, "{report:#}");
    assert_eq!(scene.rollout().await["metadata"]["generation"], before);
    assert!(scene.rollbacks().await.is_empty());
    drilled(&scene, &["revert"]).await;
}

/// Tries it as somebody who may everything; says what was told. The workload has not moved by it.
async fn drilled(scene: &Scene, changes: &[&str]) -> String {
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let before = scene.rollout().await;
    // The policy names a Redis that nobody runs here.
    let words = ["drill", "--outside", "--target", "options-api"];
    let (report, code) = found(scene, &admin, &words).await;
    assert_eq!(code, Some(0), "{report:#}");
    let after = scene.rollout().await;
    let version = "/metadata/resourceVersion";
    assert_eq!(before.pointer(version), after.pointer(version));
    let sections = report["sections"].as_array().unwrap();
    let drill = sections.last().unwrap()["checks"].as_array().unwrap();
    let tried: Vec<&Value> = drill
        .iter()
        .filter(|it| {
            let found = it["found"].as_str().unwrap();
            found.ends_with("the API server would take it")
        })
        .map(|it| &it["name"])
        .collect();
    assert_eq!(json!(tried), json!(changes), "{report:#}");
    let decision = is(&report, DRILL, "decision", "ok");
    decision["found"].as_str().unwrap().to_owned()
}

fn is_what_was_done(told: &str, rollback: &Value) {
    let plan = &rollback["status"]["plan"];
    let to = plan["to"]["hash"].as_str().unwrap();
    let from = plan["from"]["hash"].as_str().unwrap();
    assert!(told.contains(from) && told.contains(to), "{told}");
}

/// A canary that waits at its first pause is pulled back; the users notice nothing, and nothing is remembered of it but that.
pub(crate) async fn executed_on_a_canary() {
    let mut scene = allowing(Scene::start("drill, executed on a canary").await);
    let _ripcord = scene.good(&pausing()).await;
    let before = scene.known().await;
    let done = executes(&scene, &[]).await;
    stood(&done, "waits at a pause");
    scene.is_as_before(&before).await;
    let changes = scene.restores();
    assert_eq!(
        changes.len(),
        1,
        "the service restores it once: {changes:#?}"
    );
    let messages = scene.slack.messages();
    let told = |it: &str| messages.iter().any(|message| message.text.contains(it));
    assert!(told("drill · ") && !told("you are needed"), "{messages:#?}");
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let (report, _) = found(&scene, &admin, &["doctor", "--outside"]).await;
    let last = is(&report, "target options-api", "last good drill", "ok");
    let found = last["found"].as_str().unwrap();
    assert!(found.contains("healthy after"), "{found}");
}

/// A canary without steps is promoted before anybody asks; it is pulled back past its steps.
pub(crate) async fn executed_without_pauses() {
    let mut scene = allowing(Scene::start("drill, executed without pauses").await);
    let _ripcord = scene.good(&json!({ "canary": {} })).await;
    let before = scene.known().await;
    let done = executes(&scene, &[]).await;
    stood(&done, "is promoted");
    scene.is_as_before(&before).await;
}

/// A blue-green is switched, and switched back.
pub(crate) async fn executed_on_a_blue_green() {
    let mut scene = allowing(blue_green::start("drill, executed on a blue-green").await);
    let _ripcord = scene.good(&strategy(&json!({}))).await;
    let before = scene.known().await;
    let done = executes(&scene, &[]).await;
    stood(&done, "is promoted");
    scene.is_as_before(&before).await;
    let rollbacks = scene.rollbacks().await;
    scene.is_active(&rollbacks[0]).await;
}

/// The same before its switch, which a person would have to make.
pub(crate) async fn executed_before_a_switch() {
    let mut scene = allowing(blue_green::start("drill, executed before a switch").await);
    let by_hand = strategy(&json!({ "autoPromotionEnabled": false }));
    let _ripcord = scene.good(&by_hand).await;
    let before = scene.known().await;
    let done = executes(&scene, &[]).await;
    stood(&done, "waits at a pause");
    scene.is_as_before(&before).await;
}

/// Where the policy does not allow it, and where an update is in flight, nothing is touched.
pub(crate) async fn refused() {
    let mut scene = Scene::start("drill, refused").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let refused = async |scene: &Scene, code: &str| {
        let before = scene.rollout().await["metadata"]["generation"].clone();
        let ended = drills(scene, &["--execute"]).await;
        assert_eq!(ended.code, Some(11), "{}{}", ended.out, ended.err);
        assert!(ended.err.contains(code), "{}", ended.err);
        assert_eq!(scene.rollout().await["metadata"]["generation"], before);
        assert!(scene.rollbacks().await.is_empty());
    };
    refused(&scene, "drill_not_allowed").await;
    scene.target_has("drill: allowed");
    refused(&scene, "not_at_rest: an update is in flight").await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// A bad release is live and promoted when a drill of it begins, and the alert comes in the middle: what is pulled back is the
/// bad release with the drill's, to the good one before both.
pub(crate) async fn alert_in_the_middle() {
    let mut scene = allowing(Scene::start("drill, an alert in the middle").await);
    let ripcord = scene.good(&pausing()).await;
    let good = scene.live().await;
    scene.deploy(BAD).await;
    let bad = scene.promoted_by_hand().await;
    scene.soaked().await;
    // What the command writes first, and nothing after it.
    scene.marks("d1").await;
    scene.rollout_is("Paused").await;
    let drilled = async || {
        let memory = scene.memory().await?["status"].clone();
        let live = scene.live().await;
        (memory["live"]["hash"] == live && memory["drilled"][0]["of"] == bad).then_some(live)
    };
    let drilled = until(drilled, LIMIT)
        .await
        .expect("it is known as a drill's");
    scene.users_are_hurt().await;
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r3-{drilled}");
    let rollback = scene.ended(&name, "Succeeded").await;
    assert_eq!(rollback["status"]["plan"]["to"]["hash"], good, "not {bad}");
    scene.is_mended().await;
    scene.times(posted, &rollback);
    assert_eq!(scene.mark().await, Value::Null);
}

/// An alert about an old release has no cause in a drill: it is declined as on any other day, and the drill goes on.
pub(crate) async fn alert_without_a_cause() {
    let mut scene = allowing(Scene::start("drill, an alert without a cause").await);
    scene.policy_says("change_window: 1h", "change_window: 1s");
    let ripcord = scene.good(&pausing()).await;
    let before = scene.known().await;
    scene.soaked_for(3).await;
    scene.marks("d1").await;
    scene.rollout_is("Paused").await;
    let known =
        async || (scene.memory().await?["status"]["drilled"][0]["id"] == "d1").then_some(());
    until(known, LIMIT).await.expect("it is known as a drill's");
    scene.alert(&ripcord).await;
    let live = scene.live().await;
    let declined = scene.ended(&format!("{NAME}-r2-{live}"), "Declined").await;
    assert_eq!(declined["status"]["reason"]["reason"], "no_recent_change");
    let ended = drills(&scene, &["--put-back"]).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    scene.is_as_before(&before).await;
}

/// The policy, as the person and the service read it.
fn allowing(mut scene: Scene) -> Scene {
    scene.target_has("drill: allowed");
    scene
}

/// The drill's release was pulled back from there. On a busy machine it may not have come so far in ten seconds, and then is
/// pulled back from where it is.
fn stood(ended: &Ended, how: &str) {
    let stood = [how, "serves, and is on its way"];
    let stood = stood.iter().any(|it| ended.out.contains(it));
    assert!(stood, "{}", ended.out);
}

/// Drills as somebody who may everything, and sees it go well.
async fn executes(scene: &Scene, words: &[&str]) -> Ended {
    let ended = drills(scene, &[&["--execute"], words].concat()).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    ended
}

async fn drills(scene: &Scene, words: &[&str]) -> Ended {
    let folder = tempfile::tempdir_in(scene.folder.path()).unwrap();
    let policy = folder.path().join("policy.yaml");
    fs::write(&policy, &scene.policy).unwrap();
    let mut command = typed::ripcord();
    command
        .args(["drill", "--outside", "--target", "options-api", "--policy"])
        .arg(policy)
        .arg("--kubeconfig")
        .arg(scene.plane.kubeconfig())
        .args(words)
        .env("POD_NAMESPACE", &scene.namespaces.ripcord)
        .current_dir(folder.path());
    Ended::of(&mut command).await
}

impl Scene {
    /// What is remembered of the release that is live and good.
    async fn known(&self) -> Value {
        self.is_known().await;
        self.memory().await.unwrap()["status"].clone()
    }

    /// Puts a drill's mark on the template, as the command does, and waits until the controller works on it.
    async fn marks(&self, id: &str) {
        let before = self.live().await;
        let annotations = json!({ MARK: id });
        let template = json!({ "metadata": { "annotations": annotations } });
        self.edit(&json!({ "spec": { "template": template } }))
            .await;
        self.is_taken_up(&before, id).await;
    }

    async fn mark(&self) -> Value {
        let rollout = self.rollout().await;
        rollout["spec"]["template"]["metadata"]["annotations"][MARK].clone()
    }

    /// The release from before is live, as old and as good as it was; nobody was blamed, and users were served.
    async fn is_as_before(&self, before: &Value) {
        self.rollout_is("Healthy").await;
        self.users_are_served().await;
        // A pod that was told to stop answers for longer than kube-proxy needs to learn of it.
        let tally = self.users.as_ref().unwrap().tally();
        assert_eq!(tally.bad, 0, "{tally:?}");
        assert_eq!(self.mark().await, Value::Null);
        let status = self.rollout().await["status"].clone();
        let hash = &before["live"]["hash"];
        assert_eq!(
            [&status["currentPodHash"], &status["stableRS"]],
            [hash, hash]
        );
        let mut seen = Value::Null;
        let back = async || {
            seen = self.memory().await?["status"].clone();
            let live = &seen["live"];
            (live["hash"] == *hash && live["revision"] != before["live"]["revision"]).then_some(())
        };
        let back = until(back, LIMIT).await;
        assert!(back.is_some(), "{seen:#}");
        for part in ["changed", "promoted"] {
            assert_eq!(seen["live"][part], before["live"][part], "{seen:#}");
        }
        let history = seen["history"].as_array().unwrap();
        assert_eq!(history.len(), 1, "{seen:#}");
        assert_eq!(history[0]["since"], before["history"][0]["since"]);
        assert_eq!(seen["blamed"], json!([]));
        assert_eq!(seen["made"], json!([]));
        assert_eq!(seen["latch"], Value::Null);
        let last = &seen["drill"];
        assert_eq!(last["ok"], true, "{seen:#}");
        assert!(last["at"].as_str().unwrap().parse::<Timestamp>().is_ok());
        let seconds = ["firstChange", "trafficBack", "healthy"]
            .map(|it| last["seconds"][it].as_f64().unwrap());
        assert!(seconds.is_sorted(), "{seen:#}");
        let forbidden = self.forbidden();
        assert!(forbidden.is_empty(), "{forbidden:#?}");
    }
}
