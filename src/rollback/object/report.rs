//! What people were told of a rollback, one part for each way. Written by the report alone; it decides nothing about the
//! rollback.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What people were told. Written by the report.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct Report {
    /// Slack.
    pub slack: SlackReport,
    /// Slack by an incoming webhook.
    pub slack_webhook: NoticeReport,
    /// E-mail.
    pub email: NoticeReport,
    /// PagerDuty.
    pub pagerduty: NoticeReport,
    /// The webhook.
    pub webhook: NoticeReport,
}

/// What was told where each notice is told once and never changed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct NoticeReport {
    /// The keys of the notices that were delivered, or may have been.
    pub told: Vec<String>,
    /// Why a notice could not be delivered for good, until a change of the settings, or why nobody knows whether one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The state of a rollback's Slack messages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct SlackReport {
    /// The id of the channel that holds the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The message that is updated, and the parent of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// The first message of the thread that it was posted into, where that is another rollback's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// A digest of what that message shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// The keys of the further messages that were delivered.
    pub told: Vec<String>,
    /// Why a message could not be delivered for good, until a change of the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

// === impl Report ===

impl Report {
    /// What was told where each notice is told once, by the names of the ways for people.
    #[must_use]
    pub fn notices(&self) -> [(&'static str, &NoticeReport); 4] {
        [
            ("Slack's webhook", &self.slack_webhook),
            ("e-mail", &self.email),
            ("PagerDuty", &self.pagerduty),
            ("the webhook", &self.webhook),
        ]
    }
}
