//! Everything that talks to the cluster: watch-fed caches, fresh reads, and the only writers.
//!
//! Each file talks about one thing. Every call has a bound in time, and none is repeated behind the caller's back: a
//! write whose answer was lost may have taken effect, so only the caller can know what to do.

pub mod caches;
pub mod claims;
pub mod client;
pub mod clock;
pub mod deployments;
pub mod drill;
pub mod error;
pub mod events;
pub mod exec;
pub mod hands;
pub mod hold;
pub mod http;
pub mod journal;
pub mod memories;
pub mod permissions;
pub mod prometheus;
pub mod redis;
pub mod rights;
mod services;
pub mod settings;
pub mod shelf;
pub mod survey;
pub mod workloads;

pub use caches::Caches;
pub use client::Cluster;
pub use clock::Clock;
pub use error::Error;
