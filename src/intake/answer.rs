//! What senders and probes are told, always as one line of JSON.
//!
//! Alertmanager copies a failure's body into its own log, so that failures are short. No answer holds a secret, and
//! none is a redirect, a 408 or a 429.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::Refusal;
use super::{Answered, Outcome};
use crate::alert::DecodeError;
use crate::reason::{Finding, Reason};
use crate::telemetry::metrics::Received;

/// With more alerts than this, the words for people are left out.
const WORDY: usize = 200;
/// How many decisions a failure lists.
const LISTED: usize = 20;

/// What became of a notification.
#[derive(Debug)]
pub(super) enum Answer {
    /// Every alert was dealt with.
    Done(usize, Outcome),
    /// Something was not recorded: of so many alerts, where it is known, these decisions were made.
    Unrecorded(Option<usize>, Finding, Vec<Answered>),
    /// The body is no notification.
    Malformed(DecodeError),
    /// The body was not read.
    Unread(Refusal),
    /// There was no valid token nor password; what is wanted.
    Unauthorized(HeaderValue),
    /// The replica shuts down.
    Draining,
    /// Deciding panicked.
    Panicked,
}

#[derive(Serialize)]
struct Success<'a> {
    received: usize,
    decisions: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    fingerprint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a str>,
    decision: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    said: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Failure<'a> {
    error: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Told<'a>>,
    /// How many decisions are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<usize>,
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    said: &'a str,
}

// === impl Answer ===

impl Answer {
    /// Under which name it is counted.
    pub(super) const fn result(&self) -> Received {
        match self {
            Self::Done(..) => Received::Accepted,
            Self::Unrecorded(..) => Received::Unrecorded,
            Self::Malformed(_) => Received::Malformed,
            Self::Unread(Refusal::TooLarge) => Received::TooLarge,
            Self::Unread(Refusal::Overloaded) => Received::Overloaded,
            Self::Unread(Refusal::Slow) => Received::Timeout,
            Self::Unread(Refusal::Interrupted) => Received::Interrupted,
            Self::Unauthorized(_) => Received::Unauthorized,
            Self::Draining => Received::Draining,
            Self::Panicked => Received::Panicked,
        }
    }

    /// The response to a request of this HTTP version.
    pub(super) fn respond(&self, version: Version) -> Response {
        let mut response = match self {
            Self::Done(received, outcome) => {
                let wordy = outcome.decisions.len() <= WORDY;
                let success = Success {
                    received: *received,
                    decisions: list(&outcome.decisions, wordy, usize::MAX),
                };
                (StatusCode::OK, Json(success)).into_response()
            }
            Self::Unrecorded(received, finding, decisions) => {
                let failure = Failure {
                    error: finding.to_string(),
                    reason: finding.reason.code(),
                    received: *received,
                    decisions: list(decisions, false, LISTED),
                    omitted: decisions.len().checked_sub(LISTED).filter(|&n| n > 0),
                    ..Failure::default()
                };
                (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response()
            }
            Self::Malformed(error) => malformed(error),
            Self::Unread(refusal) => unread(*refusal),
            Self::Unauthorized(wanted) => {
                let mut response = failure(StatusCode::UNAUTHORIZED, "unauthorized", "");
                let headers = response.headers_mut();
                headers.insert(WWW_AUTHENTICATE, wanted.clone());
                response
            }
            Self::Draining => failure(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::Draining.meaning(),
                Reason::Draining.code(),
            ),
            Self::Panicked => panicked(),
        };
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            // Alertmanager comes back by itself; this is for other senders and for proxies.
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.ends_connection() && version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    /// Whether the connection is of no more use: a body stands in the way, or the replica goes away.
    const fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Draining | Self::Unread(Refusal::Slow | Refusal::Interrupted)
        )
    }
}

/// The answer to a probe for readiness.
pub(super) fn readiness(state: Result<(), Finding>) -> Response {
    match state {
        Ok(()) => Json(Readiness {
            ready: true,
            reason: None,
            said: "",
        })
        .into_response(),
        Err(finding) => {
            let body = Readiness {
                ready: false,
                reason: Some(finding.reason.code()),
                said: &finding.to_string(),
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// The answer to a path that does not exist.
pub(super) fn not_found() -> Response {
    failure(StatusCode::NOT_FOUND, "there is nothing at this path", "")
}

/// The answer to a method that the path does not know.
pub(super) fn wrong_method() -> Response {
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take this method",
        "",
    )
}

/// The answer when handling a request panicked.
pub(super) fn panicked() -> Response {
    failure(
        StatusCode::INTERNAL_SERVER_ERROR,
        "a defect: the log says more",
        "panicked",
    )
}

fn unread(refusal: Refusal) -> Response {
    let (status, error, reason) = match refusal {
        Refusal::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than allowed",
            "too_large",
        ),
        Refusal::Overloaded => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many notifications at once",
            "overloaded",
        ),
        Refusal::Slow => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the body did not arrive in time",
            "timeout",
        ),
        Refusal::Interrupted => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the body broke off",
            "interrupted",
        ),
    };
    failure(status, error, reason)
}

fn malformed(error: &DecodeError) -> Response {
    let (what, place) = match error {
        DecodeError::NotJson { what, line, column } => (
            format!("not JSON: {what}"),
            Some(format!("line {line}, column {column}")),
        ),
        DecodeError::NotV4 { .. } => (error.to_string(), None),
        DecodeError::Missing { path, line, column } => (
            "missing".to_owned(),
            Some(format!(
                "{path}, in the object that ends at line {line}, column {column}"
            )),
        ),
        DecodeError::Invalid {
            path,
            what,
            line,
            column,
        } => (
            what.clone(),
            Some(format!("{path}, line {line}, column {column}")),
        ),
    };
    let failure = Failure {
        error: what,
        reason: "malformed",
        place,
        ..Failure::default()
    };
    (StatusCode::BAD_REQUEST, Json(failure)).into_response()
}

fn failure(status: StatusCode, error: &str, reason: &str) -> Response {
    let failure = Failure {
        error: error.to_owned(),
        reason,
        ..Failure::default()
    };
    (status, Json(failure)).into_response()
}

fn list(decisions: &[Answered], wordy: bool, limit: usize) -> Vec<Told<'_>> {
    let listed = decisions.iter().take(limit);
    listed
        .map(|answered| Told {
            fingerprint: &answered.fingerprint,
            trigger: answered.trigger.as_deref(),
            decision: answered.decision,
            reason: answered.reason.code(),
            said: if wordy { &answered.said } else { "" },
            rollback: answered.rollback.as_deref(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
