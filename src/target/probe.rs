//! What a step wants looked at besides the snapshot, and what was seen there.

use jiff::Timestamp;
use serde_json::Value;

use super::Health;

/// Something to look at.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A health endpoint.
    Health {
        /// What is asked, for people: a pod's name or the shared address.
        of: String,
        /// The URL to get.
        url: String,
        /// How the answer is judged, and how long it may take.
        health: Health,
    },
    /// A number of Prometheus.
    Metric {
        /// What it is called, for people.
        of: String,
        /// The PromQL expression.
        query: String,
    },
}

/// What one look showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// What was asked.
    pub of: String,
    /// When the answer came.
    pub at: Timestamp,
    /// Whether it was good; of a number, whether there was one.
    pub good: bool,
    /// What was answered, in words.
    pub said: String,
    /// The number, where one was asked for and came.
    pub value: Option<f64>,
}

impl Health {
    /// Judges an answer: the status must be 2xx, and where a pointer is configured, the value there must equal the text.
    #[must_use]
    pub fn judge(&self, status: u16, body: &[u8]) -> (bool, String) {
        if !(200..300).contains(&status) {
            return (false, format!("HTTP {status}"));
        }
        let Some(pointer) = &self.pointer else {
            return (true, format!("HTTP {status}"));
        };
        let key = pointer.rsplit('/').next().unwrap_or(pointer);
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            return (false, format!("HTTP {status}, but the body is no JSON"));
        };
        let Some(found) = json.pointer(pointer) else {
            return (false, format!("HTTP {status}, but nothing at {pointer}"));
        };
        let found = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        let good = self.equals.as_deref().is_none_or(|wanted| wanted == found);
        let shown: String = found.chars().take(60).collect();
        (good, format!("{key}=\"{shown}\""))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_is_judged_by_status_and_value() {
        let health = Health {
            path: "/h".into(),
            port: 1,
            pointer: Some("/overall_status".into()),
            equals: Some("healthy".into()),
            url: None,
            timeout: Duration::from_secs(1),
        };
        let cases: &[(u16, &str, bool, &str)] = &[
            (
                200,
                r#"{"overall_status":"healthy"}"#,
                true,
                "overall_status=\"healthy\"",
            ),
            (
                200,
                r#"{"overall_status":"degraded"}"#,
                false,
                "overall_status=\"degraded\"",
            ),
            (503, r#"{"overall_status":"healthy"}"#, false, "HTTP 503"),
            (302, "", false, "HTTP 302"),
            (200, "<html>", false, "HTTP 200, but the body is no JSON"),
            (200, "{}", false, "HTTP 200, but nothing at /overall_status"),
        ];
        for (status, body, good, said) in cases {
            assert_eq!(
                health.judge(*status, body.as_bytes()),
                (*good, (*said).to_owned()),
                "{status} {body}"
            );
        }
        let plain = Health {
            pointer: None,
            equals: None,
            ..health
        };
        assert!(plain.judge(204, b"").0);
    }
}
