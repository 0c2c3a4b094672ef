//! `ripcord explain --live`: what it foretells is what then happens, in the same words, and it changes nothing.

use std::fs;

use jiff::SignedDuration;
use ripcord::alert::Alert;
use ripcord::rollback::Phase;
use ripcord::sandbox::Sandbox;
use serde_json::Value;
use tokio::process::Command;

use crate::support::stage;
use crate::support::stage::scene::{self, COLD, LATENCY, Scene, firing, group, resolved};

/// The policy of the scenes, as people write it.
const POLICY: &str = r#"
targets:
  api:
    workload: { rollout: api, namespace: shop }
    health: { path: /health/pinn, port: 8000, pointer: /overall_status, equals: healthy }
    min_soak: 1s
triggers:
  - { name: latencyhigh, match: ['alertname="LatencyHigh"'], target: api, severity: P1, mode: act }
  - { name: cachecold, match: ['alertname="CacheCold"'], target: api, severity: P1, mode: shadow }
"#;

/// How the command ended, and what it wrote.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(sandbox: &Sandbox, alerts: &[Alert], more: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let payload = serde_json::to_string(&group(alerts)).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_ripcord"))
        .args(["explain", "--live"])
        .arg(file("payload.json", &payload))
        .arg("--policy")
        .arg(file("rollbacks.yaml", POLICY))
        .arg("--kubeconfig")
        .arg(file("kubeconfig", &sandbox.kubeconfig()))
        .args(more)
        .env_clear()
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    Ended {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

async fn explained(sandbox: &Sandbox, alerts: &[Alert]) -> Value {
    let ended = run(sandbox, alerts, &["--format", "json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Asks what an alert would lead to, sends it, and sees that it was so; the verdict and what was seen.
async fn foretold(scene: &Scene, alert: &Alert) -> (Value, Value) {
    scene.in_step().await;
    let told = explained(&scene.sandbox, std::slice::from_ref(alert)).await;
    let verdict = told["alerts"][0]["live"].clone();
    let answer = scene.send(alert).await;
    let foretold = (text(&verdict["decision"]), text(&verdict["reason"]));
    assert_eq!(foretold, answer.one(), "{told:#}");
    let happened = &answer.body["decisions"][0];
    assert_eq!(verdict["rollback"], happened["rollback"]);
    if let Some(said) = happened["said"].as_str() {
        assert_eq!(verdict["said"], said);
    }
    (verdict, told["targets"][0].clone())
}

/// What the leader then made of the claim is what it was foretold to.
fn is_led(verdict: &Value, rollback: &ripcord::rollback::Rollback) {
    let state = rollback.state();
    let reason = state.reason.as_ref().unwrap();
    assert_eq!(verdict["leader"]["reason"], reason.reason.code());
    assert_eq!(verdict["leader"]["said"], reason.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_what_comes_after_it_are_foretold() {
    let scene = Scene::incident(scene::policy()).await;
    let alert = firing(LATENCY);
    let unknown = explained(&scene.sandbox, &[resolved(&alert)]).await;
    let unknown = &unknown["alerts"][0]["live"];
    assert_eq!(unknown["decision"], "decline");
    assert_eq!(unknown["reason"], "resolved_unknown");
    let (verdict, sight) = foretold(&scene, &alert).await;
    assert_eq!(verdict["leader"]["would"], "run", "{verdict:#}");
    for (key, wanted) in [("hold", "none"), ("latch", "none")] {
        assert_eq!(sight[key], wanted);
    }
    assert!(text(&sight["live"]).starts_with("r2 "), "{sight:#}");
    assert!(text(&sight["live"]).ends_with("in flight"), "{sight:#}");
    assert!(text(&sight["cause"]).starts_with("deployed "), "{sight:#}");
    assert_eq!(sight["rights"], "all that a rollback needs");
    let done = scene.done().await;
    assert_eq!(done.phase(), Phase::Succeeded);
    let state = done.state();
    let plan = state.plan.as_ref().unwrap();
    let way = format!("would pull {} back to {}", plan.from, plan.to);
    assert!(
        text(&verdict["leader"]["said"]).starts_with(&way),
        "{verdict:#}"
    );

    let (verdict, _) = foretold(&scene, &alert).await;
    assert_eq!(verdict["reason"], "duplicate");
    let ended = explained(&scene.sandbox, &[resolved(&alert)]).await;
    let ended = &ended["alerts"][0]["live"];
    assert_eq!(ended["reason"], "resolved_recorded");
    assert_eq!(ended["rollback"], done.full_name());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_shadows_are_foretold() {
    let scene = Scene::incident(scene::policy()).await;
    let (verdict, _) = foretold(&scene, &firing("Nothing")).await;
    assert_eq!(verdict["reason"], "no_trigger");
    let (verdict, _) = foretold(&scene, &firing(COLD)).await;
    assert_eq!(verdict["leader"]["would"], "shadow");
    let shadow = scene.until(|it| it.phase() == Phase::Shadowed).await;
    is_led(&verdict, &shadow);

    let mut old = firing(LATENCY);
    old.starts_at -= SignedDuration::from_hours(2);
    let (verdict, _) = foretold(&scene, &old).await;
    assert_eq!(verdict["reason"], "no_recent_change", "{verdict:#}");
    scene.until(|it| it.phase() == Phase::Declined).await;

    scene.hold(Some("jo: freeze"));
    let (verdict, sight) = foretold(&scene, &firing(LATENCY)).await;
    assert_eq!(verdict["reason"], "held");
    assert_eq!(sight["hold"], "held: jo: freeze");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_service_lacks_is_foretold() {
    let scene = Scene::incident(scene::policy()).await;
    scene.sandbox.deny("patch", "argoproj.io", "rollouts", "");
    let (verdict, sight) = foretold(&scene, &firing(LATENCY)).await;
    assert_eq!(verdict["leader"]["would"], "decline");
    assert_eq!(verdict["leader"]["reason"], "permission_missing");
    assert!(
        text(&sight["rights"]).contains("patch rollouts"),
        "{sight:#}"
    );
    is_led(&verdict, &scene.done().await);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_and_asks_and_changes_nothing() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    stage::bad_canary(&sandbox).await;
    let before = sandbox.requests().len();
    let ended = run(&sandbox, &[firing(LATENCY)], &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.out.contains("decision   START claimed"),
        "{}",
        ended.out
    );
    assert!(
        ended.out.contains("leader     RUN admitted: would pull r2"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("Nothing was changed."), "{}", ended.out);
    let requests = sandbox.requests();
    let made: Vec<_> = requests.iter().skip(before).collect();
    assert!(!made.is_empty());
    for request in made {
        let asks = request.path.ends_with("/subjectaccessreviews");
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
async fn what_may_not_be_read_ends_it() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    sandbox.deny("get", "argoproj.io", "rollouts", "");
    let ended = run(&sandbox, &[firing(LATENCY)], &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let said = "error: target api cannot be looked at: forbidden";
    assert!(ended.err.starts_with(said), "{}", ended.err);
    let ended = run(&sandbox, &[firing(LATENCY)], &["--context", "nowhere"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.err.contains("nowhere"), "{}", ended.err);
    sandbox.stop().await;
}
