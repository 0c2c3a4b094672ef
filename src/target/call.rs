//! A request to a pod that is meant to change something there, such as a warm-up, and how its answer is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The request that warms a pod up, as the policy declares it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmUp {
    /// The method.
    pub method: Method,
    /// The path on every pod.
    pub path: String,
    /// The port on every pod.
    pub port: u16,
    /// The status that must be answered; any 2xx where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long one answer may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// One request to one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// The pod's name.
    pub of: String,
    /// The address.
    pub url: String,
    /// What is asked, and how the answer is judged.
    pub request: WarmUp,
}

impl WarmUp {
    /// How long one answer may take where the policy does not say.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// Judges an answer by its status.
    #[must_use]
    pub fn judge(&self, status: u16) -> (bool, String) {
        let good = match self.status {
            Some(wanted) => status == wanted,
            None => (200..300).contains(&status),
        };
        (good, format!("HTTP {status}"))
    }
}

impl Method {
    /// The method as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

impl std::fmt::Display for WarmUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn warm_up() -> WarmUp {
        WarmUp {
            method: Method::Post,
            path: "/warmup".into(),
            port: 8000,
            status: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_status() {
        let any = warm_up();
        assert!(any.judge(200).0 && any.judge(204).0);
        assert_eq!(any.judge(503), (false, "HTTP 503".into()));
        assert!(!any.judge(302).0);
        let one = WarmUp {
            status: Some(202),
            ..any
        };
        assert!(one.judge(202).0 && !one.judge(200).0);
    }
}
