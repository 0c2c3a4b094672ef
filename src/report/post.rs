//! One POST over HTTP, and what its failure means: the same for Slack, an incident tracker and any webhook.
//!
//! It follows no redirect, which would carry a secret elsewhere, repeats nothing, and says neither addresses nor
//! secrets in its errors. What a status means beyond that is the reporter's to say.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};

use super::reporter::{Failure, Remedy};
use super::secret;

/// How long one call may take, from connecting to the last byte of the answer.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the other side says "too fast" but not for how long.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Shorter than the idle times of usual firewalls and balancers: a connection that was dropped without a word
/// turns a message into one of which nobody knows whether it arrived.
const LONGEST_IDLE: Duration = Duration::from_secs(20);
/// How much of an answer is read.
const READ: usize = 64 * 1024;
/// How much of a refusal is repeated to people.
const SHOWN: usize = 200;

/// Sends POST requests with a JSON body.
#[derive(Clone, Debug)]
pub struct Poster {
    usual: Client,
    local: Client,
}

/// Why a POST did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// No connection was made, so nothing was sent.
    #[error("it cannot be reached: {0}")]
    NotSent(String),
    /// The connection ended or the time ran out after the request went out: it may have been taken.
    #[error("it may have been taken: {0}")]
    Unknown(&'static str),
    /// Another answer than success.
    #[error("it answered HTTP {status}{said}")]
    Status {
        /// The status.
        status: u16,
        /// How long to wait.
        retry_after: Duration,
        /// What else was answered, behind a colon; nothing where that is no short text.
        said: String,
    },
}

// === impl Poster ===

impl Poster {
    /// A poster whose calls take at most `timeout`. The process must have installed its TLS provider.
    ///
    /// # Errors
    /// Where the TLS set-up of this machine cannot be used.
    pub fn new(timeout: Duration) -> reqwest::Result<Self> {
        Ok(Self {
            usual: client(timeout, false)?,
            local: client(timeout, true)?,
        })
    }

    /// Sends it. Any 2xx is success. `key` is a secret in the body: with the address and the values of sensitive headers,
    /// it is kept out of what is said.
    ///
    /// # Errors
    /// See [`PostError`].
    pub async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        key: Option<&str>,
    ) -> Result<(), PostError> {
        let mut secrets = secrets(&url, &headers);
        secrets.extend(key.map(str::to_owned));
        let client = if is_local(&url) {
            &self.local
        } else {
            &self.usual
        };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .headers(headers)
            .body(body);
        let response = request.send().await.map_err(|error| transport(&error))?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        Err(PostError::Status {
            status,
            retry_after,
            said: said(response, &secrets).await,
        })
    }
}

// === impl PostError ===

impl PostError {
    /// What helps. `once` says that the other side takes the same message a second time for the first.
    #[must_use]
    pub fn remedy(&self, once: bool) -> Remedy {
        let doubt = if once {
            Remedy::Retry
        } else {
            Remedy::MayHaveHappened
        };
        match self {
            // 502 and 503 are what a balancer says that has nobody behind it; 504, that somebody has it and does not answer.
            Self::NotSent(_)
            | Self::Status {
                status: 408 | 502 | 503,
                ..
            } => Remedy::Retry,
            Self::Unknown(_) | Self::Status { status: 500.., .. } => doubt,
            Self::Status {
                status: 429,
                retry_after,
                ..
            } => Remedy::Wait(*retry_after),
            Self::Status { .. } => Remedy::Fix,
        }
    }

    /// As what failed for a reporter of this name.
    #[must_use]
    pub fn failure(&self, name: &str, once: bool) -> Failure {
        Failure::new(self.remedy(once), format!("{name}: {self}"))
    }
}

/// A client whose calls take at most `timeout`; `local` ones go past the proxy that the environment names.
///
/// # Errors
/// Where the TLS set-up of this machine cannot be used.
pub fn client(timeout: Duration, local: bool) -> reqwest::Result<Client> {
    let http = Client::builder()
        .timeout(timeout)
        // So that a host which does not answer is told from an answer which does not come.
        .connect_timeout(timeout / 2)
        .pool_idle_timeout(LONGEST_IDLE)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("ripcord/", env!("CARGO_PKG_VERSION")));
    let http = if local { http.no_proxy() } else { http };
    http.build()
}

/// Whether an address is on this host, which is not behind the proxy that the environment names.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

/// How long the other side asks to wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(DEFAULT_RETRY_AFTER, Duration::from_secs)
}

/// The innermost cause. The outer ones of this client name the address.
#[must_use]
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if cause.is::<reqwest::Error>() {
        "the request was not made".to_owned()
    } else {
        cause.to_string()
    }
}

fn transport(error: &reqwest::Error) -> PostError {
    if error.is_connect() || error.is_builder() {
        PostError::NotSent(root_cause(error))
    } else if error.is_timeout() {
        PostError::Unknown("no answer in time")
    } else {
        PostError::Unknown("the connection was lost")
    }
}

/// A part of an address that is shorter than this is a word like any other.
const SECRET: usize = 8;

/// What an answer must not repeat to people: the address, and what sensitive headers say, whole and in parts.
fn secrets(url: &Url, headers: &HeaderMap) -> Vec<String> {
    let headers = headers.values().filter(|value| value.is_sensitive());
    let headers = headers.filter_map(|value| value.to_str().ok());
    let words = headers.flat_map(|value| std::iter::once(value).chain(value.split_whitespace()));
    let path = [url.path(), url.query().unwrap_or_default()];
    let path = path.into_iter().filter(|part| *part != "/");
    let segments = url.path().split('/').filter(|part| part.len() >= SECRET);
    let person = [url.username(), url.password().unwrap_or_default()];
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let parts = words.chain(path).chain(segments).chain(person);
    let mut all: Vec<_> = parts.map(str::to_owned).chain(values).collect();
    // The longest first: a part of it may be a secret too.
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all
}

/// The words of a refusal, as far as they are fit for a log.
async fn said(mut response: Response, secrets: &[String]) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > READ {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = secret::hide(&text, secrets.iter().map(String::as_str))
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    // A page for browsers says nothing to people who read a log.
    if text.is_empty() || text.starts_with('<') {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_with_a_default() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), DEFAULT_RETRY_AFTER);
        headers.insert(RETRY_AFTER, HeaderValue::from_static(" 30 "));
        assert_eq!(retry_after(&headers), Duration::from_secs(30));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("soon"));
        assert_eq!(retry_after(&headers), DEFAULT_RETRY_AFTER);
    }

    #[test]
    fn an_answer_repeats_no_secret() {
        let url = Url::parse("https://x.example/services/T0/B0/x?token=abc").unwrap();
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_static("Bearer s3cret");
        bearer.set_sensitive(true);
        headers.insert("authorization", bearer);
        headers.insert("x-team", HeaderValue::from_static("shop"));
        let said = "no /services/T0/B0/x with token=abc, nor for Bearer s3cret or s3cret of shop";
        let secrets = secrets(&url, &headers);
        let hidden = secret::hide(said, secrets.iter().map(String::as_str));
        assert_eq!(hidden, "no … with …, nor for … or … of shop");
    }

    #[test]
    fn each_failure_has_its_remedy() {
        let wait = Duration::from_secs(7);
        let status = |status| PostError::Status {
            status,
            retry_after: wait,
            said: String::new(),
        };
        for (error, remedy, once) in [
            (
                PostError::NotSent("refused".into()),
                Remedy::Retry,
                Remedy::Retry,
            ),
            (
                PostError::Unknown("no answer"),
                Remedy::MayHaveHappened,
                Remedy::Retry,
            ),
            (status(500), Remedy::MayHaveHappened, Remedy::Retry),
            (status(502), Remedy::Retry, Remedy::Retry),
            (status(503), Remedy::Retry, Remedy::Retry),
            (status(504), Remedy::MayHaveHappened, Remedy::Retry),
            (status(408), Remedy::Retry, Remedy::Retry),
            (status(429), Remedy::Wait(wait), Remedy::Wait(wait)),
            (status(400), Remedy::Fix, Remedy::Fix),
            (status(302), Remedy::Fix, Remedy::Fix),
        ] {
            assert_eq!(error.remedy(false), remedy, "{error}");
            assert_eq!(error.remedy(true), once, "{error}");
        }
    }
}
