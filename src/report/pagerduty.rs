//! PagerDuty: an incident where a person is needed, by the Events API, version 2.
//!
//! It opens incidents and adds to them. It never acknowledges or resolves one: that a rollback ended well does not say
//! that the person who was woken is done. Every event of a rollback has the same `dedup_key`, so that all of them are one
//! incident, and a repetition is none.

use reqwest::Url;
use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::blocks::cut_plain;
use super::notice::Notice;
use super::once::Once;
use super::page::Span;
use super::post::Poster;
use super::reporter::{Failure, Remedy, Telling, Via};
use super::{secret, story};
use crate::alert::Severity;
use crate::rollback::object::{NoticeReport, Report};

/// Where PagerDuty takes events.
pub const DEFAULT_API: &str = "https://events.pagerduty.com/v2/enqueue";
/// The longest summary and the longest text of details that are sent; PagerDuty's own bound on all is 512 KiB.
const SUMMARY: usize = 1_000;
const DETAILS: usize = 16_000;

/// An incident in PagerDuty where a person is needed: an approval is asked for, a rollback failed or was given up, an alert
/// persists, or one could not be acted on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The file that holds the integration key of the service (Events API v2). Without one, nothing is sent there.
    pub routing_key_file: Option<std::path::PathBuf>,
    /// Where events are taken; in PagerDuty's EU region `https://events.eu.pagerduty.com/v2/enqueue`.
    pub api: String,
}

/// Triggers incidents.
#[derive(Clone)]
pub struct PagerDuty {
    poster: Poster,
    api: Url,
    routing_key: secret::Source,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            routing_key_file: None,
            api: DEFAULT_API.to_owned(),
        }
    }
}

// === impl PagerDuty ===

impl PagerDuty {
    /// Triggers with this key, at this address.
    #[must_use]
    pub fn new(poster: Poster, api: Url, routing_key: secret::Source) -> Self {
        Self {
            poster,
            api,
            routing_key,
        }
    }
}

impl Once for PagerDuty {
    /// The event, without the key.
    type Content = Value;

    const VIA: Via = Via::PagerDuty;
    const KEY: &'static str = "pagerduty";

    fn record(report: &Report) -> &NoticeReport {
        &report.pagerduty
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.calls()
    }

    fn content(&self, notice: &Notice, telling: &Telling<'_>) -> Result<Value, String> {
        let rollback = telling.rollback;
        let facts = story::facts(rollback, telling.target, telling.everyone);
        let footer = telling.story.parent.footer.iter();
        let links: Vec<Value> = footer
            .filter_map(|span| match span {
                Span::Link { url, label } => Some(json!({"href": url, "text": label})),
                _ => None,
            })
            .collect();
        let severity = match rollback.severity() {
            Severity::P0 => "critical",
            Severity::P1 => "error",
            Severity::P2 => "warning",
            Severity::P3 => "info",
        };
        Ok(json!({
            "event_action": "trigger",
            // The uid, so that a later rollback of the same name is another incident.
            "dedup_key": rollback.metadata.uid.clone().unwrap_or_else(|| rollback.full_name()),
            "client": "Ripcord",
            "links": links,
            "payload": {
                "summary": cut_plain(&notice.headline, SUMMARY),
                "source": format!("{}/{}", facts.namespace, facts.target),
                "severity": severity,
                "component": facts.target,
                "group": facts.namespace,
                "class": facts.alert.name,
                "custom_details": {
                    "rollback": rollback.full_name(),
                    "phase": rollback.phase().name(),
                    "trigger": facts.trigger,
                    "procedure": facts.procedure,
                    "story": cut_plain(&notice.text, DETAILS),
                },
            },
        }))
    }

    async fn send(&self, content: &Value) -> Result<(), Failure> {
        let key = (self.routing_key)();
        if key.expose_secret().is_empty() {
            let said = "pagerduty: there is no usable routing key";
            return Err(Failure::new(Remedy::Fix, said));
        }
        let mut event = content.clone();
        event["routing_key"] = key.expose_secret().into();
        let url = self.api.clone();
        let (headers, body) = (HeaderMap::new(), event.to_string().into_bytes());
        let key = Some(key.expose_secret());
        let sent = self.poster.post(url, headers, body, key).await;
        // The key of the incident makes a second event harmless.
        sent.map_err(|error| error.failure("pagerduty", true))
    }
}
