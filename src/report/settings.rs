//! The settings of the report: where people are told.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use super::blocks::Mention;
use super::notice::Moment;
use super::slack::DEFAULT_BASE;
use super::webhook::{check_body, web_address};
use super::{email, pagerduty, webhook};

/// How people are told. Each way is off until it is told where to send.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Slack. Without a token or a webhook nothing is sent there.
    pub slack: Slack,
    /// E-mail.
    pub email: email::Settings,
    /// PagerDuty.
    pub pagerduty: pagerduty::Settings,
    /// Any incident tracker.
    pub webhook: webhook::Settings,
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
    /// The file that holds the address of an incoming webhook, for whoever cannot have a bot: no thread and no progress, only
    /// what `webhook_tell` says, in the webhook's own channel. Give this or a token, not both.
    pub webhook_file: Option<PathBuf>,
    /// What the webhook tells: any of `started`, `late`, `needed`, `ended`, `checked` and `untouched`.
    pub webhook_tell: Vec<Moment>,
    /// Who is mentioned when a person is needed and the target names nobody: Slack ids (`U…`, `W…`, `S…`) or `here`.
    pub on_call: Vec<Mention>,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct SettingsError {
    key: &'static str,
    what: String,
}

// === impl Settings ===

impl Settings {
    /// Checks that people can be told with what is given.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.slack.validate()?;
        if let Some((key, what)) = self.email.fault() {
            return wrong(key, what);
        }
        if web_address(&self.pagerduty.api).is_none() {
            return wrong("pagerduty.api", NO_ADDRESS);
        }
        self.webhook_is_sound()
    }

    /// By what people are told besides Slack's bot, for people.
    #[must_use]
    pub fn others(&self) -> Vec<&'static str> {
        let webhook = self.webhook.url.is_some() || self.webhook.url_file.is_some();
        let all = [
            (self.slack.webhook_file.is_some(), "Slack's webhook"),
            (self.email.host.is_some(), "e-mail"),
            (self.pagerduty.routing_key_file.is_some(), "PagerDuty"),
            (webhook, "the webhook"),
        ];
        all.into_iter()
            .filter_map(|(on, name)| on.then_some(name))
            .collect()
    }

    fn webhook_is_sound(&self) -> Result<(), SettingsError> {
        let webhook = &self.webhook;
        if webhook.url.is_some() && webhook.url_file.is_some() {
            return wrong("webhook.url", "give `url` or `url_file`, not both");
        }
        if let Some(url) = &webhook.url
            && web_address(url).is_none()
        {
            return wrong("webhook.url", NO_ADDRESS);
        }
        if webhook.tell.is_empty() {
            return wrong("webhook.tell", TELLS_NOTHING);
        }
        check_body(webhook.body()).or_else(|said| wrong("webhook.body", said))
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
            webhook_file: None,
            webhook_tell: vec![Moment::Needed, Moment::Ended],
            on_call: Vec::new(),
        }
    }
}

impl Slack {
    fn validate(&self) -> Result<(), SettingsError> {
        if self.token.is_some() && self.token_file.is_some() {
            return wrong("slack.token", "give `token` or `token_file`, not both");
        }
        if self.webhook_file.is_some() {
            if self.token.is_some() || self.token_file.is_some() {
                let said = "give a token or `webhook_file`, not both";
                return wrong("slack.webhook_file", said);
            }
            if self.channel.is_some() {
                let said = "has no effect with `webhook_file`: an incoming webhook has a channel of its own";
                return wrong("slack.channel", said);
            }
            if self.webhook_tell.is_empty() {
                return wrong("slack.webhook_tell", TELLS_NOTHING);
            }
        }
        if let Some(channel) = &self.channel {
            if !is_channel(channel) {
                let said = "must be `#name` in lower case or a channel's id such as `C0123ABCD`";
                return wrong("slack.channel", said);
            }
            if self.token.is_none() && self.token_file.is_none() {
                let said =
                    "is given, but neither `token_file` nor `token` is: nothing could be sent";
                return wrong("slack.channel", said);
            }
        }
        let sound = Url::parse(&self.api).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.has_host() && url.query().is_none()
        });
        if sound {
            Ok(())
        } else {
            let said = "must be an address that begins with https:// or http://, without a query";
            wrong("slack.api", said)
        }
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.key
    }
}

const NO_ADDRESS: &str = "must be an address that begins with https:// or http://";
const TELLS_NOTHING: &str = "is empty: nothing would ever be told";

fn wrong(key: &'static str, what: impl Into<String>) -> Result<(), SettingsError> {
    let what = what.into();
    Err(SettingsError { key, what })
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
        settings.validate().err().map(|error| error.key())
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
    fn other_reporters_need_an_address_and_a_body_that_is_json() {
        let fault = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().err().map(|error| error.key())
        };
        assert_eq!(
            fault(|s| s.pagerduty.api = "events".into()),
            Some("pagerduty.api")
        );
        assert_eq!(
            fault(|s| s.webhook.url = Some("ftp://x/".into())),
            Some("webhook.url")
        );
        assert_eq!(
            fault(|s| {
                s.webhook.url = Some("https://x/".into());
                s.webhook.url_file = Some("/x".into());
            }),
            Some("webhook.url")
        );
        assert_eq!(
            fault(|s| s.webhook.body = Some("{{ title }}".into())),
            Some("webhook.body")
        );
        assert_eq!(fault(|s| s.webhook.tell.clear()), Some("webhook.tell"));
    }

    #[test]
    fn a_slack_webhook_is_instead_of_a_bot() {
        let file = || Some("/url".into());
        assert_eq!(fault(|s| s.webhook_file = Some("/url".into())), None);
        assert_eq!(
            fault(|s| {
                s.webhook_file = Some("/url".into());
                s.token_file = Some("/token".into());
            }),
            Some("slack.webhook_file")
        );
        let slack = Slack {
            webhook_file: file(),
            channel: Some("#ops".into()),
            ..Slack::default()
        };
        assert_eq!(slack.validate().unwrap_err().key(), "slack.channel");
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
