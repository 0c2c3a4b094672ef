//! Reporters that tell each notice once, where the other side, the settings or people make it hard.

use ripcord::report::notice::Moment;
use ripcord::report::once::Each;
use ripcord::report::secret;
use ripcord::report::slack::Hook;
use serde_json::json;

use super::notices::{KEY, events, hook, pagerduty, poster, record};
use super::*;
use crate::support::receiver::{Instead, Receiver};

/// Planned, and a person is asked.
fn asking(target: &str) -> Value {
    let mut rollback = given::running(target);
    rollback["status"]["phase"] = "AwaitingApproval".into();
    rollback["status"]["run"] = json!({
        "epoch": 1, "seq": 1,
        "asked": {"at": "2026-11-22T03:12:41.300Z", "until": "2026-11-22T03:27:41.300Z", "why": "trigger latency asks for an approval"},
    });
    rollback
}

/// The same, ended without a yes.
fn unanswered(target: &str, reason: &str) -> Value {
    let mut rollback = asking(target);
    rollback["status"]["phase"] = "Declined".into();
    rollback["status"]["reason"] = json!({"reason": reason, "said": "nobody said yes"});
    rollback["status"]["run"]["finished"] = "2026-11-22T03:13:00Z".into();
    rollback
}

#[tokio::test]
async fn a_question_calls_somebody_and_so_does_the_silence_after_it() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    world.report(pagerduty(&receiver));
    for (target, reason, calls) in [
        ("denied", "approval_denied", 1),
        ("expired", "approval_expired", 2),
    ] {
        world.store(asking(target));
        let key = format!("uid-{target}");
        let of = |it: &Value| it["dedup_key"] == key;
        let count = || events(&receiver).into_iter().filter(of).count();
        world.until(|_| count() == 1).await;
        let event = events(&receiver).into_iter().find(of).unwrap();
        let summary = event["payload"]["summary"].as_str().unwrap();
        assert!(summary.starts_with("🙋"), "{summary}");
        world.store(unanswered(target, reason));
        world.until(|_| count() == calls).await;
        world.pass(Duration::from_secs(30), STEP).await;
        assert_eq!(count(), calls, "{target}");
    }
}

#[tokio::test]
async fn what_was_approved_is_told_as_it_goes_on() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.report(hook(&receiver, |settings| {
        settings.tell = vec![Moment::Needed, Moment::Started, Moment::Ended];
    }));
    world.store(asking("options-api"));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["asked"])
        .await;
    world.store(given::running("options-api"));
    world
        .until(|world| record(world, |it| &it.webhook).told.len() == 2)
        .await;
    world.store(given::succeeded("options-api"));
    world
        .until(|world| {
            record(world, |it| &it.webhook).told == ["asked", "started", "end/Succeeded"]
        })
        .await;
}

#[tokio::test]
async fn an_answer_that_repeats_a_secret_is_on_record_without_it() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    let headers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(headers.path(), "Authorization: Bearer s3cret\n").unwrap();
    world.store(given::failed("options-api"));
    receiver.instead([Instead::Echo]);
    world.report(hook(&receiver, |settings| {
        settings.headers_file = Some(headers.path().to_owned());
    }));
    world
        .until(|world| record(world, |it| &it.webhook).refused.is_some())
        .await;
    receiver.instead([Instead::Echo]);
    world.report(pagerduty(&receiver));
    world
        .until(|world| record(world, |it| &it.pagerduty).refused.is_some())
        .await;
    receiver.instead([Instead::Echo]);
    let url = secret::fixed(receiver.url("/services/T0/B0/h00k").into());
    world.report(Each(Hook::new(poster(), url, vec![Moment::Ended])));
    world
        .until(|world| record(world, |it| &it.slack_webhook).refused.is_some())
        .await;
    let all = world.objects.all();
    let report = serde_json::to_string(&all[0].status.as_ref().unwrap().report).unwrap();
    assert!(report.contains("HTTP 400: …"), "{report}");
    for secret in ["s3cret", KEY, "h00k"] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
}

#[tokio::test]
async fn one_that_hangs_holds_up_no_other() {
    let world = World::new().await;
    let hung = Receiver::start(200).await;
    hung.instead([Instead::Hang; 8]);
    let receiver = Receiver::start(202).await;
    world.report(hook(&hung, |_| ()));
    world.store(given::failed("first"));
    world.until(|_| hung.posted().len() == 1).await;
    let start = Instant::now();
    world.report(pagerduty(&receiver));
    world.until(|_| receiver.posted().len() == 1).await;
    world.lead();
    world.until(World::told).await;
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}: the one that hangs was not waited for",
        start.elapsed()
    );
    assert_eq!(hung.posted().len(), 1);
}

#[tokio::test]
async fn a_notice_that_cannot_be_made_holds_up_no_other() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.report(hook(&receiver, |settings| {
        settings.tell = vec![Moment::Needed, Moment::Ended];
        settings.body =
            Some("{% if moment == 'needed' %}{{ to.nothing.at_all }}{% else %}1{% endif %}".into());
    }));
    let mut gave_up = given::succeeded("options-api");
    gave_up["status"]["run"]["gaveUp"] = "2026-11-22T03:12:42.500Z".into();
    world.store(gave_up);
    world
        .until(|world| record(world, |it| &it.webhook).refused.is_some())
        .await;
    let record = record(&world, |it| &it.webhook);
    assert_eq!(record.told, ["end/Succeeded"]);
    let said = record.refused.unwrap();
    assert!(said.starts_with("webhook: undefined value"), "{said}");
}

#[tokio::test]
async fn history_is_not_told_for_a_moment_that_is_newly_wanted() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.store(given::failed("options-api"));
    world.report(hook(&receiver, |_| ()));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["end/Failed"])
        .await;
    world
        .pass(Duration::from_secs(25 * 3600), Duration::from_secs(3600))
        .await;
    world.crash();
    let mut checked = given::failed("options-api");
    checked["status"]["run"]["gaveUp"] = "2026-11-22T03:14:00Z".into();
    world.store(checked);
    world.report(hook(&receiver, |_| ()));
    world
        .pass(Duration::from_secs(120), Duration::from_secs(1))
        .await;
    assert_eq!(receiver.posted().len(), 1);
}
