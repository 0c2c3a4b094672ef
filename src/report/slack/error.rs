//! Why a call of Slack failed, and what helps.
//!
//! The one place that knows which refusals are for good. It does not retry; and it keeps addresses and tokens
//! out of what it says.

use std::time::Duration;

use crate::report::post::root_cause;
use crate::report::reporter::{Failure, Remedy};

/// Why a call did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlackError {
    /// There is no token, or it holds characters that no token has. Nothing was sent.
    #[error("there is no usable slack token")]
    NoToken,
    /// No connection was made, so nothing was sent.
    #[error("slack cannot be reached: {reason}")]
    NotSent {
        /// The cause, without the address.
        reason: String,
    },
    /// Too many calls; nothing was done.
    #[error("slack asks to wait {} s", retry_after.as_secs())]
    RateLimited {
        /// How long Slack asks to wait.
        retry_after: Duration,
    },
    /// Slack understood and refused.
    #[error("slack refused: {code}")]
    Refused {
        /// Slack's own word for it, such as `not_in_channel`.
        code: String,
    },
    /// The connection ended or the time ran out after the request went out: the message may exist.
    #[error("slack may have taken the message: {reason}")]
    Unknown {
        /// The cause, without the address.
        reason: String,
    },
    /// Something other than Slack's API answered, or Slack is ill.
    #[error("slack answered with HTTP status {status}")]
    Http {
        /// The status.
        status: u16,
    },
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The base is not a plain http or https address.
    #[error("slack's base address must be http or https, without user name or query")]
    Base,
    /// TLS could not be set up.
    #[error("no http client for slack: {0}")]
    Client(String),
}

impl From<SlackError> for Failure {
    fn from(error: SlackError) -> Self {
        Self::new(error.remedy(), error.to_string())
    }
}

// === impl SlackError ===

impl SlackError {
    /// What helps. Refusals that are not listed are taken to be for good: repeating them blindly helps nobody.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let code = match self {
            Self::RateLimited { retry_after } => return Remedy::Wait(*retry_after),
            Self::Unknown { .. } | Self::Http { status: 500.. } => return Remedy::MayHaveHappened,
            Self::NotSent { .. } | Self::Http { status: 408 } => return Remedy::Retry,
            Self::NoToken | Self::Http { .. } => return Remedy::Fix,
            Self::Refused { code } => code.as_str(),
        };
        match code {
            "message_not_found"
            | "cant_update_message"
            | "edit_window_closed"
            | "thread_not_found"
            | "cannot_reply_to_message"
            | "restricted_action_thread_locked" => Remedy::PostAnew,
            // Slack says of these that a part of the work may have been done.
            "internal_error" | "fatal_error" => Remedy::MayHaveHappened,
            "service_unavailable"
            | "request_timeout"
            | "team_added_to_org"
            | "message_limit_exceeded" => Remedy::Retry,
            // channel_not_found, not_in_channel, is_archived, invalid_auth, token_revoked, missing_scope,
            // msg_too_long, invalid_blocks and their like.
            _ => Remedy::Fix,
        }
    }

    pub(super) fn unknown(reason: &str) -> Self {
        Self::Unknown {
            reason: reason.to_owned(),
        }
    }

    pub(super) fn refused(slack_code: &str, retry_after: Duration) -> Self {
        match code(slack_code) {
            code if code == "ratelimited" || code == "rate_limited" => {
                Self::RateLimited { retry_after }
            }
            code => Self::Refused { code },
        }
    }

    pub(super) fn from_transport(error: &reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            Self::NotSent {
                reason: root_cause(error),
            }
        } else if error.is_timeout() {
            Self::unknown("no answer in time")
        } else {
            Self::unknown("the connection was lost")
        }
    }
}

/// Slack's word as far as it is fit for a log: it comes over the wire.
pub(super) fn code(word: &str) -> String {
    let fit = !word.is_empty()
        && word.len() <= 64
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fit {
        word.to_owned()
    } else {
        "unreadable_code".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: &str) -> Remedy {
        SlackError::refused(code, Duration::from_secs(7)).remedy()
    }

    #[test]
    fn each_refusal_has_its_remedy() {
        for code in ["ratelimited", "rate_limited"] {
            assert_eq!(remedy(code), Remedy::Wait(Duration::from_secs(7)), "{code}");
        }
        for code in [
            "message_not_found",
            "cant_update_message",
            "edit_window_closed",
            "thread_not_found",
        ] {
            assert_eq!(remedy(code), Remedy::PostAnew, "{code}");
        }
        for code in ["service_unavailable", "request_timeout"] {
            assert_eq!(remedy(code), Remedy::Retry, "{code}");
        }
        for code in ["internal_error", "fatal_error"] {
            assert_eq!(remedy(code), Remedy::MayHaveHappened, "{code}");
        }
        for code in [
            "channel_not_found",
            "not_in_channel",
            "is_archived",
            "invalid_auth",
            "token_revoked",
        ] {
            assert_eq!(remedy(code), Remedy::Fix, "{code}");
        }
        for code in [
            "missing_scope",
            "msg_too_long",
            "invalid_blocks",
            "something_new",
            "",
        ] {
            assert_eq!(remedy(code), Remedy::Fix, "{code}");
        }
    }

    #[test]
    fn a_code_that_is_no_word_is_not_repeated() {
        let error = SlackError::refused("see https://evil.example\n<!channel>", Duration::ZERO);
        assert_eq!(error.to_string(), "slack refused: unreadable_code");
    }

    #[test]
    fn a_status_of_500_or_more_may_have_posted() {
        assert_eq!(
            SlackError::Http { status: 502 }.remedy(),
            Remedy::MayHaveHappened
        );
        assert_eq!(SlackError::Http { status: 302 }.remedy(), Remedy::Fix);
        assert_eq!(SlackError::Http { status: 408 }.remedy(), Remedy::Retry);
    }
}
