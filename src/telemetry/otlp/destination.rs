//! Which collector spans go to: what the settings say, else what OpenTelemetry's own variables say.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::telemetry::settings::{Otlp, address};

/// How long a request may take where nobody says so.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The path of traces below a collector's address.
const PATH: &str = "v1/traces";

/// A collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// The whole address that spans are posted to.
    pub url: Url,
    /// The file of further headers.
    pub headers_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Why no span can be sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OtlpError {
    /// A variable says what cannot be.
    #[error("the variable {name} {what}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// The file of headers cannot be used.
    #[error("the headers for the collector cannot be used: {0}")]
    Headers(String),
    /// The exporter cannot be built.
    #[error("spans cannot be exported: {0}")]
    Exporter(String),
}

impl Destination {
    /// The collector that the settings or, where they are silent, the variables name; none if neither does, or if
    /// `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER` says that nothing is to be sent.
    ///
    /// # Errors
    /// What is wrong with a variable. The settings were checked already.
    pub fn find(
        settings: &Otlp,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, OtlpError> {
        let variable = |name: &'static str| {
            let text = variable(name).map(|text| text.trim().to_owned());
            text.filter(|text| !text.is_empty())
        };
        let disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let none = variable("OTEL_TRACES_EXPORTER").is_some_and(|it| it == "none");
        if disabled || none {
            return Ok(None);
        }
        let read = |name: &'static str, text: &str| {
            address(text).map_err(|what| OtlpError::Variable {
                name,
                what: format!("is no address of a collector: {what}"),
            })
        };
        let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let url = if let Some(base) = &settings.endpoint {
            let base = address(base).map_err(OtlpError::Exporter)?;
            below(base)
        } else if let Some(whole) = variable(traces) {
            // The conventions take this one as it is.
            read(traces, &whole)?
        } else if let Some(base) = variable(all) {
            below(read(all, &base)?)
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            url,
            headers_file: settings.headers_file.clone(),
            timeout: match settings.timeout {
                Some(timeout) => timeout,
                None => timeout(variable)?,
            },
        }))
    }

    /// What the variables ask for and is not done, with what is done instead.
    #[must_use]
    pub fn unheard(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        let set = |name| variable(name).filter(|text| !text.is_empty());
        let (name, protocol) = names
            .into_iter()
            .find_map(|name| Some((name, set(name)?)))?;
        (protocol.trim() != "http/protobuf").then(|| {
            format!(
                "the variable {name} asks for {protocol}, and spans are sent as http/protobuf all the same: the address must be the collector's for that, usually with port 4318"
            )
        })
    }
}

/// The address for traces below a collector's.
fn below(mut base: Url) -> Url {
    let path = format!("{}/{PATH}", base.path().trim_end_matches('/'));
    base.set_path(&path);
    base
}

fn timeout(variable: impl Fn(&'static str) -> Option<String>) -> Result<Duration, OtlpError> {
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ] {
        let Some(text) = variable(name) else { continue };
        return match text.parse() {
            Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
            _ => Err(OtlpError::Variable {
                name,
                what: format!("is `{text}`; expected a number of milliseconds above zero"),
            }),
        };
    }
    Ok(TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        endpoint: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<Destination>, OtlpError> {
        let settings = Otlp {
            endpoint: endpoint.map(str::to_owned),
            ..Otlp::default()
        };
        Destination::find(&settings, |name| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    fn url(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let found = find(endpoint, variables).unwrap();
        found.map(|found| found.url.to_string())
    }

    #[test]
    fn the_settings_win_over_the_variables_and_the_special_one_over_the_general() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/");
        let special = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://special/spans");
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(url(None, &[]), None);
        assert_eq!(url(None, &[general]), at("http://general:4318/v1/traces"));
        assert_eq!(url(None, &[general, special]), at("http://special/spans"));
        assert_eq!(
            url(Some("https://own/base"), &[general, special]),
            at("https://own/base/v1/traces")
        );
        for off in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(url(Some("http://own"), &[off]), None);
        }
    }

    #[test]
    fn times_are_milliseconds_in_variables() {
        let general = ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500");
        let found = find(Some("http://own"), &[general]).unwrap().unwrap();
        assert_eq!(found.timeout, Duration::from_millis(2500));
        for bad in ["2s", "0", "-1"] {
            let bad = [("OTEL_EXPORTER_OTLP_TIMEOUT", bad)];
            let said = find(Some("http://own"), &bad).unwrap_err().to_string();
            assert!(said.contains("OTEL_EXPORTER_OTLP_TIMEOUT"), "{said}");
        }
    }

    #[test]
    fn an_address_that_is_none_names_its_variable() {
        let bad = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
        let said = find(None, &bad).unwrap_err().to_string();
        assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{said}");
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_mentioned() {
        let unheard = |protocol: &str| {
            let protocol = protocol.to_owned();
            Destination::unheard(move |name| {
                (name == "OTEL_EXPORTER_OTLP_PROTOCOL").then(|| protocol.clone())
            })
        };
        assert_eq!(unheard("http/protobuf"), None);
        assert_eq!(unheard(""), None);
        assert!(unheard("grpc").unwrap().contains("4318"));
    }
}
