//! The list of metrics, and the table about them in the documentation.
//!
//! A metric is registered and described in one call, so that none can be exposed without being documented.

use std::fmt::Write;

use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};

/// What stands before every name.
pub(super) const PREFIX: &str = "ripcord";

/// The registry and the description of what is in it.
#[derive(Debug)]
pub(super) struct Book {
    registry: Registry,
    rows: Vec<Row>,
}

/// One metric as people read about it.
#[derive(Debug)]
pub(super) struct Row {
    /// The name as Prometheus stores it; a histogram has `_bucket`, `_sum` and `_count` behind it.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: &'static str,
    /// Its labels, with the values they can have.
    pub(super) labels: &'static str,
    /// What it counts, without a full stop.
    pub(super) help: &'static str,
}

/// A name, its labels and its help text.
pub(super) struct Entry(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
);

// === impl Book ===

impl Book {
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::with_prefix(PREFIX),
            rows: Vec::new(),
        }
    }

    /// Registers a metric without a unit.
    pub(super) fn add<M: Metric + TypedMetric + Clone>(&mut self, entry: &Entry, metric: M) -> M {
        self.describe::<M>(entry, "");
        self.registry.register(entry.0, entry.2, metric.clone());
        metric
    }

    /// Registers a metric in seconds, which is appended to its name.
    pub(super) fn add_seconds<M: Metric + TypedMetric + Clone>(
        &mut self,
        entry: &Entry,
        metric: M,
    ) -> M {
        self.describe::<M>(entry, "_seconds");
        self.registry
            .register_with_unit(entry.0, entry.2, Unit::Seconds, metric.clone());
        metric
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The table for the documentation, in Markdown.
    pub(super) fn table(&self) -> String {
        let mut text =
            "| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n".to_owned();
        for row in &self.rows {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {}. |",
                row.name, row.kind, row.labels, row.help
            );
        }
        text
    }

    fn describe<M: TypedMetric>(&mut self, entry: &Entry, unit: &str) {
        let (kind, suffix) = match M::TYPE {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        self.rows.push(Row {
            name: format!("{PREFIX}_{}{unit}{suffix}", entry.0),
            kind,
            labels: entry.1,
            help: entry.2,
        });
    }
}
