//! Sends finished spans to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Nobody ever waits for it: a span that finds no room is dropped and counted. A collector that does not answer is a
//! warning and a count, and is asked again, later and later, while the room for spans lasts. What is left when the service
//! stops is sent within a bound, or not at all.

mod client;
mod destination;

use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, SdkProvidedResourceDetector};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::metrics::{Exported, SpanFate};
use super::span::Span;
pub use client::headers;
use client::{Client, Verdict};
pub use destination::{Destination, OtlpError};

/// How many spans wait for the collector at most: some hundreds of rollbacks.
const ROOM: usize = 4096;
/// How many spans one request holds at most.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long to wait after a request that failed, the first time and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long what is left may take when the service stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where finished spans are put. A clone puts them in the same place.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    inner: Option<(mpsc::Sender<Span>, Metrics)>,
}

/// Spans on their way to a collector.
#[derive(Debug)]
pub struct Export {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The one task that talks to the collector.
struct Sender {
    exporter: SpanExporter,
    verdict: Verdict,
    address: String,
    spans: mpsc::Receiver<Span>,
    scope: InstrumentationScope,
    metrics: Metrics,
    stop: CancellationToken,
    /// Whether the last request failed.
    trouble: bool,
}

// === impl Spans ===

impl Spans {
    /// Nowhere: spans are not even made.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// Puts a span on its way. Never waits.
    pub fn record(&self, span: impl FnOnce() -> Span) {
        self.record_any(|| Some(span()));
    }

    /// Puts a span on its way, if there is one. Never waits.
    pub fn record_any(&self, span: impl FnOnce() -> Option<Span>) {
        let Some((sender, metrics)) = &self.inner else {
            return;
        };
        if let Some(span) = span()
            && sender.try_send(span).is_err()
        {
            metrics.spans(SpanFate::Dropped, 1);
        }
    }
}

// === impl Export ===

impl Export {
    /// Begins to send spans to a collector. `identity` tells this replica from the others.
    ///
    /// # Errors
    /// What is wrong with the settings or the variables. A collector that does not answer is no error.
    pub fn start(
        destination: &Destination,
        identity: &str,
        metrics: Metrics,
    ) -> Result<(Spans, Self), OtlpError> {
        let (client, verdict) = Client::new(destination)?;
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(destination.url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(destination.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(client)
            .build()
            .map_err(|error| OtlpError::Exporter(error.to_string()))?;
        exporter.set_resource(&resource(identity));
        let (sender, spans) = mpsc::channel(ROOM);
        let stop = CancellationToken::new();
        let work = Sender {
            exporter,
            verdict,
            address: destination.url.to_string(),
            spans,
            scope: InstrumentationScope::builder("ripcord")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            metrics: metrics.clone(),
            stop: stop.clone(),
            trouble: false,
        };
        let spans = Spans {
            inner: Some((sender, metrics)),
        };
        let task = tokio::spawn(work.run());
        Ok((spans, Self { stop, task }))
    }

    /// Sends what is left, within a bound.
    pub async fn finish(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(LAST_WORDS, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}

// === impl Sender ===

impl Sender {
    async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            self.deliver(batch).await;
        }
    }

    /// The next spans; none once the service stops and all are sent.
    async fn gather(&mut self) -> Option<Vec<SpanData>> {
        let first = tokio::select! {
            span = self.spans.recv() => span?,
            () = self.stop.cancelled() => self.spans.try_recv().ok()?,
        };
        let until = Instant::now() + GATHER;
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let next = async {
                tokio::select! {
                    biased;
                    span = self.spans.recv() => span,
                    () = self.stop.cancelled() => None,
                }
            };
            match timeout_at(until, next).await {
                Ok(Some(span)) => batch.push(span),
                Ok(None) | Err(_) => break,
            }
        }
        let data = batch.into_iter().map(|span| span.into_data(&self.scope));
        Some(data.collect())
    }

    /// Sends spans until the collector has them or will never take them; once, when the service stops.
    async fn deliver(&mut self, batch: Vec<SpanData>) {
        let mut wait = AGAIN.0;
        loop {
            let sent = self.exporter.export(batch.clone()).await;
            let Err(error) = sent else {
                self.metrics.export(Exported::Delivered);
                self.metrics.spans(SpanFate::Exported, batch.len());
                if std::mem::take(&mut self.trouble) {
                    tracing::info!(collector = self.address, "the collector takes spans again");
                }
                return;
            };
            self.metrics.export(Exported::Failed);
            let said = self.verdict.said().unwrap_or_else(|| error.to_string());
            if !std::mem::replace(&mut self.trouble, true) {
                tracing::warn!(
                    collector = self.address,
                    error = said,
                    "the collector does not take spans; rollbacks run as ever"
                );
            }
            if !self.verdict.passes() || self.stop.is_cancelled() {
                self.metrics.spans(SpanFate::Dropped, batch.len());
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // One last try.
                () = self.stop.cancelled() => {}
            }
            wait = (wait * 2).min(AGAIN.1);
        }
    }
}

/// Who sends: what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins over what Ripcord says of itself.
fn resource(identity: &str) -> Resource {
    let own = Resource::builder_empty()
        .with_service_name("ripcord")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", identity.to_owned()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    // Where the variable is not set, the detector would call the service unknown.
    let own = if named {
        own.with_detector(Box::new(SdkProvidedResourceDetector))
    } else {
        own
    };
    own.build()
}
