//! Reporters that tell each notice once: what goes over the wire, and what happens when it does not get there.

use std::path::Path;

use ripcord::report::notice::Moment;
use ripcord::report::once::Each;
use ripcord::report::pagerduty::PagerDuty;
use ripcord::report::post::Poster;
use ripcord::report::secret;
use ripcord::report::slack::Hook;
use ripcord::report::webhook::{self, Webhook};
use ripcord::rollback::object::NoticeReport;
use serde_json::json;

use super::*;
use crate::support::receiver::{Instead, Receiver};

pub(super) const KEY: &str = "R0UT1NGKEY";

pub(super) fn poster() -> Poster {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Poster::new(Duration::from_secs(10)).unwrap()
}

pub(super) fn pagerduty(receiver: &Receiver) -> Each<PagerDuty> {
    let api = receiver.url("/v2/enqueue").parse().unwrap();
    let key = secret::fixed(KEY.to_owned().into());
    Each(PagerDuty::new(poster(), api, key))
}

pub(super) fn hook(
    receiver: &Receiver,
    change: impl FnOnce(&mut webhook::Settings),
) -> Each<Webhook> {
    let mut settings = webhook::Settings::default();
    change(&mut settings);
    let url = secret::fixed(receiver.url("/hook").into());
    Each(Webhook::new(poster(), url, &settings))
}

/// What is on record of the only rollback.
pub(super) fn record(
    world: &World,
    of: fn(&ripcord::rollback::object::Report) -> &NoticeReport,
) -> NoticeReport {
    let all = world.objects.all();
    of(&all[0].status.as_ref().unwrap().report).clone()
}

pub(super) fn events(receiver: &Receiver) -> Vec<Value> {
    receiver.posted().into_iter().map(|it| it.body).collect()
}

#[tokio::test]
async fn an_incident_is_opened_where_a_person_is_needed_and_never_touched_again() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    world.report(pagerduty(&receiver));
    world.store(given::running("options-api"));
    world.store(given::declined("held", "held", "held: jo: freeze"));
    world.store(given::succeeded("good"));
    world.pass(Duration::from_secs(10), STEP).await;
    assert!(events(&receiver).is_empty(), "nobody is needed yet");

    world.store(given::failed("options-api"));
    world.until(|_| receiver.posted().len() == 1).await;
    let posted = &receiver.posted()[0];
    assert_eq!(posted.path, "/v2/enqueue");
    assert_eq!(posted.headers["content-type"], "application/json");
    let event = &posted.body;
    assert_eq!(event["routing_key"], KEY);
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["dedup_key"], "uid-options-api");
    let payload = &event["payload"];
    assert_eq!(payload["severity"], "critical");
    assert_eq!(payload["source"], "options-production/options-api");
    let summary = payload["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("🛑 options-api: r7 → r6 NOT proved healthy"),
        "{summary}"
    );
    let details = &payload["custom_details"];
    assert_eq!(details["phase"], "Failed");
    let story = details["story"].as_str().unwrap();
    for part in ["stopped at", "2 of 4 destination pods", "1/2 revert done"] {
        assert!(story.contains(part), "{part}: {story}");
    }
    assert!(
        event["links"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["text"] == "runbook")
    );

    // What comes later and needs somebody goes into the same incident.
    let mut persists = given::failed("options-api");
    persists["status"]["alerts"] = json!({"persisting": {
        "noticed": "2026-11-22T03:20:00Z", "finding": {"reason": "still_firing", "said": "PinnLatencyP95High"},
    }});
    world.store(persists);
    world.until(|_| receiver.posted().len() == 2).await;
    world
        .pass(Duration::from_secs(60), Duration::from_secs(1))
        .await;
    let events = events(&receiver);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["dedup_key"], "uid-options-api");
    assert!(
        events
            .iter()
            .all(|event| event["event_action"] == "trigger")
    );
}

#[tokio::test]
async fn an_alert_that_led_nowhere_opens_one() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    world.store(given::declined("other", "no_destination", ""));
    world.report(pagerduty(&receiver));
    world.until(|_| receiver.posted().len() == 1).await;
    let summary = events(&receiver)[0]["payload"]["summary"].clone();
    assert!(
        summary
            .as_str()
            .unwrap()
            .contains("NOT acted on · you are needed"),
        "{summary}"
    );
    world
        .until(|world| record(world, |it| &it.pagerduty).told == ["alone"])
        .await;
}

#[tokio::test]
async fn a_webhook_gets_the_body_of_its_template_and_its_headers() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    let headers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(headers.path(), "Authorization: Bearer once\n").unwrap();
    world.report(hook(&receiver, |settings| {
        settings.headers_file = Some(headers.path().to_owned());
        settings.tell = vec![Moment::Started, Moment::Ended];
        settings.body = Some(
            r#"{"issue": {{ headline }}, "labels": [{{ target }}, {{ severity }}, {{ moment }}], "to": {{ to.revision }}}"#.into(),
        );
    }));
    world.store(given::running("options-api"));
    world.until(|_| receiver.posted().len() == 1).await;
    std::fs::write(headers.path(), "Authorization: Bearer twice\n").unwrap();
    world.store(given::reverted("options-api"));
    world.store(given::succeeded("options-api"));
    world.until(|_| receiver.posted().len() == 2).await;
    world.pass(Duration::from_secs(30), STEP).await;
    let posted = receiver.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0].path, "/hook");
    assert_eq!(
        posted[0].body["labels"],
        json!(["options-api", "P0", "started"])
    );
    assert_eq!(posted[0].headers["authorization"], "Bearer once");
    assert_eq!(
        posted[0].headers["idempotency-key"],
        "uid-options-api/started"
    );
    assert_eq!(posted[1].headers["authorization"], "Bearer twice");
    assert_eq!(
        posted[1].headers["idempotency-key"],
        "uid-options-api/end/Succeeded"
    );
    let issue = posted[1].body["issue"].as_str().unwrap();
    assert!(
        issue.starts_with("✅ options-api is back: r7 → r6"),
        "{issue}"
    );
    assert_eq!(posted[1].body["to"], 6);
}

#[tokio::test]
async fn what_fails_is_sent_again_once_the_other_side_takes_it() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    receiver.instead([
        Instead::Status(503),
        Instead::TooMany(30),
        Instead::Status(502),
    ]);
    world.store(given::failed("options-api"));
    let start = Instant::now();
    world.report(pagerduty(&receiver));
    world
        .until(|world| record(world, |it| &it.pagerduty).told.len() == 1)
        .await;
    assert!(
        start.elapsed() >= Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((receiver.refused(), receiver.posted().len()), (3, 1));
    assert!(world.saw(Outcome::Limited) && world.saw(Outcome::Retried));
}

/// There was nothing to tell of it there before.
#[tokio::test]
async fn what_is_not_taken_is_counted_until_it_is() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    world.store(given::running("options-api"));
    world.report(pagerduty(&receiver));
    world.pass(Duration::from_secs(5), STEP).await;
    assert_eq!(world.untold(), 0);
    receiver.instead([503; 4].map(Instead::Status));
    world.store(given::failed("options-api"));
    world.until(|_| receiver.refused() == 3).await;
    assert_eq!(world.untold(), 1);
    world
        .until(|world| record(world, |it| &it.pagerduty).told.len() == 1)
        .await;
    world.until(|world| world.untold() == 0).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_on_record_and_told_once_mended() {
    let world = World::new().await;
    let receiver = Receiver::start(202).await;
    receiver.instead([Instead::Status(400)]);
    world.store(given::failed("options-api"));
    world.report(pagerduty(&receiver));
    world
        .until(|world| record(world, |it| &it.pagerduty).refused.is_some())
        .await;
    assert_eq!(
        record(&world, |it| &it.pagerduty).refused.unwrap(),
        "pagerduty: it answered HTTP 400: no such key"
    );
    assert!(world.saw(Outcome::Refused));
    world.until(|_| receiver.posted().len() == 1).await;
    world
        .until(|world| record(world, |it| &it.pagerduty).refused.is_none())
        .await;
}

#[tokio::test]
async fn a_missing_headers_file_is_said_and_its_content_never() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.store(given::failed("options-api"));
    world.report(hook(&receiver, |settings| {
        settings.headers_file = Some(Path::new("/no/headers").to_owned());
    }));
    world
        .until(|world| record(world, |it| &it.webhook).refused.is_some())
        .await;
    let said = record(&world, |it| &it.webhook).refused.unwrap();
    assert!(
        said.starts_with("webhook: cannot read /no/headers"),
        "{said}"
    );
    assert!(receiver.posted().is_empty());
}

#[tokio::test]
async fn a_crash_before_the_record_repeats_one_notice() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.objects.stuck.store(true, Ordering::SeqCst);
    world.store(given::running("options-api"));
    let all = |settings: &mut webhook::Settings| {
        settings.tell = vec![Moment::Started, Moment::Ended];
    };
    world.report(hook(&receiver, all));
    world.until(|_| receiver.posted().len() == 1).await;
    world.pass(Duration::from_secs(5), STEP).await;
    world.crash();
    world.objects.stuck.store(false, Ordering::SeqCst);
    world.report(hook(&receiver, all));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["started"])
        .await;
    world.store(given::succeeded("options-api"));
    world
        .until(|world| record(world, |it| &it.webhook).told.len() == 2)
        .await;
    let keys: Vec<_> = receiver
        .posted()
        .iter()
        .map(|it| it.headers["idempotency-key"].to_str().unwrap().to_owned())
        .collect();
    let (started, ended) = ("uid-options-api/started", "uid-options-api/end/Succeeded");
    assert_eq!(keys, [started, started, ended]);
}

#[tokio::test]
async fn an_answer_that_never_came_repeats_one_notice_at_most() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    receiver.instead([Instead::Hang]);
    world.store(given::failed("options-api"));
    world.report(hook(&receiver, |_| ()));
    world
        .until(|world| record(world, |it| &it.webhook).told.len() == 1)
        .await;
    assert!(world.saw(Outcome::Unknown));
    assert_eq!(receiver.posted().len(), 2);
}

#[tokio::test]
async fn where_no_answer_ever_comes_a_notice_is_sent_three_times_and_is_told() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    receiver.instead([Instead::Hang; 20]);
    world.store(given::failed("options-api"));
    world.report(hook(&receiver, |_| ()));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["end/Failed"])
        .await;
    let said = record(&world, |it| &it.webhook).refused.unwrap();
    assert_eq!(
        said,
        "webhook: it may have been taken: no answer in time; sent 3 times, and not again"
    );
    world
        .pass(Duration::from_secs(3_600), Duration::from_secs(5))
        .await;
    assert_eq!(receiver.posted().len(), 3);
    let times = |outcome| world.times(outcome);
    assert_eq!((times(Outcome::Unknown), times(Outcome::GivenUp)), (2, 1));
}

#[tokio::test]
async fn a_doubt_about_one_notice_keeps_no_other_waiting() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    receiver.instead([Instead::Hang; 2]);
    world.report(hook(&receiver, |settings| {
        settings.tell = vec![Moment::Started, Moment::Ended];
    }));
    world.store(given::running("options-api"));
    world
        .until(|world| world.times(Outcome::Unknown) == 2)
        .await;
    let start = Instant::now();
    world.store(given::failed("options-api"));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["end/Failed"])
        .await;
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[tokio::test]
async fn a_balancer_that_has_nobody_behind_it_for_a_while_delays_a_notice_by_that() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    receiver.instead([502, 503, 503, 502, 503].map(Instead::Status));
    world.store(given::failed("options-api"));
    let start = Instant::now();
    world.report(hook(&receiver, |_| ()));
    world
        .until(|world| record(world, |it| &it.webhook).told == ["end/Failed"])
        .await;
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(60), "{waited:?}");
    assert_eq!((receiver.refused(), receiver.posted().len()), (5, 1));
    assert!(!world.saw(Outcome::Unknown), "nothing was taken");
}

#[tokio::test]
async fn history_is_not_told_to_a_new_reporter() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    world.store(given::failed("options-api"));
    world
        .pass(Duration::from_secs(25 * 3600), Duration::from_secs(3600))
        .await;
    world.report(hook(&receiver, |_| ()));
    world
        .pass(Duration::from_secs(120), Duration::from_secs(1))
        .await;
    assert!(receiver.posted().is_empty());
}

#[tokio::test]
async fn a_slack_webhook_gets_whole_messages_and_no_thread() {
    let world = World::new().await;
    let receiver = Receiver::start(200).await;
    let url = secret::fixed(receiver.url("/services/T0/B0/x").into());
    let tell = vec![Moment::Started, Moment::Needed, Moment::Ended];
    world.report(Each(Hook::new(poster(), url, tell)));
    world.store(given::running("options-api"));
    world.until(|_| receiver.posted().len() == 1).await;
    world.store(given::failed("options-api"));
    world.until(|_| receiver.posted().len() == 2).await;
    world.pass(Duration::from_secs(30), STEP).await;
    let posted = receiver.posted();
    assert_eq!(posted.len(), 2, "no line for each step");
    assert_eq!(posted[0].path, "/services/T0/B0/x");
    let (start, end) = (
        posted[0].body["text"].as_str(),
        posted[1].body["text"].as_str(),
    );
    assert!(start.unwrap().starts_with("⏳ options-api"), "{start:?}");
    assert!(end.unwrap().starts_with("🛑 options-api"), "{end:?}");
    assert!(end.unwrap().contains("<!subteam^S0123ABCD>"), "{end:?}");
    let blocks = posted[1].body["blocks"].to_string();
    for part in [
        "stopped at",
        "where",
        "PinnLatencyP95High",
        "trigger latency",
    ] {
        assert!(blocks.contains(part), "{part}: {blocks}");
    }
    assert!(posted.iter().all(|it| it.body.get("thread_ts").is_none()));
}
