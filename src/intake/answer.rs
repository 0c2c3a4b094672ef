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
    /// There was no valid token.
    Unauthorized,
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
            Self::Unauthorized => Received::Unauthorized,
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
            Self::Unauthorized => {
                let mut response = failure(StatusCode::UNAUTHORIZED, "unauthorized", "");
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
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
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn answered(n: usize) -> Answered {
        Answered {
            fingerprint: format!("{n:016x}"),
            trigger: Some("latency".to_owned()),
            decision: "start",
            reason: Reason::Claimed,
            said: "r7 went live 6 min ago".to_owned(),
            rollback: Some("options-production/options-api-r7-7dc687bd8d".to_owned()),
        }
    }

    #[tokio::test]
    async fn decisions_are_told_in_order_and_densely() {
        let declined = Answered {
            trigger: None,
            decision: "decline",
            reason: Reason::NoTrigger,
            said: String::new(),
            rollback: None,
            ..answered(2)
        };
        let outcome = Outcome {
            decisions: vec![answered(1), declined],
            unrecorded: None,
        };
        let response = Answer::Done(2, outcome).respond(Version::HTTP_11);
        assert_eq!(response.status(), StatusCode::OK);
        insta::assert_snapshot!(text(response).await, @r#"{"received":2,"decisions":[{"fingerprint":"0000000000000001","trigger":"latency","decision":"start","reason":"claimed","said":"r7 went live 6 min ago","rollback":"options-production/options-api-r7-7dc687bd8d"},{"fingerprint":"0000000000000002","decision":"decline","reason":"no_trigger"}]}"#);
    }

    #[tokio::test]
    async fn long_answers_leave_the_words_out() {
        for (count, wordy) in [(200, true), (201, false)] {
            let outcome = Outcome {
                decisions: (0..count).map(answered).collect(),
                unrecorded: None,
            };
            let text = text(Answer::Done(count, outcome).respond(Version::HTTP_11)).await;
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["decisions"].as_array().unwrap().len(), count);
            assert_eq!(text.contains("r7 went live"), wordy);
        }
    }

    #[tokio::test]
    async fn a_failure_says_what_was_decided_and_stays_short() {
        let finding = Reason::Unrecorded.because("the API server did not answer");
        let decisions = (0..25).map(answered).collect();
        let response = Answer::Unrecorded(Some(1000), finding, decisions).respond(Version::HTTP_11);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["error"], "the API server did not answer");
        assert_eq!(body["reason"], "unrecorded");
        assert_eq!(
            (&body["received"], &body["omitted"]),
            (&1000.into(), &5.into())
        );
        assert_eq!(body["decisions"].as_array().unwrap().len(), LISTED);
    }

    #[tokio::test]
    async fn what_is_malformed_is_told_with_its_place() {
        for (body, wanted) in [
            (
                &b"{"[..],
                r#"{"error":"not JSON: EOF while parsing an object","reason":"malformed","where":"line 1, column 1"}"#,
            ),
            (
                b"{}",
                r#"{"error":"not an Alertmanager notification of version 4: it has no `version`","reason":"malformed"}"#,
            ),
            (
                br#"{"version":"4"}"#,
                r#"{"error":"missing","reason":"malformed","where":"alerts, in the object that ends at line 1, column 15"}"#,
            ),
        ] {
            let error = crate::alert::decode(body).unwrap_err();
            assert_eq!(
                text(Answer::Malformed(error).respond(Version::HTTP_11)).await,
                wanted
            );
        }
    }

    #[test]
    fn http_2_has_no_connection_header() {
        let slow = Answer::Unread(Refusal::Slow);
        assert!(
            slow.respond(Version::HTTP_11)
                .headers()
                .contains_key(CONNECTION)
        );
        assert!(
            !slow
                .respond(Version::HTTP_2)
                .headers()
                .contains_key(CONNECTION)
        );
    }
}
