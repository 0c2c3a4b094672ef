//! The settings of what the service says about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logs::Format;

/// What the service says about itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The log, which goes to standard error.
    pub log: Log,
}

/// The default filter: what the client of the API server says about its tries is told better by this program.
const FILTER: &str = "info,kube_runtime=error,kube_client=off";

/// What is logged, and how it is written.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or a filter such as `info,ripcord::engine=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: Format,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no filter: {what}; expected a level or a list such as `info,ripcord::engine=debug`")]
pub struct SettingsError {
    what: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: FILTER.to_owned(),
            format: Format::Text,
        }
    }
}

impl Settings {
    /// Checks that the filter is one.
    pub fn validate(&self) -> Result<(), SettingsError> {
        match tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            Ok(_) => Ok(()),
            Err(error) => Err(SettingsError {
                what: error.to_string(),
            }),
        }
    }
}

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        "log.filter"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_must_be_readable() {
        let with = |filter: &str| {
            let mut settings = Settings::default();
            settings.log.filter = filter.to_owned();
            settings.validate()
        };
        assert_eq!(with("info"), Ok(()));
        assert_eq!(with("warn,ripcord::engine=debug"), Ok(()));
        let error = with("ripcord=loud").unwrap_err();
        assert_eq!(error.key(), "log.filter");
    }
}
