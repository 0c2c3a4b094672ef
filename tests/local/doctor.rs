//! `ripcord doctor` and `ripcord drill` against the whole service on the sandbox: what is well, what is not, and that nothing is changed.

use std::fs;

use ripcord::cluster::clock;
use ripcord::policy::Policy;
use ripcord::rollback::crd;
use ripcord::sandbox::Sandbox;
use serde_json::Value;
use tokio::process::Command;

use crate::support::slack::{self, FakeSlack};
use crate::support::stage::scene::{self, Scene};
use crate::support::stage::{self, NAME};
use crate::support::wait::until;

/// The policy of these scenes, as people write it.
const POLICY: &str = r#"
targets:
  api:
    workload: { rollout: api, namespace: shop }
    health: { path: /health/pinn, port: 8000, pointer: /overall_status, equals: healthy }
    min_soak: 1s
triggers:
  - { name: latencyhigh, match: ['alertname="LatencyHigh"'], target: api, severity: P1, mode: act }
  - { name: errorshigh, match: ['alertname="ErrorsHigh"'], target: api, severity: P0, mode: act }
"#;

/// How the command ended, and what it wrote.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn policy() -> Policy {
    let mut policy = scene::policy();
    policy.triggers.retain(|trigger| trigger.mode.acts());
    policy
}

/// One replica that leads, and a good release that it has seen stable for long enough.
async fn open() -> Scene {
    let scene = Scene::open(policy()).await;
    let soaked = async || {
        let memory = scene.until_memory(|_| true).await;
        let since = memory.state().history.first()?.since;
        let lasted = clock::system()().duration_since(since);
        (lasted.as_secs() >= 1).then_some(())
    };
    until(soaked, stage::LIMIT).await.expect("time goes by");
    scene
}

async fn run(kubeconfig: &str, slack: Option<&FakeSlack>, words: &[&str]) -> Ended {
    typed("doctor", kubeconfig, slack, words).await
}

async fn drill(kubeconfig: &str, words: &[&str]) -> Ended {
    let words = [&["--target", NAME], words].concat();
    typed("drill", kubeconfig, None, &words).await
}

async fn typed(name: &str, kubeconfig: &str, slack: Option<&FakeSlack>, words: &[&str]) -> Ended {
    typed_by("jo", POLICY, name, kubeconfig, slack, words).await
}

/// The same by somebody, with a policy.
async fn typed_by(
    user: &str,
    policy: &str,
    name: &str,
    kubeconfig: &str,
    slack: Option<&FakeSlack>,
    words: &[&str],
) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command
        .arg(name)
        .arg("--policy")
        .arg(file("rollbacks.yaml", policy))
        .arg("--kubeconfig")
        .arg(file("kubeconfig", kubeconfig))
        .args(words)
        .env_clear()
        .env("USER", user)
        .current_dir(folder.path());
    if let Some(slack) = slack {
        let token = file("token", slack::TOKEN).display().to_string();
        let api = slack.url();
        let settings = format!(
            "report: {{ slack: {{ api: {api:?}, token_file: {token:?}, channel: \"#ops\" }} }}"
        );
        command
            .arg("--settings")
            .arg(file("ripcord.yaml", &settings));
    }
    let done = command.output().await.unwrap();
    Ended {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

/// What was found, as programs read it, and the exit code.
async fn looked(sandbox: &Sandbox, words: &[&str]) -> (Value, Option<i32>) {
    let words = [&["--output", "json"], words].concat();
    let ended = run(&sandbox.kubeconfig(), None, &words).await;
    let report = serde_json::from_str(&ended.out);
    (
        report.unwrap_or_else(|_| panic!("{}", ended.err)),
        ended.code,
    )
}

/// The check of this name in the section whose title begins so.
fn check<'a>(report: &'a Value, section: &str, name: &str) -> &'a Value {
    let sections = report["sections"].as_array().unwrap();
    let section = sections
        .iter()
        .find(|it| it["title"].as_str().unwrap().starts_with(section))
        .unwrap_or_else(|| panic!("{report:#}"));
    let mut checks = section["checks"].as_array().unwrap().iter();
    let check = checks.find(|it| it["name"] == name);
    check.unwrap_or_else(|| panic!("{section:#}"))
}

fn failed(report: &Value, section: &str, name: &str, words: &str) {
    let check = check(report, section, name);
    assert_eq!(check["verdict"], "failed", "{check:#}");
    assert!(
        check["found"].as_str().unwrap().contains(words),
        "{check:#}"
    );
    assert!(!check["do"].as_str().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_installation_is_well_and_is_left_as_it_was() {
    let scene = open().await;
    let slack = FakeSlack::start().await;
    let kubeconfig = scene.sandbox.kubeconfig();
    let words = ["--also", "/health/pinn"];
    let ended = run(&kubeconfig, Some(&slack), &words).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    assert!(
        ended.out.ends_with(" ok, 2 warnings, 0 failed\n"),
        "{}",
        ended.out
    );
    for line in [
        "ok       leader",
        "ok       rollbacks.ripcord.dev",
        "ok       rights in shop for rollouts",
        "target api (Rollout shop/api)",
        "ok       known good",
        "ok       /health/pinn",
        "ok       Slack",
        // Nobody said where they are.
        "warning  Alertmanager",
        "warning  Prometheus",
        "not checked",
    ] {
        assert!(ended.out.contains(line), "{line}: {}", ended.out);
    }

    let page = run(&kubeconfig, Some(&slack), &["-o", "markdown"]).await;
    assert_eq!(page.code, Some(0), "{}", page.err);
    assert!(page.out.starts_with("# Ready to deploy\n"), "{}", page.out);
    assert!(page.out.contains(" by jo with ripcord "), "{}", page.out);
    assert!(
        page.out.contains("- [x] leader: replica-1-"),
        "{}",
        page.out
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_and_asks_and_changes_nothing() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let before = sandbox.requests().len();
    let (_, code) = looked(&sandbox, &[]).await;
    assert_eq!(code, Some(20));
    let requests = sandbox.requests();
    let made: Vec<_> = requests.iter().skip(before).collect();
    assert!(!made.is_empty());
    for request in made {
        // Reviews are questions.
        let asks = request.path.ends_with("reviews");
        assert!(
            request.method == "GET" || asks,
            "{} {}",
            request.method,
            request.path
        );
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollback_would_miss_is_found_out() {
    let scene = open().await;
    scene.hold(Some("jo: freeze"));
    scene
        .sandbox
        .deny("patch", "argoproj.io", "rollouts", "status");
    let mut older = serde_json::to_value(crd::rollbacks()).unwrap();
    let schema = &mut older["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let status = schema["properties"]["status"]["properties"].as_object_mut();
    status.unwrap().remove("report").unwrap();
    scene.sandbox.apply(older).unwrap();
    let (report, code) = looked(&scene.sandbox, &[]).await;
    assert_eq!(code, Some(20));
    failed(&report, "the service", "off switch", "jo: freeze");
    let rights = "rights in shop for rollouts";
    failed(
        &report,
        "the service",
        rights,
        "it may not patch rollouts.argoproj.io/status in shop",
    );
    failed(
        &report,
        "the cluster",
        "rollbacks.ripcord.dev",
        "it lacks status.report",
    );
    assert_eq!(
        check(&report, "the cluster", "targets.ripcord.dev")["verdict"],
        "ok"
    );
    assert_eq!(check(&report, "target api", "known good")["verdict"], "ok");
    assert_eq!(report["failed"], 3, "{report:#}");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_and_a_sick_release_are_found_out() {
    let mut scene = Scene::empty(policy()).await;
    stage::first_release(&scene.sandbox, "demo:v1-unhealthy");
    let healthy = |view: &ripcord::sandbox::Store| {
        stage::phase(view.object("rollouts", stage::NAMESPACE, NAME)) == "Healthy"
    };
    assert!(scene.sandbox.wait(healthy, stage::LIMIT).await);
    let (report, code) = looked(&scene.sandbox, &[]).await;
    assert_eq!(code, Some(20));
    failed(&report, "the service", "leader", "there is no Lease");
    failed(&report, "target api", "memory", "remembers nothing");
    failed(&report, "target api", "/health/pinn", "overall_status=\"");

    scene.replica().await;
    scene
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    for replica in scene.replicas.drain(..) {
        replica.stop().await;
    }
    let (report, _) = looked(&scene.sandbox, &[]).await;
    failed(&report, "the service", "leader", "nobody leads");
    let memory = check(&report, "target api", "memory");
    assert_eq!(
        memory["verdict"], "ok",
        "what it wrote is still there: {memory:#}"
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_not_well() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    sandbox.deny("get", "argoproj.io", "rollouts", "");
    sandbox.deny("get", "coordination.k8s.io", "leases", "");
    let (report, code) = looked(&sandbox, &[]).await;
    assert_eq!(code, Some(20));
    failed(&report, "the service", "leader", "not checked: forbidden");
    failed(&report, "target api", "workload", "not checked: forbidden");

    let kubeconfig = sandbox.kubeconfig();
    let unknown = run(&kubeconfig, None, &["--target", "apo"]).await;
    assert_eq!(unknown.code, Some(67), "{}", unknown.err);
    assert!(unknown.err.contains("it has `api`"), "{}", unknown.err);
    sandbox.stop().await;
    let gone = run(&kubeconfig, None, &[]).await;
    assert_eq!(gone.code, Some(69), "{}", gone.out);
    assert!(gone.err.contains("cannot be reached"), "{}", gone.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_redis_that_is_missing_fails_for_the_service_alone() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let health = "    health: ";
    let redis = "    redis: { address: \"127.0.0.1:9\", password_file: /no/password }\n";
    let policy = POLICY.replace(health, &format!("{redis}{health}"));
    let kubeconfig = sandbox.kubeconfig();
    let why = "the password of Redis cannot be read from the file /no/password: No such file or directory";
    for (user, verdict, found) in [
        ("jo", "warning", format!("not checked: {why}")),
        (
            "system:serviceaccount:ripcord:ripcord",
            "failed",
            why.to_owned(),
        ),
    ] {
        let words = ["--output", "json"];
        let ended = typed_by(user, &policy, "doctor", &kubeconfig, None, &words).await;
        let report = serde_json::from_str(&ended.out);
        let report: Value = report.unwrap_or_else(|_| panic!("{}", ended.err));
        let redis = check(&report, "target api", "Redis");
        assert_eq!(redis["verdict"], verdict, "{user}: {redis:#}");
        let said = redis["found"].as_str().unwrap();
        assert!(said.starts_with(&found), "{user}: {said}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_tells_what_is_then_done_and_moves_nothing() {
    let scene = Scene::incident(policy()).await;
    scene.in_step().await;
    let settled = |view: &ripcord::sandbox::Store| {
        stage::phase(view.object("rollouts", stage::NAMESPACE, NAME)) == "Paused"
    };
    assert!(scene.sandbox.wait(settled, stage::LIMIT).await);
    let version = || {
        let rollout = scene.sandbox.object("rollouts", stage::NAMESPACE, NAME);
        rollout.unwrap()["metadata"]["resourceVersion"].clone()
    };
    let before = version();
    let first = scene.sandbox.requests().len();
    let kubeconfig = scene.sandbox.kubeconfig();
    let drill = drill(&kubeconfig, &["-o", "json"]).await;
    assert_eq!(drill.code, Some(0), "{}{}", drill.out, drill.err);
    assert_eq!(version(), before, "nothing was moved");
    assert!(scene.rollbacks().is_empty(), "nothing was asked for");
    let writes: Vec<_> = scene
        .sandbox
        .requests()
        .into_iter()
        .skip(first)
        .filter(|it| it.path.contains("/rollouts/") && it.method != "GET")
        .collect();
    assert_eq!(writes.len(), 1, "{writes:#?}");
    assert_eq!(
        (writes[0].method.as_str(), writes[0].status),
        ("PATCH", 200)
    );
    assert_eq!(
        writes[0].query.get("dryRun").map(String::as_str),
        Some("All")
    );

    let report: Value = serde_json::from_str(&drill.out).unwrap();
    let told = &check(&report, "what a rollback would do", "decision")["found"];
    let told = told.as_str().unwrap().to_owned();
    let step = check(&report, "what a rollback would do", "revert");
    let step = step["found"].as_str().unwrap();
    assert!(step.ends_with("the API server would take it"), "{step}");

    // What it told is what is then done.
    scene.send(&scene::firing(scene::LATENCY)).await;
    let done = scene.done().await;
    let state = done.state();
    let plan = state.plan.as_ref().unwrap();
    let way = format!(
        "would pull {} back to {}: {}",
        plan.from, plan.to, plan.chosen
    );
    assert_eq!(told, way);
    let mut made = scene.sandbox.requests().into_iter().skip(first);
    let made = made.find(|it| {
        it.path.ends_with("/rollouts/api")
            && it.method == "PATCH"
            && !it.query.contains_key("dryRun")
    });
    let template = |body: &Value| -> Value {
        let all = body.as_array().unwrap();
        let replaced = all.iter().find(|it| it["path"] == "/spec/template");
        replaced.unwrap()["value"].clone()
    };
    assert_eq!(template(&made.unwrap().body), template(&writes[0].body));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_what_leads_nowhere_or_is_refused_says_so() {
    let scene = Scene::open(policy()).await;
    let kubeconfig = scene.sandbox.kubeconfig();
    let nowhere = drill(&kubeconfig, &["-o", "json"]).await;
    assert_eq!(nowhere.code, Some(20), "{}", nowhere.err);
    let report = serde_json::from_str(&nowhere.out).unwrap();
    failed(
        &report,
        "what a rollback would do",
        "decision",
        "no_destination",
    );

    stage::bad_canary(&scene.sandbox).await;
    scene.in_step().await;
    scene.sandbox.deny("patch", "argoproj.io", "rollouts", "");
    let refused = drill(&kubeconfig, &[]).await;
    assert_eq!(refused.code, Some(20), "{}", refused.out);
    assert!(
        refused.out.contains("permission_missing")
            || refused.out.contains("may not patch rollouts"),
        "{}",
        refused.out
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_keeps_the_template_out_is_no_missing_right_of_whoever_drills() {
    let scene = Scene::incident_behind_a_proxy(policy()).await;
    scene.in_step().await;
    scene.workload_is_kept_as_it_is();
    let refused = drill(&scene.kubeconfig(), &["-o", "json"]).await;
    assert_eq!(refused.code, Some(20), "{}{}", refused.out, refused.err);
    let report = serde_json::from_str(&refused.out).unwrap();
    let section = "what a rollback would do";
    assert_eq!(check(&report, section, "decision")["verdict"], "ok");
    let said = "the API server refuses it: forbidden: answered by the test's proxy";
    failed(&report, section, "revert", said);
    let help = &check(&report, section, "revert")["do"];
    assert!(
        help.as_str().unwrap().contains("admission policy"),
        "{help}"
    );
    assert_eq!(report["failed"], 1, "{report:#}");
    scene.close().await;
}
