//! The names and labels of metrics, logs and traces.

pub mod settings;
