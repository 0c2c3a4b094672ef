//! What the local Slack knows and how it answers, apart from sockets and faults.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fault, TOKEN, limits};

/// A message as readers see it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub channel: String,
    pub ts: String,
    /// When it was posted.
    pub at: Timestamp,
    pub thread_ts: Option<String>,
    /// Whether an answer in a thread is shown in the channel too.
    pub broadcast: bool,
    pub text: String,
    pub blocks: Vec<Value>,
    /// The texts that edits replaced, oldest first.
    pub earlier: Vec<String>,
}

/// One request, whatever became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: String,
    pub body: Value,
    /// `ok`, Slack's error code, or what the fault did instead.
    pub outcome: String,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) channels: Vec<Channel>,
    pub(super) messages: Vec<Recorded>,
    /// How many messages there ever were: a name is never given twice.
    pub(super) posted: usize,
    pub(super) calls: Vec<Call>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) paced: bool,
    pub(super) last_post: HashMap<String, Instant>,
}

pub(super) struct Channel {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) refuses: Option<&'static str>,
}

/// What a call comes to, before any fault.
pub(super) enum Outcome {
    Ok(Value),
    Refused(&'static str),
    TooMany,
}

// === impl Recorded ===

impl Recorded {
    /// What a reader sees: the blocks, or the text when there are none.
    pub fn visible(&self) -> String {
        if self.blocks.is_empty() {
            self.text.clone()
        } else {
            limits::texts(&self.blocks).join("\n")
        }
    }

    /// Everybody this message notifies, as markup (`<!here>`, `<@U…>`); a header is plain text and calls nobody.
    pub fn pings(&self) -> Vec<String> {
        let is_markup = |block: &&Value| block["type"] != "header";
        let markup: Vec<Value> = self.blocks.iter().filter(is_markup).cloned().collect();
        let everything = format!("{}\n{}", self.text, limits::texts(&markup).join("\n"));
        let is_ping = |tag: &String| tag.starts_with("<!") || tag.starts_with("<@");
        limits::tags(&everything)
            .into_iter()
            .filter(is_ping)
            .collect()
    }
}

// === impl State ===

impl State {
    pub(super) fn outcome(&mut self, method: &str, headers: &HeaderMap, body: &Value) -> Outcome {
        match self.perform(method, headers, body) {
            Ok(outcome) => outcome,
            Err(code) => Outcome::Refused(code),
        }
    }

    fn perform(
        &mut self,
        method: &str,
        headers: &HeaderMap,
        body: &Value,
    ) -> Result<Outcome, &'static str> {
        limits::headers(headers, TOKEN)?;
        match method {
            "chat.postMessage" => self.post(body),
            "chat.update" => self.update(body),
            "auth.test" => Ok(Outcome::Ok(
                json!({"team": "Local", "user": "ripcord", "team_id": "T1", "bot_id": "B1"}),
            )),
            _ => Err("unknown_method"),
        }
    }

    fn post(&mut self, body: &Value) -> Result<Outcome, &'static str> {
        let text = limits::content(
            body,
            &[
                "channel",
                "thread_ts",
                "reply_broadcast",
                "unfurl_links",
                "unfurl_media",
            ],
        )?;
        let broadcast = match body.get("reply_broadcast") {
            None => false,
            Some(asked) if body.get("thread_ts").is_some() => {
                asked.as_bool().ok_or("invalid_arguments")?
            }
            Some(_) => return Err("invalid_arguments"),
        };
        let asked = body["channel"].as_str().ok_or("channel_not_found")?;
        let name = asked.trim_start_matches('#');
        let channel = self
            .channels
            .iter()
            .find(|channel| channel.id == asked || channel.name == name);
        let channel = channel.ok_or("channel_not_found")?;
        if let Some(code) = channel.refuses {
            return Err(code);
        }
        let channel = channel.id.clone();
        let thread_ts = body
            .get("thread_ts")
            .map(|ts| ts.as_str().ok_or("invalid_arguments"))
            .transpose()?;
        if let Some(thread) = thread_ts {
            let parent = self.find(&channel, thread).ok_or("thread_not_found")?;
            if parent.thread_ts.is_some() {
                return Err("cannot_reply_to_message");
            }
        }
        let last = self.last_post.get(&channel);
        if self.paced && last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            return Ok(Outcome::TooMany);
        }
        self.last_post.insert(channel.clone(), Instant::now());
        self.posted += 1;
        let ts = format!("1700000000.{:06}", self.posted);
        self.messages.push(Recorded {
            channel: channel.clone(),
            ts: ts.clone(),
            at: ripcord::cluster::clock::system()(),
            thread_ts: thread_ts.map(str::to_owned),
            broadcast,
            text: text.clone(),
            blocks: limits::blocks_of(body),
            earlier: Vec::new(),
        });
        Ok(Outcome::Ok(
            json!({"channel": channel, "ts": ts, "message": {"type": "message", "text": text}}),
        ))
    }

    fn update(&mut self, body: &Value) -> Result<Outcome, &'static str> {
        let text = limits::content(body, &["channel", "ts"])?;
        let asked = body["channel"].as_str().unwrap_or_default();
        let channel = self
            .channels
            .iter()
            .find(|channel| channel.id == asked)
            .ok_or("channel_not_found")?;
        if let Some(code) = channel.refuses {
            return Err(code);
        }
        let ts = body["ts"].as_str().ok_or("message_not_found")?;
        let found = self
            .messages
            .iter_mut()
            .find(|message| message.channel == asked && message.ts == ts);
        let message = found.ok_or("message_not_found")?;
        message
            .earlier
            .push(std::mem::replace(&mut message.text, text.clone()));
        message.blocks = limits::blocks_of(body);
        Ok(Outcome::Ok(
            json!({"channel": asked, "ts": ts, "text": text}),
        ))
    }

    fn find(&self, channel: &str, ts: &str) -> Option<&Recorded> {
        self.messages
            .iter()
            .find(|message| message.channel == channel && message.ts == ts)
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn word(&self) -> String {
        match self {
            Self::Ok(_) => "ok".to_owned(),
            Self::Refused(code) => (*code).to_owned(),
            Self::TooMany => "429".to_owned(),
        }
    }
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        match self {
            Self::Ok(mut answer) => {
                answer["ok"] = true.into();
                // Slack says with each answer what the token may do.
                (
                    [("x-oauth-scopes", "chat:write,chat:write.public")],
                    axum::Json(answer),
                )
                    .into_response()
            }
            Self::Refused(code) => axum::Json(json!({"ok": false, "error": code})).into_response(),
            Self::TooMany => too_many(1),
        }
    }
}

pub(super) fn too_many(retry_after: u64) -> Response {
    let body = axum::Json(json!({"ok": false, "error": "ratelimited"}));
    (
        StatusCode::TOO_MANY_REQUESTS,
        [(header::RETRY_AFTER, retry_after.to_string())],
        body,
    )
        .into_response()
}
