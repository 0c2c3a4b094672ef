//! What messages hold: that all that can be built is taken, and that foreign text calls nobody.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ripcord::report::blocks::{Block, Mention, Message, Mrkdwn};
use serde_json::{Value, json};

use super::{CHANNEL, client, fake, plain};
use crate::support::slack::TOKEN;

/// The fake must refuse what Slack refuses, or the tests above show nothing.
#[tokio::test]
async fn the_fake_is_strict() {
    let fake = fake().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().build().unwrap();
    let section =
        |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let json_type = "application/json; charset=utf-8";
    let with = |blocks: Value| json!({"channel": CHANNEL, "text": "t", "blocks": blocks});
    let field = json!({"type": "mrkdwn", "text": "f"});
    let cases = [
        (json_type, json!({"channel": CHANNEL, "text": "fine"}), "ok"),
        (json_type, json!({"channel": CHANNEL}), "no_text"),
        (
            json_type,
            json!({"channel": CHANNEL, "text": "x".repeat(4_001)}),
            "msg_too_long",
        ),
        (
            json_type,
            json!({"channel": CHANNEL, "text": "t", "colour": "red"}),
            "invalid_arguments",
        ),
        (json_type, json!([]), "json_not_object"),
        (json_type, with(json!("x")), "invalid_blocks_format"),
        (
            json_type,
            with(json!([section(String::new())])),
            "invalid_blocks",
        ),
        (
            json_type,
            with(json!([section("x".repeat(3_001))])),
            "invalid_blocks",
        ),
        (
            json_type,
            with(json!([{"type": "section", "fields": vec![field; 11]}])),
            "invalid_blocks",
        ),
        (
            json_type,
            with(json!([{"type": "image"}])),
            "invalid_blocks",
        ),
        (
            json_type,
            with(json!(vec![section("x".to_owned()); 51])),
            "invalid_blocks",
        ),
        (
            json_type,
            with(json!(vec![section("x".repeat(3_000)); 5])),
            "msg_blocks_too_long",
        ),
        (
            "application/json",
            json!({"channel": CHANNEL, "text": "t"}),
            "invalid_post_type",
        ),
    ];
    for (kind, body, expected) in cases {
        let request = http
            .post(format!("{}/chat.postMessage", fake.url()))
            .bearer_auth(TOKEN);
        request
            .header("content-type", kind)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(fake.calls().last().unwrap().outcome, expected);
    }
    http.post(format!("{}/auth.test", fake.url()))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(fake.calls().last().unwrap().outcome, "not_authed");
    assert_eq!(fake.messages().len(), 1);
}

#[tokio::test]
async fn only_our_own_mentions_notify() {
    let fake = fake().await;
    let hostile = "<!channel> <@U666666666> <!here> <https://evil.example|runbook>";
    let who: Mention = "S0123ABCD".parse().unwrap();
    let text = plain(hostile)
        .mention(&who)
        .link("https://ok.example/", hostile);
    let message = Message::new(
        &plain(hostile),
        [
            Block::header(hostile),
            Block::section(&text),
            Block::context([text]),
        ],
    );
    client(&fake).post(CHANNEL, &message, None).await.unwrap();
    let recorded = &fake.messages()[0];
    assert_eq!(
        recorded.pings(),
        ["<!subteam^S0123ABCD>", "<!subteam^S0123ABCD>"]
    );
    assert!(
        recorded.visible().contains("&lt;!channel&gt;"),
        "the text itself must be there to read"
    );
}

fn any_message() -> impl Strategy<Value = Message> {
    let text = prop_oneof![
        any::<String>(),
        "[ -~\\n]{0,200}",
        (any::<String>(), 0_usize..300).prop_map(|(text, times)| text.repeat(times)),
        Just("\"<&>\\\n".repeat(1_000)),
    ];
    let markup = prop::collection::vec((text.clone(), 0..6), 0..4).prop_map(|parts| {
        parts
            .iter()
            .fold(Mrkdwn::new(), |markup, (text, style)| match style {
                0 => markup.bold(text),
                1 => markup.code(text),
                2 => markup.preformatted(text),
                3 => markup.link("https://x.example/a?b=c&d=e", text),
                4 => markup.mention(&Mention::Here),
                _ => markup.text(text).line(),
            })
    });
    let many = prop::collection::vec(markup.clone(), 0..14);
    let block = prop_oneof![
        text.prop_map(|text| Block::header(&text)),
        markup.clone().prop_map(|text| Block::section(&text)),
        many.clone().prop_map(Block::fields),
        many.prop_map(Block::context),
        Just(Block::divider()),
    ];
    let blocks = prop_oneof![
        prop::collection::vec(block.clone(), 0..8),
        prop::collection::vec(block, 40..70)
    ];
    (markup, blocks).prop_map(|(fallback, blocks)| Message::new(&fallback, blocks))
}

#[test]
fn whatever_is_built_is_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fake = runtime.block_on(fake());
    let slack = client(&fake);
    let posted = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&any_message(), |message| {
        let sent = runtime.block_on(slack.post(CHANNEL, &message, None));
        posted.fetch_add(1, Ordering::Relaxed);
        prop_assert!(sent.is_ok(), "{:?}", sent);
        Ok(())
    });
    result.unwrap();
    assert_eq!(fake.messages().len(), posted.load(Ordering::Relaxed));
}
