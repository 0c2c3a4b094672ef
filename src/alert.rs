//! What Alertmanager says, and the words that rules about it are written in.

pub mod labels;
pub mod severity;

pub use labels::Labels;
pub use severity::{Severity, UnknownSeverity};
