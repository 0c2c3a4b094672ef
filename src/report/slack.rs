//! Three calls of Slack's web API: post a message, edit it, and ask whose token this is.
//!
//! Slack answers 200 even when it refuses, and it has no idempotency key, so what matters here is to say after
//! each failure whether the message may exist ([`SlackError::remedy`]). Nothing is retried, paced or rendered
//! here, and neither an error nor a log line ever holds the token or an address.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

pub use self::error::{SetupError, SlackError};
use super::blocks::{Block, Message};
use super::post::{client, is_local, retry_after, root_cause};
pub use super::reporter::Remedy;
pub use super::secret::Source as TokenSource;

mod error;
mod followed;
mod hook;
pub mod next;
mod thread;

pub use hook::Hook;
pub use thread::InSlack;

/// Where Slack's web API is.
pub const DEFAULT_BASE: &str = "https://slack.com/api";
/// The header in which Slack says what a token may do.
const SCOPES: &str = "x-oauth-scopes";
/// An answer longer than this is not Slack's.
const LONGEST_ANSWER: usize = 256 * 1024;
/// A client of Slack's web API.
#[derive(Clone)]
pub struct SlackClient {
    http: Client,
    base: Url,
    token: TokenSource,
}

/// The id of a channel (`C…`), as Slack returned it; a name does for posting but not for editing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ChannelId(String);

/// Slack's name for a message within its channel, such as `1503435956.000247`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ts(String);

/// Where a posted message is, which is what editing it and answering in its thread need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Posted {
    /// The channel's id.
    pub channel_id: ChannelId,
    /// The message's name.
    pub ts: Ts,
}

/// The thread that a message goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread<'a> {
    /// The *first* message of the thread, never an answer in it.
    pub ts: &'a Ts,
    /// Whether the channel sees the answer too: without that, only those who follow the thread are notified.
    pub broadcast: bool,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// The workspace's name.
    pub team: String,
    /// The bot's user name.
    pub user: String,
}

/// What all answers have in common; unknown fields, warnings among them, are no failure.
#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    error: Option<String>,
    warning: Option<String>,
}

#[derive(Deserialize)]
struct PostedAnswer {
    channel: ChannelId,
    ts: Ts,
}

#[derive(Serialize)]
struct PostBody<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_ts: Option<&'a Ts>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reply_broadcast: bool,
    unfurl_links: bool,
    unfurl_media: bool,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
struct UpdateBody<'a> {
    channel: &'a ChannelId,
    ts: &'a Ts,
    #[serde(flatten)]
    content: Content<'a>,
}

/// `parse: none`, because an edit would else look for names and addresses in the text.
#[derive(Serialize)]
struct Content<'a> {
    text: &'a str,
    blocks: &'a [Block],
    parse: &'static str,
}

#[derive(Serialize)]
struct NoBody {}

// === impl SlackClient ===

impl SlackClient {
    /// A client of the API at `base` ([`DEFAULT_BASE`] but in tests) whose calls take at most `timeout`.
    ///
    /// The process must have installed its TLS provider. No connection is made yet.
    pub fn new(base: &str, timeout: Duration, token: TokenSource) -> Result<Self, SetupError> {
        let base = Url::parse(base).map_err(|_| SetupError::Base)?;
        let user = !base.username().is_empty() || base.password().is_some();
        if !matches!(base.scheme(), "http" | "https") || user || base.query().is_some() {
            return Err(SetupError::Base);
        }
        let http = client(timeout, is_local(&base))
            .map_err(|error| SetupError::Client(root_cause(&error)))?;
        Ok(Self { http, base, token })
    }

    /// Posts a message to a channel (an id, or the name of a public one), or into a thread of it.
    pub async fn post(
        &self,
        channel: &str,
        message: &Message,
        thread: Option<Thread<'_>>,
    ) -> Result<Posted, SlackError> {
        let content = Content::of(message);
        let body = PostBody {
            channel,
            thread_ts: thread.map(|thread| thread.ts),
            reply_broadcast: thread.is_some_and(|thread| thread.broadcast),
            unfurl_links: false,
            unfurl_media: false,
            content,
        };
        let answer: PostedAnswer = self.call("chat.postMessage", &body).await?;
        Ok(Posted {
            channel_id: answer.channel,
            ts: answer.ts,
        })
    }

    /// Replaces a message of ours. It may be sent any number of times; it notifies nobody.
    pub async fn update(
        &self,
        channel: &ChannelId,
        ts: &Ts,
        message: &Message,
    ) -> Result<(), SlackError> {
        let body = UpdateBody {
            channel,
            ts,
            content: Content::of(message),
        };
        let _: PostedAnswer = self.call("chat.update", &body).await?;
        Ok(())
    }

    /// Asks whose token this is, which shows that it is valid; the right to post is not checked by it.
    pub async fn auth_test(&self) -> Result<Identity, SlackError> {
        self.call("auth.test", &NoBody {}).await
    }

    /// The same, with what the token may do (its scopes), where Slack says so.
    pub async fn scopes(&self) -> Result<(Identity, Option<Vec<String>>), SlackError> {
        let (headers, identity) = self.exchange("auth.test", &NoBody {}).await?;
        let scopes = headers
            .get(SCOPES)
            .and_then(|value| value.to_str().ok())
            .map(|all| all.split(',').map(|one| one.trim().to_owned()).collect());
        Ok((identity, scopes))
    }

    async fn call<A: for<'de> Deserialize<'de>>(
        &self,
        method: &'static str,
        body: &impl Serialize,
    ) -> Result<A, SlackError> {
        let (_, answer) = self.exchange(method, body).await?;
        Ok(answer)
    }

    async fn exchange<A: for<'de> Deserialize<'de>>(
        &self,
        method: &'static str,
        body: &impl Serialize,
    ) -> Result<(HeaderMap, A), SlackError> {
        let unsent = |error: serde_json::Error| SlackError::NotSent {
            reason: error.to_string(),
        };
        let body = serde_json::to_vec(body).map_err(unsent)?;
        let request = self
            .http
            .post(self.address(method))
            .header(AUTHORIZATION, self.bearer()?)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| SlackError::from_transport(&error))?;
        let headers = response.headers().clone();
        let retry_after = retry_after(&headers);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => return Err(SlackError::RateLimited { retry_after }),
            status => {
                return Err(SlackError::Http {
                    status: status.as_u16(),
                });
            }
        }
        let bytes = read(response).await?;
        let unreadable = |_| SlackError::unknown("the answer cannot be read as Slack's");
        let envelope: Envelope = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if !envelope.ok {
            return Err(SlackError::refused(
                envelope.error.as_deref().unwrap_or_default(),
                retry_after,
            ));
        }
        if let Some(warning) = envelope.warning {
            tracing::debug!(slack.method = method, slack.warning = %error::code(&warning), "slack warns");
        }
        let answer = serde_json::from_slice(&bytes).map_err(unreadable)?;
        Ok((headers, answer))
    }

    fn address(&self, method: &str) -> Url {
        let mut url = self.base.clone();
        let path = format!("{}/{method}", self.base.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    fn bearer(&self) -> Result<HeaderValue, SlackError> {
        let token = (self.token)();
        // A token that comes from a file usually ends with a line break.
        let token = token.expose_secret().trim();
        if token.is_empty() {
            return Err(SlackError::NoToken);
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| SlackError::NoToken)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::fmt::Debug for SlackClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlackClient").finish_non_exhaustive()
    }
}

// === impl Thread ===

impl<'a> Thread<'a> {
    /// An answer that only those who follow the thread are notified of.
    #[must_use]
    pub const fn quiet(ts: &'a Ts) -> Self {
        Self {
            ts,
            broadcast: false,
        }
    }
}

// === impl ChannelId and Ts ===

impl From<String> for ChannelId {
    fn from(stored: String) -> Self {
        Self(stored)
    }
}

impl From<String> for Ts {
    fn from(stored: String) -> Self {
        Self(stored)
    }
}

impl ChannelId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ts {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Content ===

impl<'a> Content<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            text: message.text(),
            blocks: message.blocks(),
            parse: "none",
        }
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, SlackError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| SlackError::from_transport(&error))?
    {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(SlackError::unknown("the answer is too long to be Slack's"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
