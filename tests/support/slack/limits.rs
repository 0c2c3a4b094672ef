//! What Slack takes and what it refuses, with its own codes.
//!
//! Written from Slack's documentation alone, not from the code under test, so that the two can disagree.

use axum::http::{HeaderMap, header};
use serde_json::Value;

/// Keys that go with every message.
const CONTENT: [&str; 3] = ["text", "blocks", "parse"];

/// Checks the token and the content type.
pub(super) fn headers(headers: &HeaderMap, token: &str) -> Result<(), &'static str> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = value(header::AUTHORIZATION).ok_or("not_authed")?;
    if authorization != format!("Bearer {token}") {
        return Err("invalid_auth");
    }
    let kind = value(header::CONTENT_TYPE).ok_or("missing_post_type")?;
    if kind.eq_ignore_ascii_case("application/json; charset=utf-8") {
        Ok(())
    } else {
        Err("invalid_post_type")
    }
}

/// Checks text and blocks and that there is no argument but `others`; gives the text.
pub(super) fn content(body: &Value, others: &[&str]) -> Result<String, &'static str> {
    let known = |key: &String| CONTENT.contains(&key.as_str()) || others.contains(&key.as_str());
    if !body.as_object().ok_or("json_not_object")?.keys().all(known) {
        return Err("invalid_arguments");
    }
    let text = match body.get("text") {
        None => "",
        Some(text) => text.as_str().ok_or("invalid_arguments")?,
    };
    let blocks = match body.get("blocks") {
        None => &Vec::new(),
        Some(blocks) => blocks.as_array().ok_or("invalid_blocks_format")?,
    };
    // A fallback text is always wanted here, though Slack takes blocks alone.
    if text.trim().is_empty() {
        return Err("no_text");
    }
    if length(text) > 4_000 {
        return Err("msg_too_long");
    }
    if blocks.len() > 50 || !blocks.iter().all(is_block) {
        return Err("invalid_blocks");
    }
    if length(&serde_json::to_string(blocks).expect("it was JSON")) >= 13_000 {
        return Err("msg_blocks_too_long");
    }
    Ok(text.to_owned())
}

/// The blocks of a checked body; none given means none shown.
pub(super) fn blocks_of(body: &Value) -> Vec<Value> {
    body["blocks"].as_array().cloned().unwrap_or_default()
}

/// Every text in some blocks, in reading order.
pub(super) fn texts(blocks: &[Value]) -> Vec<String> {
    blocks.iter().flat_map(texts_of).collect()
}

/// Every `<…>` in some markup: mentions and links.
pub(super) fn tags(markup: &str) -> Vec<String> {
    let ends = |rest: &str| rest.find('>').map(|end| format!("<{}", &rest[..=end]));
    markup.split('<').skip(1).filter_map(ends).collect()
}

fn texts_of(block: &Value) -> Vec<String> {
    let one = block.get("text").into_iter();
    let many = ["fields", "elements"]
        .into_iter()
        .filter_map(|key| block[key].as_array())
        .flatten();
    one.chain(many)
        .filter_map(|text| text["text"].as_str())
        .map(str::to_owned)
        .collect()
}

fn is_block(block: &Value) -> bool {
    let Some(kind) = block["type"].as_str() else {
        return false;
    };
    match kind {
        "header" => {
            has_only(block, &["type", "text"]) && is_text(&block["text"], "plain_text", 150)
        }
        "section" => {
            let text = block.get("text");
            let fields = block.get("fields");
            has_only(block, &["type", "text", "fields"])
                && (text.is_some() || fields.is_some())
                && text.is_none_or(|text| is_text(text, "mrkdwn", 3_000))
                && fields.is_none_or(|fields| are_texts(fields, 2_000))
        }
        "context" => has_only(block, &["type", "elements"]) && are_texts(&block["elements"], 3_000),
        "divider" => has_only(block, &["type"]),
        _ => false,
    }
}

fn are_texts(texts: &Value, most: usize) -> bool {
    let Some(texts) = texts.as_array() else {
        return false;
    };
    (1..=10).contains(&texts.len()) && texts.iter().all(|text| is_text(text, "mrkdwn", most))
}

fn is_text(text: &Value, kind: &str, most: usize) -> bool {
    let own = if kind == "mrkdwn" {
        "verbatim"
    } else {
        "emoji"
    };
    let Some(content) = text["text"].as_str() else {
        return false;
    };
    text["type"] == kind
        && has_only(text, &["type", "text", own])
        && text.get(own).is_none_or(Value::is_boolean)
        && !content.trim().is_empty()
        && length(content) <= most
}

fn has_only(value: &Value, keys: &[&str]) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.keys().all(|key| keys.contains(&key.as_str())))
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}
