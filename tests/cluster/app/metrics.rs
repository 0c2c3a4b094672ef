//! What one pod counts of its own answers, under the names that the shipped rules read. `/metrics` itself is not counted.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde_json::Value;

/// The path at which they are read.
pub(super) const PATH: &str = "/metrics";
const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// In seconds; one of them is the limit of the shipped rule.
const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.26, 0.5, 1.0, 2.5, 5.0];
/// One prediction of so many is not in the cache.
const MISS: u64 = 10;

/// The counters of a pod, from its start on.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Histogram,
    fallbacks: Counter,
    cache_requests: Counter,
    cache_hits: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Answered {
    handler: &'static str,
    code: u16,
}

/// Whether this path asks the model, and not how the pod is.
pub(super) fn is_prediction(path: &str) -> bool {
    path != PATH && !path.starts_with("/health")
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<Answered, Counter>::default();
        let (seconds, fallbacks) = (Histogram::new(BUCKETS), Counter::default());
        let mut registry = Registry::default();
        registry.register(
            "http_requests",
            "Requests that were answered",
            requests.clone(),
        );
        registry.register_with_unit(
            "pinn_prediction_latency",
            "How long the predictions took",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register(
            "pinn_fallback_predictions",
            "Predictions that were not the model's",
            fallbacks.clone(),
        );
        let (cache_requests, cache_hits) = (Counter::default(), Counter::default());
        registry.register(
            "pinn_cache_requests",
            "Predictions that were looked up",
            cache_requests.clone(),
        );
        registry.register(
            "pinn_cache_hits",
            "Predictions that were found",
            cache_hits.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            fallbacks,
            cache_requests,
            cache_hits,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn count(&self, path: &str, code: StatusCode, body: &Value, took: Duration) {
        // Not the path itself: what callers think of would be a time series each.
        let predicts = is_prediction(path);
        let handler = if predicts { "price" } else { "health" };
        let code = code.as_u16();
        self.requests
            .get_or_create(&Answered { handler, code })
            .inc();
        if predicts {
            self.seconds.observe(took.as_secs_f64());
            let before = self.cache_requests.inc();
            if !before.is_multiple_of(MISS) {
                self.cache_hits.inc();
            }
        }
        if body["fallback"] == true {
            self.fallbacks.inc();
        }
    }

    /// All of them, as Prometheus reads them.
    pub(super) fn page(&self) -> Response {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all");
        ([(header::CONTENT_TYPE, MEDIA)], text).into_response()
    }
}
