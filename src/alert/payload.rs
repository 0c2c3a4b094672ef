//! The body of Alertmanager's webhook, version 4, both ways.
//!
//! It refuses to guess: a body of another version, an alert without labels, state or start is an error that says
//! where. It refuses to echo a body: an error quotes a few characters of the value at fault, no more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::labels::Labels;
use wire::null_as_default;

mod error;
mod wire;

pub use error::{DecodeError, decode};

/// The only version of the protocol there is.
pub const VERSION: &str = "4";

/// One POST from Alertmanager: a group of alerts.
///
/// It is written in Alertmanager's order of fields, and read in any; fields it does not know are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a notification")]
pub struct Notification {
    /// The receiver's name as sent, quoted for a regular expression. [`Notification::receiver_name`] is the plain one.
    #[serde(default, deserialize_with = "null_as_default")]
    pub receiver: String,
    /// Firing if any alert *in this body* is; worth nothing when alerts were cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The alerts, with every repetition, in the order sent.
    #[serde(deserialize_with = "null_as_default")]
    pub alerts: Vec<Alert>,
    /// Why it was sent; Alertmanager 0.32 and newer. The only name on the wire in snake case.
    #[serde(
        default,
        rename = "notification_reason",
        skip_serializing_if = "Option::is_none"
    )]
    pub notification_reason: Option<String>,
    /// The labels that the group was made by.
    #[serde(default)]
    pub group_labels: Labels,
    /// The labels that all alerts in this body share.
    #[serde(default)]
    pub common_labels: Labels,
    /// The annotations that all alerts in this body share.
    #[serde(default, deserialize_with = "null_as_default")]
    pub common_annotations: BTreeMap<String, String>,
    /// The route's own labels; Alertmanager 0.34 and newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_labels: Option<Labels>,
    /// The sender's address for people. It differs between the peers of a cluster.
    #[serde(default, rename = "externalURL", deserialize_with = "null_as_default")]
    pub external_url: String,
    /// The protocol's version: [`VERSION`].
    pub version: String,
    /// The group's name: route and group labels. It is not unique per receiver, and of any length.
    #[serde(default, deserialize_with = "null_as_default")]
    pub group_key: String,
    /// How many alerts `max_alerts` cut off. Above zero, what this body does not show is unknown.
    #[serde(default, deserialize_with = "null_as_default")]
    pub truncated_alerts: u64,
}

/// One labelled, timed alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an alert")]
pub struct Alert {
    /// Whether the condition still holds.
    pub status: Status,
    /// What the alert is about.
    // Named here, so that `null` is accepted and no field at all is not.
    #[serde(deserialize_with = "Labels::deserialize")]
    pub labels: Labels,
    /// What is said about it to people.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire, by the clock of the Prometheus that sent it.
    #[serde(with = "wire::time")]
    pub starts_at: Timestamp,
    /// When it ended; none while it fires, which the wire writes as the first instant of the year 1.
    #[serde(default, with = "wire::end")]
    pub ends_at: Option<Timestamp>,
    /// The expression's page in Prometheus; may be empty.
    #[serde(default, rename = "generatorURL", deserialize_with = "null_as_default")]
    pub generator_url: String,
    /// The hash of the labels, 16 hexadecimal digits; computed when none was sent.
    #[serde(default, deserialize_with = "null_as_default")]
    pub fingerprint: String,
}

/// Whether an alert's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Firing,
    /// It did, and no longer does.
    Resolved,
}

/// One stretch of firing: what tells an alert that came back from an alert that was sent again.
///
/// The start may move backwards between notifications, because Alertmanager keeps the earliest it has seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Episode {
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// When this stretch began.
    pub starts_at: Timestamp,
}

impl Notification {
    /// The receiver's name as in Alertmanager's configuration.
    ///
    /// On the wire it went through Go's `regexp.QuoteMeta`, and this takes exactly that back. A backslash that
    /// `QuoteMeta` cannot have put there stays.
    #[must_use]
    pub fn receiver_name(&self) -> String {
        let mut name = String::with_capacity(self.receiver.len());
        let mut rest = self.receiver.chars().peekable();
        while let Some(c) = rest.next() {
            let quoted = if c == '\\' {
                rest.next_if(|&next| is_meta(next))
            } else {
                None
            };
            name.push(quoted.unwrap_or(c));
        }
        name
    }

    /// Whether alerts were cut off, so that this body does not show the whole group.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated_alerts > 0
    }
}

impl Alert {
    /// The stretch of firing that this alert belongs to.
    #[must_use]
    pub fn episode(&self) -> Episode {
        Episode {
            fingerprint: self.fingerprint.clone(),
            starts_at: self.starts_at,
        }
    }

    /// Whether the alert fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.status == Status::Firing
    }
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What Go's `regexp.QuoteMeta` puts a backslash before.
fn is_meta(c: char) -> bool {
    r"\.+*?()|[]{}^$".contains(c)
}

#[cfg(test)]
mod tests;
