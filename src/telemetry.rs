//! The names and labels of metrics, logs and traces.
