//! The Slack client against a local Slack: what it sends and every way to fail.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use governor::clock::FakeRelativeClock;
use ripcord::report::blocks::{Block, Message, Mrkdwn};
use ripcord::report::pace::Pace;
use ripcord::report::slack::{Posted, Remedy, SlackClient, SlackError, Thread, TokenSource};
use serde_json::json;

use crate::support::slack::{FakeSlack, Fault, TOKEN};

mod content;
mod faults;

const CHANNEL: &str = "C0DEPLOYS1";
const SHORT: Duration = Duration::from_millis(300);

async fn fake() -> FakeSlack {
    let fake = FakeSlack::start().await;
    fake.channel("deploys", CHANNEL)
        .channel("payments", "C0PAYMENTS");
    fake
}

fn client(fake: &FakeSlack) -> SlackClient {
    client_with(fake, Duration::from_secs(10), || TOKEN.to_owned())
}

fn client_with(
    fake: &FakeSlack,
    timeout: Duration,
    token: impl Fn() -> String + Send + Sync + 'static,
) -> SlackClient {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let source: TokenSource = Arc::new(move || token().into());
    SlackClient::new(&fake.url(), timeout, source).unwrap()
}

fn plain(text: &str) -> Mrkdwn {
    Mrkdwn::new().text(text)
}

fn message(text: &str) -> Message {
    Message::new(&plain(text), [Block::section(&plain(text))])
}

async fn post(client: &SlackClient, text: &str) -> Result<Posted, SlackError> {
    client.post("#deploys", &message(text), None).await
}

#[tokio::test]
async fn a_post_its_edits_and_its_thread() {
    let fake = fake().await;
    let slack = client(&fake);
    let first = post(&slack, "options-api is being pulled back")
        .await
        .unwrap();
    assert_eq!(first.channel_id.as_str(), CHANNEL);
    let other = slack
        .post("C0PAYMENTS", &message("ledger is back"), None)
        .await
        .unwrap();
    let step = slack
        .post(
            CHANNEL,
            &message("1/2 revert: r6 has all traffic"),
            Some(Thread::quiet(&first.ts)),
        )
        .await
        .unwrap();
    slack
        .update(
            &first.channel_id,
            &first.ts,
            &message("options-api is back"),
        )
        .await
        .unwrap();
    assert!(first.ts.as_str() < other.ts.as_str() && other.ts.as_str() < step.ts.as_str());

    let thread = fake.thread_as_text(first.ts.as_str());
    assert_eq!(
        thread,
        "options-api is back\n  1/2 revert: r6 has all traffic\n"
    );
    let messages = fake.messages();
    assert_eq!(messages[0].earlier, ["options-api is being pulled back"]);
    assert_eq!(messages[1].channel, "C0PAYMENTS");
    assert_eq!(messages[2].thread_ts.as_deref(), Some(first.ts.as_str()));
    let body = &fake.calls()[0].body;
    assert_eq!(body["parse"], "none");
    assert_eq!(
        (&body["unfurl_links"], &body["unfurl_media"]),
        (&json!(false), &json!(false))
    );

    let me = slack.auth_test().await.unwrap();
    assert_eq!((me.team.as_str(), me.user.as_str()), ("Local", "ripcord"));
}

#[tokio::test]
async fn what_was_posted_is_found_again_after_a_restart() {
    let fake = fake().await;
    let posted = post(&client(&fake), "before").await.unwrap();
    let stored = serde_json::to_value(&posted).unwrap();
    assert_eq!(
        stored,
        json!({"channelId": CHANNEL, "ts": posted.ts.as_str()})
    );
    let found: Posted = serde_json::from_value(stored).unwrap();
    client(&fake)
        .update(&found.channel_id, &found.ts, &message("after"))
        .await
        .unwrap();
    assert_eq!(fake.messages()[0].text, "after");
}

#[tokio::test]
async fn slack_refuses_with_200_and_each_code_has_its_remedy() {
    let fake = fake().await;
    let slack = client(&fake);
    let posted = post(&slack, "there").await.unwrap();

    let unknown = slack
        .post("#nowhere", &message("x"), None)
        .await
        .unwrap_err();
    assert_eq!(
        unknown,
        SlackError::Refused {
            code: "channel_not_found".to_owned()
        }
    );
    assert_eq!(unknown.remedy(), Remedy::Fix);
    fake.refuse_in(CHANNEL, Some("is_archived"));
    assert_eq!(
        post(&slack, "x").await.unwrap_err().to_string(),
        "slack refused: is_archived"
    );
    fake.refuse_in(CHANNEL, None);

    let gone: Posted =
        serde_json::from_value(json!({"channelId": CHANNEL, "ts": "1600000000.000001"})).unwrap();
    let edit = slack
        .update(&gone.channel_id, &gone.ts, &message("x"))
        .await
        .unwrap_err();
    assert_eq!(
        edit,
        SlackError::Refused {
            code: "message_not_found".to_owned()
        }
    );
    assert_eq!(edit.remedy(), Remedy::PostAnew);
    let reply = slack
        .post(CHANNEL, &message("x"), Some(Thread::quiet(&gone.ts)))
        .await
        .unwrap_err();
    assert_eq!(reply.remedy(), Remedy::PostAnew);
    let in_thread = slack
        .post(CHANNEL, &message("reply"), Some(Thread::quiet(&posted.ts)))
        .await
        .unwrap();
    let nested = slack
        .post(CHANNEL, &message("x"), Some(Thread::quiet(&in_thread.ts)))
        .await
        .unwrap_err();
    assert_eq!(
        nested,
        SlackError::Refused {
            code: "cannot_reply_to_message".to_owned()
        }
    );
    fake.fault(1, &Fault::Refuse("edit_window_closed"));
    let closed = slack
        .update(&posted.channel_id, &posted.ts, &message("x"))
        .await
        .unwrap_err();
    assert_eq!(closed.remedy(), Remedy::PostAnew);

    let by_name: Posted =
        serde_json::from_value(json!({"channelId": "deploys", "ts": posted.ts})).unwrap();
    let named = slack
        .update(&by_name.channel_id, &by_name.ts, &message("x"))
        .await
        .unwrap_err();
    assert_eq!(
        named,
        SlackError::Refused {
            code: "channel_not_found".to_owned()
        }
    );
    assert_eq!(fake.messages().len(), 2);
    let outcomes: Vec<String> = fake.calls().into_iter().map(|call| call.outcome).collect();
    assert_eq!(
        outcomes.iter().filter(|outcome| *outcome == "ok").count(),
        2,
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_token_is_read_for_each_call() {
    let fake = fake().await;
    let token = Arc::new(Mutex::new("xoxb-old".to_owned()));
    let shared = Arc::clone(&token);
    let slack = client_with(&fake, Duration::from_secs(10), move || {
        shared.lock().unwrap().clone()
    });

    let old = slack.auth_test().await.unwrap_err();
    assert_eq!(
        old,
        SlackError::Refused {
            code: "invalid_auth".to_owned()
        }
    );
    *token.lock().unwrap() = format!("{TOKEN}\n");
    slack.auth_test().await.unwrap();
    for unusable in [" \n", "two\nlines"] {
        *token.lock().unwrap() = unusable.to_owned();
        let error = slack.auth_test().await.unwrap_err();
        assert_eq!(
            (&error, error.remedy()),
            (&SlackError::NoToken, Remedy::Fix)
        );
    }
    assert_eq!(fake.calls().len(), 2, "without a token nothing is sent");
}

#[tokio::test]
async fn too_fast_is_said_with_the_time_to_wait() {
    let fake = fake().await;
    let slack = client(&fake);
    fake.fault(1, &Fault::TooMany { retry_after: 17 });
    let error = post(&slack, "x").await.unwrap_err();
    assert_eq!(
        error,
        SlackError::RateLimited {
            retry_after: Duration::from_secs(17)
        }
    );
    fake.fault(1, &Fault::Refuse("ratelimited"));
    assert!(matches!(
        post(&slack, "x").await.unwrap_err().remedy(),
        Remedy::Wait(_)
    ));
    assert_eq!(fake.messages(), []);
    post(&slack, "x").await.unwrap();
}

#[tokio::test]
async fn a_channel_that_must_wait_slows_no_other() {
    let fake = fake().await;
    fake.enforce_pace(true);
    let slack = client(&fake);
    let clock = FakeRelativeClock::default();
    let pace = Pace::new(clock.clone());

    post(&slack, "one").await.unwrap();
    let Err(SlackError::RateLimited { retry_after }) = post(&slack, "two").await else {
        panic!("the second post within a second must be refused");
    };
    pace.pause(CHANNEL, retry_after);
    assert_eq!(pace.take(CHANNEL), Err(Duration::from_secs(1)));
    assert_eq!(pace.take("C0PAYMENTS"), Ok(()));
    slack
        .post("C0PAYMENTS", &message("elsewhere"), None)
        .await
        .unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(pace.take(CHANNEL), Ok(()));
    assert_eq!(fake.messages().len(), 2);
}

#[tokio::test]
async fn the_pace_is_one_that_slack_takes() {
    let fake = fake().await;
    fake.enforce_pace(true);
    let slack = client(&fake);
    let pace = Pace::default();
    // The fake counts from the arrival of a call; the first one is late because it has to connect.
    slack.auth_test().await.unwrap();
    let start = Instant::now();
    for n in 0..3 {
        pace.wait(CHANNEL).await;
        if let Err(error) = post(&slack, &n.to_string()).await {
            // A call that travelled faster than the one before may come a moment too early.
            assert!(matches!(error, SlackError::RateLimited { .. }), "{error}");
            pace.pause(CHANNEL, Duration::from_secs(1));
            pace.wait(CHANNEL).await;
            post(&slack, &n.to_string()).await.unwrap();
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(fake.messages().len(), 3);
}

#[test]
fn a_base_address_must_be_plain() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for base in [
        "slack.com/api",
        "ftp://slack.com",
        "https://user:pw@slack.com/api",
        "https://slack.com/api?token=x",
    ] {
        let source: TokenSource = Arc::new(|| TOKEN.to_owned().into());
        assert!(SlackClient::new(base, SHORT, source).is_err(), "{base}");
    }
}
