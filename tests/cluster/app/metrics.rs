//! What one pod counts of its own answers, as a service with the usual middleware does. `/metrics` itself is not counted.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The path at which they are read.
pub(super) const PATH: &str = "/metrics";
const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// In seconds; one of them is the limit that the shipped policy's comment names.
const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.26, 0.5, 1.0, 2.5, 5.0];

/// The counters of a pod, from its start on.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Answered {
    handler: &'static str,
    code: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Asked {
    handler: &'static str,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<Answered, Counter>::default();
        let seconds =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut registry = Registry::default();
        registry.register(
            "http_requests",
            "Requests that were answered",
            requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long the answers took",
            Unit::Seconds,
            seconds.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn count(&self, path: &str, code: StatusCode, took: Duration) {
        // Not the path itself: what callers think of would be a time series each.
        let handler = if path.starts_with("/health") {
            "health"
        } else {
            "price"
        };
        let code = code.as_u16();
        self.requests
            .get_or_create(&Answered { handler, code })
            .inc();
        let seconds = self.seconds.get_or_create(&Asked { handler });
        seconds.observe(took.as_secs_f64());
    }

    /// All of them, as Prometheus reads them.
    pub(super) fn page(&self) -> Response {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all");
        ([(header::CONTENT_TYPE, MEDIA)], text).into_response()
    }
}
