//! Asks Prometheus for one number at a time.
//!
//! A query must give exactly one number: no series and several are told apart from zero. It follows no redirect, and says
//! neither the address nor the token in its errors. Nothing is repeated here.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An answer longer than this holds no single number.
const LONGEST: usize = 256 * 1024;
/// How much of what Prometheus says is repeated to people.
const SHOWN: usize = 200;

/// The Prometheus that steps and checks ask, or anything with its API.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Its address, such as `http://prometheus.monitoring:9090`; what the API needs is added. Without one, no step and no
    /// check can ask for a number.
    pub url: Option<String>,
    /// The file that holds a bearer token for it. It is read again for each query.
    pub bearer_file: Option<PathBuf>,
    /// How long one query may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Not an address.
    #[error("must be an address that begins with http:// or https://, without a query")]
    Url,
    /// No time to answer, or far too much.
    #[error("must be between 100ms and 1m")]
    Timeout,
}

/// A Prometheus.
#[derive(Clone, Debug)]
pub struct Prometheus {
    client: reqwest::Client,
    url: Url,
    bearer: Option<PathBuf>,
    timeout: Duration,
}

/// Why there is no number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoNumber {
    /// None is configured.
    #[error("no Prometheus is configured (`prometheus.url`)")]
    NotConfigured,
    /// It did not answer, or could not now.
    #[error("Prometheus cannot be asked: {0}")]
    Unreachable(String),
    /// It refused the query.
    #[error("Prometheus refuses the query: {0}")]
    Refused(String),
    /// The query selects nothing.
    #[error("no data: the query gives no series")]
    NoData,
    /// The query selects several series.
    #[error("the query gives {0} series, expected one number")]
    Many(usize),
    /// What it gives is no finite number.
    #[error("the query gives {0}, which is no number")]
    NotFinite(String),
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            bearer_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Checks the address and the time.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if let Some(url) = &self.url
            && address(url).is_none()
        {
            return Err(SettingsError::Url);
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.timeout) {
            return Err(SettingsError::Timeout);
        }
        Ok(())
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Timeout => "timeout",
        }
    }
}

// === impl Prometheus ===

impl Prometheus {
    /// The one that is configured, if one is.
    ///
    /// # Errors
    /// Where the TLS set-up of this machine cannot be used.
    pub fn new(settings: &Settings) -> reqwest::Result<Option<Self>> {
        let Some(url) = settings.url.as_deref().and_then(address) else {
            return Ok(None);
        };
        let client = reqwest::Client::builder()
            // A redirect would carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ripcord/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeout / 2)
            .no_proxy()
            .build()?;
        Ok(Some(Self {
            client,
            url,
            bearer: settings.bearer_file.clone(),
            timeout: settings.timeout,
        }))
    }

    /// The number that an expression has now.
    ///
    /// # Errors
    /// See [`NoNumber`].
    pub async fn ask(&self, query: &str) -> Result<f64, NoNumber> {
        let asked = tokio::time::timeout(self.timeout, self.call(query)).await;
        let late = || NoNumber::Unreachable(format!("no answer within {:?}", self.timeout));
        let (status, body) = asked.map_err(|_| late())??;
        read(status, &body)
    }

    async fn call(&self, query: &str) -> Result<(StatusCode, Vec<u8>), NoNumber> {
        let unreachable = |error: reqwest::Error| NoNumber::Unreachable(super::http::plain(&error));
        let mut form = self.url.clone();
        form.query_pairs_mut().append_pair("query", query);
        let body = form.query().unwrap_or_default().to_owned();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, form_type)
            .body(body);
        if let Some(path) = &self.bearer {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|error| {
                NoNumber::Unreachable(format!("cannot read {}: {error}", path.display()))
            })?;
            request = request.bearer_auth(token.trim());
        }
        let mut answer = request.send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(NoNumber::Refused("the answer is too long".to_owned()));
            }
        }
        Ok((answer.status(), body))
    }
}

// === impl NoNumber ===

impl NoNumber {
    /// Whether the same query may well be answered later.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// Where queries go.
fn address(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
        return None;
    }
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

/// The number in an answer.
fn read(status: StatusCode, body: &[u8]) -> Result<f64, NoNumber> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if answer["status"] == "error" {
        let said = answer["error"].as_str().unwrap_or_default();
        let said: String = said
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN)
            .collect();
        // What Prometheus cannot do now, it may do later: 422 and 400 are the query's own fault.
        return Err(match status.as_u16() {
            400 | 422 => NoNumber::Refused(said),
            other => NoNumber::Unreachable(format!("HTTP {other}: {said}")),
        });
    }
    if !status.is_success() || answer["status"] != "success" {
        let said = format!("HTTP {}, and no answer of Prometheus's", status.as_u16());
        return Err(NoNumber::Unreachable(said));
    }
    let data = &answer["data"];
    let sample = match data["resultType"].as_str() {
        Some("scalar") => &data["result"],
        Some("vector") => match data["result"].as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"],
            Some([]) | None => return Err(NoNumber::NoData),
            Some(many) => return Err(NoNumber::Many(many.len())),
        },
        other => {
            let kind = other.unwrap_or("nothing").to_owned();
            return Err(NoNumber::NotFinite(format!("a {kind}")));
        }
    };
    let text = sample[1].as_str().unwrap_or_default();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(NoNumber::NotFinite(
            text.chars().take(20).collect::<String>(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Result<f64, NoNumber> {
        read(
            StatusCode::from_u16(status).unwrap(),
            body.to_string().as_bytes(),
        )
    }

    fn success(kind: &str, result: &Value) -> Result<f64, NoNumber> {
        let body = json!({"status": "success", "data": {"resultType": kind, "result": result}});
        answer(200, &body)
    }

    #[test]
    fn one_number_is_a_number_and_everything_else_is_said() {
        assert_eq!(success("scalar", &json!([1.0, "42"])), Ok(42.0));
        let series = |value: &str| json!({"metric": {}, "value": [1.5, value]});
        assert_eq!(success("vector", &json!([series("0.25")])), Ok(0.25));
        assert_eq!(success("vector", &json!([series("0")])), Ok(0.0));
        assert_eq!(success("vector", &json!([])), Err(NoNumber::NoData));
        let two = json!([series("1"), series("2")]);
        assert_eq!(success("vector", &two), Err(NoNumber::Many(2)));
        for odd in ["NaN", "+Inf", "-Inf", ""] {
            let odd = success("vector", &json!([series(odd)]));
            assert!(matches!(odd, Err(NoNumber::NotFinite(_))), "{odd:?}");
        }
        let matrix = success("matrix", &json!([])).unwrap_err();
        assert_eq!(
            matrix.to_string(),
            "the query gives a matrix, which is no number"
        );
    }

    #[test]
    fn a_refusal_is_told_from_an_outage() {
        let error = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
        let refused = answer(400, &error).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Prometheus refuses the query: parse error"
        );
        assert!(!refused.is_outage());
        assert!(answer(503, &error).unwrap_err().is_outage());
        assert!(answer(502, &json!("<html>")).unwrap_err().is_outage());
        assert!(answer(401, &json!({})).unwrap_err().is_outage());
    }

    #[test]
    fn an_address_keeps_its_prefix() {
        assert_eq!(
            address("https://x.example/prometheus/").unwrap().as_str(),
            "https://x.example/prometheus/api/v1/query"
        );
        for bad in ["prometheus:9090", "ftp://x", "http://x/?a=1", ""] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
