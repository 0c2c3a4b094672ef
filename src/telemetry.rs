//! The names and labels of metrics, logs and traces.
//!
//! Any room that does I/O may count, log and trace through here. No text of a payload becomes a label: what an alert
//! says belongs into a log or an object, where it costs no memory for ever after.

pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod settings;
pub mod span;
pub mod trace;

pub use metrics::Metrics;
pub use otlp::Spans;
pub use span::Span;
pub use trace::TraceContext;
