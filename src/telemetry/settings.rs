//! The settings of what the service says about itself.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::logs::Format;

/// What the service says about itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The log, which goes to standard error.
    pub log: Log,
    /// The traces of rollbacks, which go to an OpenTelemetry collector by OTLP over HTTP.
    pub otlp: Otlp,
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

/// Where the traces go: one for each rollback.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// The collector's address, such as `http://otel-collector:4318`; `/v1/traces` is put behind it. Left out,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` says it, and without those nothing is sent.
    pub endpoint: Option<String>,
    /// A file of headers for the collector, one `name: value` a line, for what it wants to see as credentials. It is read
    /// again for each request. Those of `OTEL_EXPORTER_OTLP_HEADERS` are sent as well.
    pub headers_file: Option<PathBuf>,
    /// How long one request to the collector may take. Left out, `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` or
    /// `OTEL_EXPORTER_OTLP_TIMEOUT` says it in milliseconds, and without those it is 10 s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The log's filter is none.
    #[error("is no filter: {0}; expected a level or a list such as `info,ripcord::engine=debug`")]
    Filter(String),
    /// The collector's address is none.
    #[error(
        "is no address of a collector: {0}; expected one that begins with http:// or https://, without a user or a query"
    )]
    Endpoint(String),
    /// No request could ever be answered.
    #[error("must be longer than zero")]
    NoTime,
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
    /// Checks that the filter is one, and that the collector can be called.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            return Err(SettingsError::Filter(error.to_string()));
        }
        if let Some(endpoint) = &self.otlp.endpoint {
            address(endpoint).map_err(SettingsError::Endpoint)?;
        }
        if self.otlp.timeout.is_some_and(|time| time.is_zero()) {
            return Err(SettingsError::NoTime);
        }
        Ok(())
    }
}

/// The address of a collector, or what is wrong with it. A user or a query could hold a secret, and addresses are logged.
pub(super) fn address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    let odd = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    match url.scheme() {
        "http" | "https" if !odd => Ok(url),
        "http" | "https" => Err("it has a user or a query".to_owned()),
        other => Err(format!("`{other}` is not spoken")),
    }
}

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Filter(_) => "log.filter",
            Self::Endpoint(_) => "otlp.endpoint",
            Self::NoTime => "otlp.timeout",
        }
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

    #[test]
    fn a_collector_must_be_callable() {
        let with = |endpoint: &str| {
            let mut settings = Settings::default();
            settings.otlp.endpoint = Some(endpoint.to_owned());
            settings.validate().map_err(|error| error.key())
        };
        assert_eq!(with("http://otel-collector:4318"), Ok(()));
        assert_eq!(with("https://collector.example/base/"), Ok(()));
        for bad in [
            "otel-collector:4318",
            "grpc://otel-collector:4317",
            "http://user:secret@collector",
            "http://collector/?token=secret",
            "",
        ] {
            assert_eq!(with(bad), Err("otlp.endpoint"), "{bad}");
        }
        let mut settings = Settings::default();
        settings.otlp.timeout = Some(Duration::ZERO);
        assert_eq!(
            settings.validate().map_err(|e| e.key()),
            Err("otlp.timeout")
        );
    }
}
