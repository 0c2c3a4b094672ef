//! People with their own tokens: who may start, approve, deny and stop, and what a real API server makes of it.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::until;
use crate::support::story::ground::TARGET;
use crate::support::story::prelude::*;
use crate::typed::{self, Ended};

/// A person with a token.
pub(super) struct Person {
    kubeconfig: tempfile::NamedTempFile,
    namespace: String,
}

impl Person {
    /// Somebody with this role in the release's namespace, or with none.
    pub(super) async fn with(scene: &Scene, name: &str, role: Option<&str>) -> Self {
        let namespace = scene.namespaces.release.clone();
        let admin = &scene.plane.admin;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": namespace },
        });
        admin.create(&account).await.unwrap();
        if let Some(role) = role {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": { "name": name, "namespace": namespace },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
            });
            admin.create(&binding).await.unwrap();
        }
        let text = scene
            .plane
            .service_account_kubeconfig(&namespace, name)
            .await
            .unwrap();
        let kubeconfig = tempfile::NamedTempFile::new_in(scene.folder.path()).unwrap();
        std::fs::write(kubeconfig.path(), text).unwrap();
        Self {
            kubeconfig,
            namespace,
        }
    }

    pub(super) async fn types(&self, words: &[&str]) -> Ended {
        let mut command = typed::ripcord();
        command.args(words).arg("--kubeconfig");
        command.arg(self.kubeconfig.path());
        command.args(["-n", &self.namespace]);
        Ended::of(&mut command).await
    }

    /// Follows a rollback on a terminal, of which `screen` gets all that is written to it.
    async fn watches(&self, name: &str, screen: &Path) -> Ended {
        let line = format!(
            "{} watch {name} --kubeconfig {} -n {}",
            env!("CARGO_BIN_EXE_ripcord"),
            self.kubeconfig.path().display(),
            self.namespace
        );
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--flush", "--return", "--command", &line]);
        terminal.arg(screen).stdin(Stdio::null());
        Ended::of(&mut terminal).await
    }
}

/// Waits until people are asked about this rollback.
pub(super) async fn asked(scene: &Scene, name: &str) -> Value {
    let mut seen = Value::Null;
    let asked = async || {
        seen = scene.rollback(name).await?;
        (seen["status"]["phase"] == "AwaitingApproval").then_some(())
    };
    let asked = until(asked, LIMIT).await;
    assert!(asked.is_some(), "{seen:#}");
    seen
}

/// Nobody posts an alert: a person starts it, who may, with a token of their own; others may only look, or not even that.
pub(crate) async fn by_hand() {
    let mut scene = Scene::start("by hand").await;
    let (_ripcord, _bad) = scene.bad_canary().await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    let viewer = Person::with(&scene, "viewer", Some("ripcord-view")).await;
    let stranger = Person::with(&scene, "stranger", None).await;
    let words = ["run", "--target", TARGET, "--reason", "errors at checkout"];

    let refused = viewer.types(&words).await;
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(
        refused
            .err
            .contains("you may not create rollbacks.ripcord.dev"),
        "{}",
        refused.err
    );
    let refused = stranger.types(&["list"]).await;
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    let dry = jo.types(&[&words[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    assert!(
        dry.out.contains("r2 is live, known good is r1"),
        "{}",
        dry.out
    );
    let list = viewer.types(&["list", "-o", "json"]).await;
    assert_eq!(list.out.trim(), "[]", "{}", list.err);

    let run = jo.types(&words).await;
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    assert!(run.out.contains("is back: r2 → r1"), "{}", run.out);
    let who = format!("system:serviceaccount:{}:jo", jo.namespace);
    assert!(
        run.out.contains(&format!("{who} asked for it")),
        "{}",
        run.out
    );
    scene.is_mended().await;
    let targets = viewer.types(&["targets"]).await;
    assert_eq!(targets.code, Some(0), "{}", targets.err);
    assert!(targets.out.contains("r2 → r1"), "{}", targets.out);
}

/// A trigger asks, and only who may answers; the answer is set once, and what was approved is what is done.
pub(crate) async fn approves() {
    let mut scene = Scene::start("approved by hand").await;
    scene.policy_says("    mode: act", "    mode: ask");
    let (ripcord, bad) = scene.bad_canary().await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    let viewer = Person::with(&scene, "viewer", Some("ripcord-view")).await;
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let waits = asked(&scene, &name).await;
    assert!(scene.mutations().is_empty(), "nothing is touched yet");
    let refused = viewer.types(&["approve", &name]).await;
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    let screen = scene.folder.path().join("screen");
    let drawn_again = async || {
        let shown = std::fs::read_to_string(&screen).ok()?;
        shown.contains("A\u{1b}[J").then_some(())
    };
    let approves = async {
        until(drawn_again, LIMIT).await.expect("a second passes");
        jo.types(&["approve", &name, "--reason", "I looked"]).await
    };
    let (watched, approved) = tokio::join!(viewer.watches(&name, &screen), approves);
    assert_eq!(approved.code, Some(0), "{}{}", approved.out, approved.err);
    assert!(
        approved.out.contains("is back: r2 → r1"),
        "{}",
        approved.out
    );
    assert_eq!(watched.code, Some(0), "{}", watched.out);
    let (before, after) = watched.out.rsplit_once("since the request").unwrap();
    assert!(before.contains("may r2 go back to r1?"), "{before}");
    assert!(after.contains("is back: r2 → r1"), "{after}");
    let rollback = scene.ended(&name, "Succeeded").await;
    assert_eq!(rollback["status"]["plan"], waits["status"]["plan"]);
    let who = format!("system:serviceaccount:{}:jo", jo.namespace);
    assert_eq!(rollback["spec"]["approval"]["by"], who);
    // When it was approved is what the API server noted: whole seconds.
    let released = &rollback["status"]["run"]["asked"]["released"];
    let released: jiff::Timestamp = released.as_str().unwrap().parse().unwrap();
    assert_eq!(released.subsec_nanosecond(), 0, "{rollback:#}");
    scene.is_mended().await;
    scene.times(posted, &rollback);
    // An answer is set once: it is neither changed nor taken away.
    let path = format!(
        "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks/{name}",
        jo.namespace
    );
    for change in [json!(null), json!({ "decision": "deny" })] {
        let patch = json!({ "spec": { "approval": change } });
        let changed = scene.plane.admin.patch(&path, &patch).await;
        let refusal = format!("{:#}", changed.unwrap_err());
        assert!(refusal.contains("set once"), "{refusal}");
    }
}

/// A no is told and final.
pub(crate) async fn denies() {
    let mut scene = Scene::start("denied by hand").await;
    scene.policy_says("    mode: act", "    mode: ask");
    let (ripcord, bad) = scene.bad_canary().await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    asked(&scene, &name).await;
    let denied = jo
        .types(&["deny", &name, "--reason", "it is the network"])
        .await;
    assert_eq!(denied.code, Some(0), "{}{}", denied.out, denied.err);
    not_approved(&scene, &name, "approval_denied").await;
    let late = jo.types(&["approve", &name]).await;
    assert_eq!(late.code, Some(15), "{}", late.err);
}

/// Nobody answers, and so nothing is done, and somebody is told.
pub(crate) async fn silence() {
    let mut scene = Scene::start("nobody approves").await;
    scene.policy_says("    mode: act", "    mode: ask");
    scene.policy_says("approve_within: 15m", "approve_within: 10s");
    let (ripcord, bad) = scene.bad_canary().await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    asked(&scene, &name).await;
    not_approved(&scene, &name, "approval_expired").await;
}

/// It ended without an approval: nothing was touched, and people were told of the question and of the end.
async fn not_approved(scene: &Scene, name: &str, reason: &str) {
    let mut seen = Value::Null;
    let told = async || {
        seen = scene.rollback(name).await?;
        let told = seen.pointer("/status/report/slack/told")?.as_array()?;
        told.iter().any(|it| it == "end/Declined").then_some(())
    };
    let told = until(told, LIMIT).await;
    assert!(told.is_some(), "{seen:#}");
    assert_eq!(seen["status"]["phase"], "Declined");
    assert_eq!(seen["status"]["reason"]["reason"], reason, "{seen:#}");
    assert!(scene.mutations().is_empty(), "nothing is touched");
}
