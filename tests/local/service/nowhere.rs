//! A severe alert that a trigger matched and that leads to no workload: nothing can be done, and people are told once.

use axum::http::Method;
use ripcord::alert::Severity;
use ripcord::policy::Policy;
use ripcord::policy::trigger::{SeverityChoice, TargetChoice};
use ripcord::rollback::{Phase, Rollback};

use super::ending;
use crate::support::proxy::{Act, Fault};
use crate::support::slack::FakeSlack;
use crate::support::stage::scene::{self, COLD, ERRORS, LATENCY, Scene, labelled, resolved};
use crate::support::stage::{self, NAME, NAMESPACE};

/// Ripcord's own namespace.
const HOME: &str = "ripcord";

/// A trigger of P1 and a note that take their target from labels, and one that takes its severity from a label.
fn policy() -> Policy {
    let mut policy = scene::policy();
    for trigger in &mut policy.triggers {
        let from_labels = TargetChoice::FromLabels {
            namespace: "namespace".into(),
            workload: "rollout".into(),
        };
        match trigger.name.as_str() {
            name if name == LATENCY.to_lowercase() => trigger.target = from_labels,
            name if name == COLD.to_lowercase() => {
                trigger.target = from_labels;
                trigger.severity = SeverityChoice::Fixed(Severity::P3);
            }
            _ => {
                trigger.severity = SeverityChoice::FromLabel {
                    label: "severity".into(),
                    map: [("critical".to_owned(), Severity::P0)].into(),
                }
            }
        }
    }
    policy
}

async fn scene() -> (Scene, FakeSlack) {
    let slack = FakeSlack::start().await;
    slack.channel("ops", "C0OPS1");
    let mut scene = Scene::empty(policy()).await;
    scene.slack = Some(slack.url());
    stage::good_release(&scene.sandbox).await;
    scene.replica().await;
    (scene, slack)
}

/// The records in Ripcord's own namespace.
fn records(scene: &Scene) -> Vec<Rollback> {
    let mut all = scene.rollbacks();
    all.retain(|rollback| rollback.namespace() == HOME);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_once_with_the_reason() {
    let (scene, slack) = scene().await;
    let alert = labelled(
        LATENCY,
        &[("namespace", NAMESPACE), ("rollout", "checkout")],
    );
    let answer = scene.send(&alert).await;
    assert_eq!(answer.one(), ("decline", "target_unknown"));
    let told = |count: usize| move |slack: &FakeSlack| slack.messages().len() == count;
    slack.until(told(1)).await;
    let record = records(&scene).remove(0);
    assert_eq!(
        answer.body["decisions"][0]["rollback"],
        record.full_name().as_str()
    );
    assert_eq!(ending(&record), (Phase::Declined, "target_unknown"));
    let message = slack.thread_as_text(&slack.messages()[0].ts);
    for words in [
        "trigger latencyhigh: P1 LatencyHigh",
        "no target's workload is \"checkout\" in namespace",
    ] {
        assert!(message.contains(words), "{message}");
    }

    // A repeat costs no call; another service is another message; the same again is not.
    let mark = scene.mark();
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "target_unknown")
    );
    assert_eq!(scene.intake_calls(mark), [""; 0]);
    let other = labelled(
        LATENCY,
        &[("namespace", NAMESPACE), ("rollout", "payments")],
    );
    assert_eq!(
        scene.send(&other).await.one(),
        ("decline", "target_unknown")
    );
    slack.until(told(2)).await;
    assert_eq!(records(&scene).len(), 2);

    // Its end is on record too.
    assert_eq!(
        scene.send(&resolved(&alert)).await.one(),
        ("note", "resolved_recorded")
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_severity_that_nobody_mapped_counts_as_severe_and_a_note_does_not() {
    let (scene, slack) = scene().await;
    let note = labelled(COLD, &[("rollout", "checkout")]);
    assert_eq!(scene.send(&note).await.one(), ("decline", "target_unknown"));
    let alert = labelled(ERRORS, &[("severity", "catastrophic")]);
    assert_eq!(
        scene.send(&alert).await.one(),
        ("decline", "severity_unknown")
    );
    slack.until(|slack| slack.messages().len() == 1).await;
    let records = records(&scene);
    assert_eq!(records.len(), 1);
    assert_eq!(ending(&records[0]), (Phase::Declined, "severity_unknown"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_takes_any_value_fills_nothing() {
    let (scene, _slack) = scene().await;
    let alerts: Vec<_> = (0..100)
        .map(|nth| labelled(LATENCY, &[("rollout", &format!("x{nth}"))]))
        .collect();
    let answer = scene.send_all(&alerts).await;
    assert_eq!(answer.status, 200);
    let decisions = answer.body["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 100);
    assert!(decisions.iter().all(|it| it["reason"] == "target_unknown"));
    assert_eq!(records(&scene).len(), 10);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_made_keeps_no_answer_waiting() {
    let scene = Scene::incident_behind_a_proxy(policy()).await;
    scene.proxy().on(|seen| {
        if seen.method == Method::POST && seen.path.contains("/namespaces/ripcord/rollbacks") {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    let lost = labelled(LATENCY, &[("rollout", "checkout")]);
    let bad = labelled(LATENCY, &[("namespace", NAMESPACE), ("rollout", NAME)]);
    let answer = scene.send_all(&[lost, bad]).await;
    assert_eq!(answer.status, 200);
    let decisions = answer.body["decisions"].as_array().unwrap();
    let reasons: Vec<_> = decisions.iter().map(|it| it["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("target_unknown"), Some("claimed")]);
    assert!(
        decisions[0]
            .get("rollback")
            .is_none_or(serde_json::Value::is_null)
    );
    let claimed = scene.until(|it| it.namespace() == NAMESPACE && it.phase().ended());
    assert_eq!(ending(&claimed.await), (Phase::Succeeded, "done"));
    scene.close().await;
}
