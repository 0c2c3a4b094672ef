//! The HTTP client for a collector: bounded, without redirects, with the headers of a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Destination, OtlpError};

/// How much of an answer is read.
const READ: usize = 64 * 1024;

/// Posts spans.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    headers_file: Option<PathBuf>,
    verdict: Verdict,
}

/// What became of the last request.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    last: Arc<Mutex<Option<(String, bool)>>>,
}

impl Client {
    /// A client, and what it says of its last request.
    ///
    /// # Errors
    /// Where the file of headers cannot be used, or no TLS client can be built.
    pub(super) fn new(destination: &Destination) -> Result<(Self, Verdict), OtlpError> {
        if let Some(path) = &destination.headers_file {
            headers(path).map_err(OtlpError::Headers)?;
        }
        let mut http = reqwest::Client::builder()
            .timeout(destination.timeout)
            // A redirect would carry the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ripcord/", env!("CARGO_PKG_VERSION")));
        let host = destination.url.host_str();
        if matches!(host, Some("127.0.0.1" | "[::1]" | "localhost")) {
            // What runs on this host is not behind the proxy that the environment names.
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| OtlpError::Exporter(error.to_string()))?;
        let verdict = Verdict::default();
        let client = Self {
            http,
            headers_file: destination.headers_file.clone(),
            verdict: verdict.clone(),
        };
        Ok((client, verdict))
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut wanted = parts.headers;
        if let Some(path) = self.headers_file.clone() {
            let read = tokio::task::spawn_blocking(move || headers(&path)).await?;
            wanted.extend(read?);
        }
        let request = self.http.request(parts.method, parts.uri.to_string());
        let mut answer = request.headers(wanted).body(body).send().await?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            read.extend_from_slice(&chunk);
            if read.len() > READ {
                break;
            }
        }
        Ok(response.body(read.into())?)
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.post(request).await;
        self.verdict.set(match &answer {
            Ok(answer) => {
                let status = answer.status();
                // As OTLP wants it: these are asked again, and no other.
                let passes = matches!(status.as_u16(), 429 | 502 | 503 | 504);
                Some((format!("it answered {status}"), passes)).filter(|_| !status.is_success())
            }
            Err(error) => Some((in_full(error.as_ref()), true)),
        });
        answer
    }
}

// === impl Verdict ===

impl Verdict {
    fn set(&self, last: Option<(String, bool)>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// What went wrong.
    pub(super) fn said(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(said, _)| said.clone())
    }

    /// Whether the same request may succeed later.
    pub(super) fn passes(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|(_, passes)| *passes)
    }
}

/// An error with its causes on one line; what is part of it already is not said again.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

/// The headers in a file, one `name: value` a line; what is wrong names the line and never what stands in it.
///
/// # Errors
/// Why the file cannot be used.
pub fn headers(path: &Path) -> Result<HeaderMap, String> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut headers = HeaderMap::new();
    for (nth, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let read = line.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value: HeaderValue = value.trim().parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) =
            read.ok_or_else(|| format!("{shown}, line {}: expected `name: value`", nth + 1))?;
        headers.append(name, value);
    }
    if headers.is_empty() {
        return Err(format!("{shown} holds no header"));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HeaderMap, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, text).unwrap();
        headers(&path)
    }

    #[test]
    fn headers_stand_one_a_line_and_none_is_shown() {
        let found = read("Authorization: Bearer s3cret\n\nx-tenant:shop\n").unwrap();
        assert_eq!(found["authorization"], "Bearer s3cret");
        assert_eq!(found["x-tenant"], "shop");
        assert!(!format!("{found:?}").contains("s3cret"));
        for (bad, said) in [
            ("x-tenant: shop\ns3cret\n", "line 2"),
            ("a b: s3cret", "line 1"),
            ("\n", "no header"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
