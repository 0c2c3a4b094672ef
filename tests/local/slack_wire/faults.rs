//! When the network or the answer is at fault: does the message exist, and is that said?

use ripcord::report::slack::{Remedy, SlackError};
use serde_json::json;

use super::{CHANNEL, SHORT, client, client_with, fake, post};
use crate::support::slack::{Fault, TOKEN};

#[tokio::test]
async fn after_silence_the_message_may_exist() {
    let fake = fake().await;
    let slack = client_with(&fake, SHORT, || TOKEN.to_owned());
    for (done, expected) in [(false, 0), (true, 1)] {
        fake.fault(1, &Fault::Hang { done });
        let error = post(&slack, "x").await.unwrap_err();
        assert_eq!(
            error,
            SlackError::Unknown {
                reason: "no answer in time".to_owned()
            }
        );
        assert_eq!(error.remedy(), Remedy::MayHaveHappened);
        assert_eq!(fake.messages().len(), expected);
    }
    fake.silence(true);
    assert_eq!(
        post(&slack, "x").await.unwrap_err().remedy(),
        Remedy::MayHaveHappened
    );
    fake.silence(false);
    post(&slack, "y").await.unwrap();
    assert!(fake.messages().iter().any(|message| message.text == "y"));
}

#[tokio::test]
async fn silence_ends_when_told() {
    let fake = fake().await;
    fake.silence(true);
    let hasty = client_with(&fake, SHORT, || TOKEN.to_owned());
    post(&hasty, "hasty").await.unwrap_err();
    assert_eq!(fake.calls(), []);
    let slack = client(&fake);
    let waiting = tokio::spawn(async move { post(&slack, "patient").await });
    fake.silence(false);
    fake.until(|fake| {
        fake.messages()
            .iter()
            .any(|message| message.text == "patient")
    })
    .await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_a_lost_connection_the_message_may_exist() {
    let fake = fake().await;
    let slack = client(&fake);
    for (done, expected) in [(false, 0), (true, 1)] {
        fake.fault(1, &Fault::Drop { done });
        let error = post(&slack, "x").await.unwrap_err();
        assert_eq!(
            error,
            SlackError::Unknown {
                reason: "the connection was lost".to_owned()
            }
        );
        assert_eq!(fake.messages().len(), expected);
    }
    assert_eq!(
        fake.calls().len(),
        2,
        "a post that may exist is not sent again by itself"
    );
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let mut fake = fake().await;
    let slack = client(&fake);
    post(&slack, "before").await.unwrap();
    fake.down().await;
    let error = post(&slack, "during").await.unwrap_err();
    assert!(
        matches!(
            error,
            SlackError::NotSent { .. } | SlackError::Unknown { .. }
        ),
        "{error}"
    );
    // The pooled connection is gone now at the latest.
    let error = post(&slack, "during").await.unwrap_err();
    assert!(matches!(error, SlackError::NotSent { .. }), "{error}");
    assert_eq!(error.remedy(), Remedy::Retry);
    fake.up().await;
    post(&slack, "after").await.unwrap();
    let texts: Vec<String> = fake
        .messages()
        .into_iter()
        .map(|message| message.text)
        .collect();
    assert_eq!(texts, ["before", "after"]);
}

#[tokio::test]
async fn other_statuses_are_failures_and_redirects_are_not_followed() {
    let fake = fake().await;
    let slack = client(&fake);
    for (status, remedy) in [
        (500, Remedy::MayHaveHappened),
        (503, Remedy::MayHaveHappened),
        (307, Remedy::Fix),
        (404, Remedy::Fix),
    ] {
        fake.fault(1, &Fault::Status(status));
        let error = post(&slack, "x").await.unwrap_err();
        assert_eq!(
            (&error, error.remedy()),
            (&SlackError::Http { status }, remedy)
        );
    }
    assert_eq!(fake.calls().len(), 4);
    assert!(
        fake.calls()
            .iter()
            .all(|call| call.method == "chat.postMessage")
    );
}

#[tokio::test]
async fn an_answer_that_is_not_slacks_leaves_it_open() {
    let fake = fake().await;
    let slack = client(&fake);
    let answers = [
        "<html>Sign in</html>",
        "",
        r#"{"ok":true}"#,
        r#"{"ok":true,"channel":1,"ts":2}"#,
    ];
    for answer in answers
        .map(str::to_owned)
        .into_iter()
        .chain(["x".repeat(300 * 1024)])
    {
        fake.fault(1, &Fault::Answer(answer));
        assert_eq!(
            post(&slack, "x").await.unwrap_err().remedy(),
            Remedy::MayHaveHappened
        );
    }
    let warned = json!({
        "ok": true, "channel": CHANNEL, "ts": "1700000000.000009", "warning": "message_truncated",
        "response_metadata": {"warnings": ["message_truncated"]}, "message": {"bot_id": "B1"},
    });
    fake.fault(1, &Fault::Answer(warned.to_string()));
    assert_eq!(
        post(&slack, "x").await.unwrap().ts.as_str(),
        "1700000000.000009"
    );
}

#[tokio::test]
async fn errors_hold_neither_the_token_nor_the_address() {
    let mut fake = fake().await;
    let slack = client_with(&fake, SHORT, || TOKEN.to_owned());
    let mut errors = Vec::new();
    for fault in [
        Fault::TooMany { retry_after: 1 },
        Fault::Refuse("invalid_auth"),
        Fault::Status(500),
        Fault::Hang { done: false },
        Fault::Drop { done: false },
        Fault::Answer(format!("{{\"ok\":false,\"error\":\"no {TOKEN}\"}}")),
    ] {
        fake.fault(1, &fault);
        errors.push(post(&slack, "x").await.unwrap_err());
    }
    fake.down().await;
    errors.push(post(&slack, "x").await.unwrap_err());
    let said = format!(
        "{errors:?} {slack:?} {}",
        errors.iter().map(ToString::to_string).collect::<String>()
    );
    for secret in [TOKEN, "127.0.0.1", "/api", "chat.postMessage"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}
