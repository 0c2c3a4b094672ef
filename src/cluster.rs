//! Everything that talks to the cluster: caches, fresh reads, and the only writers.

pub mod settings;
