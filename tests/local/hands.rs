//! The commands for people, as they are typed: the real binary against the whole service on the sandbox.

use std::process::Stdio;

use ripcord::cluster::clock;
use ripcord::policy::Policy;
use ripcord::rollback::object::Mode;
use ripcord::rollback::{Phase, Rollback};
use ripcord::sandbox::Sandbox;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::support::stage::scene::{self, LATENCY, Scene, firing};
use crate::support::stage::{LIMIT, NAME, NAMESPACE};
use crate::support::wait::until;

/// How a run of the command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A person with a kubeconfig.
struct Person(NamedTempFile);

impl Person {
    fn of(sandbox: &Sandbox) -> Self {
        Self::with(&sandbox.kubeconfig())
    }

    fn with(kubeconfig: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig).unwrap();
        Self(file)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
        command
            .args(words)
            .arg("--kubeconfig")
            .arg(self.0.path())
            .args(["-n", NAMESPACE])
            .env_clear()
            .env("USER", "jo")
            .stdin(Stdio::null());
        command
    }

    async fn types(&self, words: &[&str]) -> Ended {
        let output = self.command(words).output().await.unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn asking() -> Policy {
    let mut policy = scene::policy();
    policy.triggers[0].mode = Mode::Ask;
    policy
}

/// The service asks about the bad release.
async fn asked() -> (Scene, Person, Rollback) {
    let scene = Scene::incident(asking()).await;
    scene.send(&firing(LATENCY)).await;
    let waits = scene
        .until(|rollback| rollback.phase() == Phase::AwaitingApproval)
        .await;
    let person = Person::of(&scene.sandbox);
    (scene, person, waits)
}

/// The one rollback that there is stands in the list, for people and for programs.
async fn is_listed(jo: &Person, name: &str) {
    let list = jo.types(&["list"]).await;
    assert_eq!(list.code, Some(0), "{}", list.err);
    let lines: Vec<_> = list.out.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE"), "{}", list.out);
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].contains(name) && lines[1].contains("Succeeded"),
        "{}",
        list.out
    );
    let none = jo.types(&["list", "--phase", "failed"]).await;
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    let none = jo.types(&["list", "--target", "web", "-o", "json"]).await;
    assert_eq!(none.out.trim(), "[]");
    let json = jo.types(&["list", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["metadata"]["name"], name);
}

/// The procedure is the first word, or a flag, and never both.
async fn takes_a_procedure(jo: &Person) {
    for words in [&["complete"][..], &["--procedure", "complete"]] {
        let asked = ["run", "--target", NAME, "--reason", "x", "--dry-run"];
        let asked = jo.types(&[&asked[..], words].concat()).await;
        assert_eq!(asked.code, Some(0), "{}", asked.err);
        let said = "procedure  complete\n";
        assert!(asked.out.contains(said), "{}", asked.out);
    }
    let words = ["run", "complete", "--procedure", "complete"];
    let both = jo
        .types(&[&words[..], &["--target", NAME, "--reason", "x"]].concat())
        .await;
    assert_eq!(both.code, Some(64), "{}", both.err);
    assert!(both.err.contains("cannot be used with"), "{}", both.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_run_by_hand_and_looked_at() {
    let scene = Scene::incident(scene::policy()).await;
    scene
        .until_memory(|memory| memory.state().shown.live == "r2")
        .await;
    let jo = Person::of(&scene.sandbox);
    let dry = jo
        .types(&[
            "run",
            "--target",
            NAME,
            "--reason",
            "errors at checkout",
            "--dry-run",
        ])
        .await;
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    assert!(
        dry.out.contains("r2 is live, known good is r1"),
        "{}",
        dry.out
    );
    takes_a_procedure(&jo).await;
    assert!(scene.rollbacks().is_empty(), "a dry run asks for nothing");

    let run = jo
        .types(&["run", "--target", NAME, "--reason", "errors at checkout"])
        .await;
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    assert!(run.out.contains("is back: r2 → r1"), "{}", run.out);
    assert!(
        run.out.contains("jo asked for it: errors at checkout"),
        "{}",
        run.out
    );
    // What is printed on the way is printed once.
    let steps = run
        .out
        .lines()
        .filter(|line| line.starts_with("1/2 revert done"));
    assert_eq!(steps.count(), 1, "{}", run.out);
    let done = scene.only();
    assert_eq!(done.phase(), Phase::Succeeded);
    assert!(done.name().starts_with("api-by-hand-"), "{}", done.name());

    is_listed(&jo, done.name()).await;
    let show = jo.types(&["show", done.name()]).await;
    assert_eq!(show.code, Some(0), "{}", show.err);
    for said in [
        "is back: r2 → r1 · nobody needed",
        "where      shop / rollout api",
        "1/2 revert done",
        "2/2 healthy done",
        "first change ",
        "told       nobody yet",
    ] {
        assert!(show.out.contains(said), "{said}: {}", show.out);
    }
    let full_name = format!("{NAMESPACE}/{}", done.name());
    let postmortem = jo.types(&["show", &full_name, "--postmortem"]).await.out;
    for said in [
        "# ✅ api is back: r2 → r1",
        "## Timeline",
        "jo asked for it",
        "- [x] Verify that the system is healthy",
        "- [ ] Find the root cause of the failure",
        "- [ ] Schedule the next deployment",
        "caches were not flushed",
    ] {
        assert!(postmortem.contains(said), "{said}: {postmortem}");
    }

    let targets = jo.types(&["targets"]).await;
    assert_eq!(targets.code, Some(0), "{}", targets.err);
    assert!(targets.out.contains("Rollout/api"), "{}", targets.out);
    assert!(targets.out.contains("r2 → r1"), "{}", targets.out);

    let watch = jo.types(&["watch", done.name()]).await;
    assert_eq!(watch.code, Some(0), "{}", watch.err);
    for words in [&["stop", done.name()][..], &["approve", done.name()]] {
        let ended = jo.types(words).await;
        assert_eq!(ended.code, Some(15), "{}", ended.err);
        assert!(
            ended.err.contains("has ended already: Succeeded"),
            "{}",
            ended.err
        );
    }
    // What Ripcord made is left only where a person names it. When a request was made is known to the second: one of the same
    // second could have been meant for what was live before.
    let finished = done.state().run.finished.unwrap();
    let now = clock::system();
    let later = async || (now().as_second() > finished.as_second()).then_some(());
    until(later, LIMIT).await.expect("a second goes by");
    let ours = jo
        .types(&["run", "--target", NAME, "--reason", "again"])
        .await;
    assert_eq!(ours.code, Some(11), "{}", ours.out);
    assert!(
        ours.out.contains("is what Ripcord itself restored"),
        "{}",
        ours.out
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_and_sees_the_end() {
    let (scene, jo, waits) = asked().await;
    let show = jo.types(&["show", waits.name()]).await.out;
    assert!(show.contains("may r2 go back to r1?"), "{show}");
    assert!(
        show.contains("trigger latencyhigh asks for an approval"),
        "{show}"
    );
    let approved = jo
        .types(&["approve", waits.name(), "--reason", "I looked"])
        .await;
    assert_eq!(approved.code, Some(0), "{}{}", approved.out, approved.err);
    assert!(approved.out.contains("approved by jo"), "{}", approved.out);
    assert!(
        approved.out.contains("is back: r2 → r1"),
        "{}",
        approved.out
    );
    let approval = scene.only().spec.approval.clone().unwrap();
    assert_eq!(approval.to, waits.to().map(|to| to.hash.clone()));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_denies_and_whoever_watches_is_told() {
    let (scene, jo, waits) = asked().await;
    let early = jo
        .types(&["watch", waits.name(), "--timeout", "100ms"])
        .await;
    assert_eq!(early.code, Some(14), "{}{}", early.out, early.err);
    assert!(early.out.contains("may r2 go back to r1?"), "{}", early.out);
    let denied = jo
        .types(&["deny", waits.name(), "--reason", "it is the network"])
        .await;
    assert_eq!(denied.code, Some(0), "{}{}", denied.out, denied.err);
    assert!(
        denied.out.contains("denied by jo: it is the network"),
        "{}",
        denied.out
    );
    let watch = jo.types(&["watch", waits.name(), "-o", "json"]).await;
    assert_eq!(watch.code, Some(11), "{}", watch.err);
    let line: Value = serde_json::from_str(watch.out.lines().last().unwrap()).unwrap();
    assert_eq!(line["status"]["reason"]["reason"], "approval_denied");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_stops_a_rollback_and_is_told_what_is_left() {
    let scene = super::service::hands::unhealthy_destination().await;
    let jo = Person::of(&scene.sandbox);
    scene.send(&firing(LATENCY)).await;
    let waits = scene.until(|rollback| {
        let state = rollback.state();
        let step = state.run.steps.get(1);
        let seen = step.and_then(|step| step.observed.as_ref());
        seen.is_some_and(|found| found.reason.code() == "unhealthy")
    });
    let name = waits.await.name().to_owned();
    let stopped = jo.types(&["stop", &name, "--reason", "I have it"]).await;
    assert_eq!(stopped.code, Some(0), "{}{}", stopped.out, stopped.err);
    assert!(
        stopped.out.contains("was cancelled by jo"),
        "{}",
        stopped.out
    );
    assert!(stopped.out.contains("state now"), "{}", stopped.out);
    let again = jo.types(&["watch", &name]).await;
    assert_eq!(again.code, Some(13), "{}", again.out);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let (scene, jo, waits) = asked().await;
    let near = &waits.name()[..waits.name().len() - 1];
    let wrong = jo.types(&["show", near]).await;
    assert_eq!(wrong.code, Some(67), "{}", wrong.err);
    assert!(
        wrong
            .err
            .contains(&format!("did you mean `{}`?", waits.name())),
        "{}",
        wrong.err
    );
    let wrong = jo.types(&["run", "--target", "apo", "--reason", "x"]).await;
    assert_eq!(wrong.code, Some(67), "{}", wrong.err);
    let elsewhere = format!("other/{}", waits.name());
    let wrong = jo.types(&["show", &elsewhere]).await;
    assert!(wrong.err.contains("-n shop"), "{}", wrong.err);
    let wrong = jo
        .types(&["run", "--target", NAME, "--reason", "x", "--release", "r9"])
        .await;
    assert!(wrong.err.contains("live is r2 "), "{}", wrong.err);
    let wrong = jo.types(&["list", "--phase", "odd"]).await;
    assert_eq!(wrong.code, Some(64), "{}", wrong.err);
    assert!(wrong.err.contains("AwaitingApproval"), "{}", wrong.err);

    for (verb, words) in [
        ("patch", &["approve", waits.name()][..]),
        ("patch", &["stop", waits.name()]),
        ("create", &["run", "--target", NAME, "--reason", "x"]),
        ("list", &["list"]),
        ("get", &["show", waits.name()]),
    ] {
        scene.sandbox.deny(verb, "ripcord.dev", "rollbacks", "");
        let refused = jo.types(words).await;
        assert_eq!(refused.code, Some(77), "{words:?}: {}", refused.err);
        let said = format!("you may not {verb} rollbacks.ripcord.dev in namespace {NAMESPACE}");
        assert!(refused.err.contains(&said), "{}", refused.err);
        assert!(refused.err.contains("ripcord-operator"), "{}", refused.err);
    }
    assert!(scene.only().spec.approval.is_none() && scene.only().spec.cancel.is_none());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_ripcord_and_no_cluster_at_all_are_told_apart() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::start().await.unwrap();
    let bare = Person::of(&sandbox);
    for words in [
        &["list"][..],
        &["targets"],
        &["show", "x"],
        &["run", "--target", "x", "--reason", "y"],
    ] {
        let ended = bare.types(words).await;
        assert_eq!(ended.code, Some(69), "{words:?}: {}", ended.err);
        assert!(
            ended.err.contains("ripcord crd | kubectl apply"),
            "{}",
            ended.err
        );
    }
    let kubeconfig = sandbox.kubeconfig();
    sandbox.stop().await;
    let gone = Person::with(&kubeconfig).types(&["list"]).await;
    assert_eq!(gone.code, Some(69), "{}", gone.err);
    assert!(
        gone.err.contains("the cluster cannot be reached"),
        "{}",
        gone.err
    );
    let odd = Person::with("{]").types(&["list"]).await;
    assert_eq!(odd.code, Some(69), "{}", odd.err);
    assert!(odd.err.contains("no cluster is configured"), "{}", odd.err);
    let wrong = Person::with(&kubeconfig)
        .types(&["list", "--context", "nowhere"])
        .await;
    assert_eq!(wrong.code, Some(69), "{}", wrong.err);
}
