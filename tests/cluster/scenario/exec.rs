//! Commands in pods, through the real API server and a kubelet that runs them on this machine: in each pod once, by the shipped
//! right, and never taken for done without an exit status. This kubelet tells an exit status of 0 alone.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::cache::GONE;
use crate::scene::release::{GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// The right to run commands, as it is shipped.
const RIGHT: [&str; 2] = [
    include_str!("../../../deploy/rbac/exec-targets/role.yaml"),
    include_str!("../../../deploy/rbac/exec-targets/role-binding.yaml"),
];
/// The last step of the shipped procedure.
const PROOF: &str = "- healthy: { consecutive: 3, every: 500ms, within: 2m }";
/// Where the step is, behind `revert` and `gone`.
const EXEC: usize = 2;

/// In each pod of the destination once, one after the other, and what it has said is on record and told.
pub(crate) async fn every_pod() {
    let mut scene = Scene::start("exec, in every pod").await;
    let ran = scene.runs("in: every", "echo ran >> RAN; echo cleared 7 entries", "");
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    let step = &rollback["status"]["run"]["steps"][EXEC];
    let pods = scene.pods_of(&scene.live().await).await;
    let mut names: Vec<_> = pods
        .iter()
        .map(|it| it["metadata"]["name"].clone())
        .collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(step["done"], json!(names), "{step:#}");
    assert_eq!(step["attempts"], 4, "{step:#}");
    assert_eq!(step["observed"]["reason"], "executed", "{step:#}");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n".repeat(4));
    scene
        .tells("`forget` ended well in 4 pods; the last: `forget` in")
        .await;
    scene.tells("stdout: cleared 7 entries").await;
}

/// The cache's own tool in the cache's own pod, in place of a flush: once, when the bad pods are gone and that pod is ready.
pub(crate) async fn other_pod() {
    let mut scene = Scene::start("exec, in the cache's pod").await;
    let redis = scene.filled().await;
    scene.target_has(&format!(
        "commands: {{ empty: {{ container: app, selector: app=redis, command: [redis-cli, -e, -p, \"{}\", FLUSHDB], expect: OK }} }}",
        redis.port
    ));
    scene.policy_says(
        PROOF,
        &format!("- gone: {{}}\n      - exec: {{ command: empty, in: other }}\n      {PROOF}"),
    );
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.waits_for(&name, EXEC, "retrying").await;
    assert_eq!(redis.keys(0).await.len(), 3, "nothing is gone yet");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "cache-0", "namespace": scene.namespaces.release, "labels": { "app": "redis" } },
        "spec": { "containers": [{ "name": "app", "image": GOOD }] },
    });
    scene.plane.admin.create(&pod).await.unwrap();
    let rollback = scene.ended(&name, "Succeeded").await;
    assert_eq!(redis.keys(0).await, [] as [&str; 0]);
    assert_eq!(redis.keys(1).await, ["pinn:1"], "another database");
    let step = &rollback["status"]["run"]["steps"][EXEC];
    assert_eq!(step["done"], json!(["app=redis"]), "{step:#}");
    assert_eq!(step["observed"]["reason"], "executed", "{step:#}");
    scene
        .tells("`empty` in cache-0: it ended with exit code 0; stdout: OK")
        .await;
    let messages = scene.slack.messages();
    let denies = |text: &str| text.contains("caches were not flushed");
    assert!(
        !messages.iter().any(|it| denies(&it.visible())),
        "{messages:#?}"
    );
}

/// It has no exit status: nobody knows whether it was run, so that it is not run again, and a person is called.
pub(crate) async fn no_exit_status() {
    let mut scene = Scene::start("exec, no exit status").await;
    let ran = scene.runs(
        "in: every",
        "echo ran >> RAN; echo cleared 7 entries; exit 1",
        "",
    );
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "command_unknown").await;
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n", "once");
    scene.tells("no exit status came back, but: ").await;
    scene
        .tells("not run again, as the policy does not call it repeatable")
        .await;
    scene.tells("not reached: healthy").await;
}

/// It ends well, and says something else than it should. It may be run again, and is, until the step is over.
pub(crate) async fn wrong_words() {
    let mut scene = Scene::start("exec, wrong words").await;
    let ran = scene.runs(
        "in: one, within: 4s",
        "echo ran >> RAN; echo READONLY PASSWORD=hunter2",
        ", repeatable: true",
    );
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "command_failed").await;
    let times = std::fs::read_to_string(ran).unwrap().lines().count();
    assert!(times > 1, "{times}");
    scene.tells("its output does not match").await;
    scene.tells("stdout: READONLY PASSWORD=…").await;
}

/// It does not end in its time.
pub(crate) async fn takes_too_long() {
    let mut scene = Scene::start("exec, too long").await;
    let ran = scene.runs("in: one", "echo ran >> RAN; sleep 20", ", timeout: 3s");
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let rollback = scene.fails(&ripcord, &bad, "command_unknown").await;
    assert_eq!(rollback["status"]["run"]["steps"][EXEC]["attempts"], 1);
    // On a busy machine the time may be over before it has come so far.
    let times = std::fs::read_to_string(ran).unwrap_or_default();
    assert!(times.lines().count() <= 1, "{times}");
    scene
        .tells("it has not ended within 3s, and may still run")
        .await;
}

/// Without the right, nothing is touched: what is missing is said by name.
pub(crate) async fn right_missing() {
    let mut scene = Scene::start("exec, no right").await;
    scene.runs("in: one", "echo ran >> RAN", "");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "permission_missing");
    let said = rollback["status"]["reason"]["said"].as_str().unwrap();
    let namespace = &scene.namespaces.release;
    let missing = format!("get pods/exec in {namespace}, nor create pods/exec in {namespace}");
    assert!(said.contains(&missing), "{said}");
}

/// The right is taken away while the rollback runs: the release is back, and what was not done is said.
pub(crate) async fn right_is_gone() {
    let mut scene = Scene::start("exec, the right is gone").await;
    let ran = scene.runs("in: every", "echo ran >> RAN", "");
    scene.may_exec().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let pods = scene.pods_of(&bad).await;
    for pod in &pods {
        scene.hold(pod, true).await;
    }
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    scene.waits_for(&name, GONE, "pods_remaining").await;
    let namespace = &scene.namespaces.release;
    let role =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/ripcord-exec");
    let nothing = json!({ "rules": [] });
    scene.plane.admin.patch(&role, &nothing).await.unwrap();
    scene.lacks("get", "", "pods", "exec").await;
    for pod in &pods {
        scene.hold(pod, false).await;
    }
    let rollback = scene.is_failed(&bad, "rejected").await;
    let step = &rollback["status"]["run"]["steps"][EXEC];
    assert_eq!(step["attempts"], 1, "{step:#}");
    assert!(!ran.exists(), "it is run nowhere");
    scene.tells("pods/exec").await;
    scene.tells("not reached: healthy").await;
}

/// The leader is killed while the command runs: the next one does not run it again, and says that nobody knows its end.
pub(crate) async fn leader_killed() {
    let mut scene = Scene::start("exec, leader killed").await;
    let ran = scene.runs("in: every", "echo ran >> RAN; sleep 20", ", timeout: 60s");
    scene.may_exec().await;
    let (mut ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let second = scene.replica("second").await;
    scene.alert(&ripcord).await;
    let begun = async || ran.exists().then_some(());
    until(begun, LIMIT).await.expect("it runs");
    ripcord.kill();
    scene.is_failed(&bad, "command_unknown").await;
    drop(second);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "ran\n", "once");
    scene.tells("was gone before its end came").await;
}

impl Scene {
    /// Lets the alert ask for a procedure that waits until the bad pods are gone and then runs this line, in which `RAN` is a
    /// file of this scenario's.
    fn runs(&mut self, pods: &str, line: &str, options: &str) -> PathBuf {
        let ran = self.folder.path().join("ran");
        let line = line.replace("RAN", ran.to_str().unwrap());
        self.target_has(&format!(
            "commands: {{ forget: {{ container: app, command: [/bin/sh, -c, \"{line}\"], expect: 'cleared \\d+ entries'{options} }} }}"
        ));
        let exec = format!("- exec: {{ command: forget, {pods} }}");
        self.policy_says(PROOF, &format!("- gone: {{}}\n      {exec}\n      {PROOF}"));
        ran
    }

    /// Gives Ripcord the right, as it is shipped.
    async fn may_exec(&self) {
        for manifest in RIGHT {
            let mut object: Value = serde_saphyr::from_str(manifest).unwrap();
            object["metadata"]["namespace"] = json!(self.namespaces.release);
            if let Some(subject) = object.pointer_mut("/subjects/0/namespace") {
                *subject = json!(self.namespaces.ripcord);
            }
            self.plane.admin.create(&object).await.unwrap();
        }
    }
}
