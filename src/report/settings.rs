//! The settings of the report: where people are told.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use super::blocks::Mention;
use super::slack::DEFAULT_BASE;

/// How people are told.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Slack. Without a token nothing is sent there.
    pub slack: Slack,
}

/// Where messages go in Slack, and as whom.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// The channel for every target that names none of its own: `#name`, or its id.
    pub channel: Option<String>,
    /// The file that holds the bot token (`xoxb-…`). It is read again for each message, so that a new token is used at once.
    pub token_file: Option<PathBuf>,
    /// The bot token itself; meant for the environment. Give this or `token_file`, not both.
    #[serde(serialize_with = "withheld")]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// Where Slack's web API is.
    pub api: String,
    /// Who is mentioned when a person is needed and the target names nobody: Slack ids (`U…`, `W…`, `S…`) or `here`.
    pub on_call: Vec<Mention>,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Two tokens.
    #[error("give `token` or `token_file`, not both")]
    TwoTokens,
    /// A channel that nothing could be sent to.
    #[error("is given, but neither `token_file` nor `token` is: nothing could be sent")]
    NoToken,
    /// Not a channel.
    #[error("must be `#name` in lower case or a channel's id such as `C0123ABCD`")]
    BadChannel,
    /// Not an address.
    #[error("must be an address that begins with https:// or http://, without a query")]
    BadApi,
}

// === impl Settings ===

impl Settings {
    /// Checks that Slack can be reached with what is given.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let slack = &self.slack;
        if slack.token.is_some() && slack.token_file.is_some() {
            return Err(SettingsError::TwoTokens);
        }
        if let Some(channel) = &slack.channel {
            if !is_channel(channel) {
                return Err(SettingsError::BadChannel);
            }
            if slack.token.is_none() && slack.token_file.is_none() {
                return Err(SettingsError::NoToken);
            }
        }
        let sound = Url::parse(&slack.api).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.has_host() && url.query().is_none()
        });
        if sound {
            Ok(())
        } else {
            Err(SettingsError::BadApi)
        }
    }
}

// === impl Slack ===

impl Default for Slack {
    fn default() -> Self {
        Self {
            channel: None,
            token_file: None,
            token: None,
            api: DEFAULT_BASE.to_owned(),
            on_call: Vec::new(),
        }
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::TwoTokens => "slack.token",
            Self::NoToken | Self::BadChannel => "slack.channel",
            Self::BadApi => "slack.api",
        }
    }
}

/// Whether a text has the shape of a channel: `#name` as Slack spells it, or an id.
#[must_use]
pub fn is_channel(text: &str) -> bool {
    if let Some(name) = text.strip_prefix('#') {
        return (1..=80).contains(&name.chars().count())
            && name
                .chars()
                .all(|c| !c.is_uppercase() && (c.is_alphanumeric() || c == '-' || c == '_'));
    }
    (8..=24).contains(&text.len())
        && text.starts_with(['C', 'G', 'D'])
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// A secret is never written, not even into what the settings are compared or documented by.
#[expect(clippy::ref_option, reason = "serde calls it so")]
fn withheld<S: Serializer>(_: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: fn(&mut Slack)) -> Option<&'static str> {
        let mut settings = Settings::default();
        change(&mut settings.slack);
        settings.validate().err().map(SettingsError::key)
    }

    #[test]
    fn slack_needs_one_token_a_channel_that_exists_in_form_and_an_address() {
        assert_eq!(fault(|_| ()), None);
        assert_eq!(
            fault(|s| s.channel = Some("#incidents".into())),
            Some("slack.channel")
        );
        assert_eq!(
            fault(|s| {
                s.channel = Some("#incidents".into());
                s.token_file = Some("/token".into());
            }),
            None
        );
        assert_eq!(
            fault(|s| {
                s.token = Some("x".into());
                s.token_file = Some("/token".into());
            }),
            Some("slack.token")
        );
        assert_eq!(fault(|s| s.api = "slack.com/api".into()), Some("slack.api"));
        assert_eq!(
            fault(|s| s.api = "https://slack.com/api?x=1".into()),
            Some("slack.api")
        );
    }

    #[test]
    fn channels_are_names_with_a_hash_or_ids() {
        for good in ["#a", "#pinn-deployment", "#störung_1", "C0123ABCD"] {
            assert!(is_channel(good), "{good}");
        }
        for bad in [
            "",
            "#",
            "incidents",
            "#Incidents",
            "#a b",
            "C01",
            "c0123abcd",
            "@here",
        ] {
            assert!(!is_channel(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let slack = Slack {
            token: Some("xoxb-secret".into()),
            ..Slack::default()
        };
        assert!(!format!("{slack:?}").contains("secret"));
        assert_eq!(
            serde_json::to_value(slack).unwrap()["token"],
            serde_json::Value::Null
        );
    }
}
