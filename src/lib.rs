//! Ripcord receives Alertmanager's notifications, decides which alerts mean "this release is bad", pulls the
//! release back, proves that it is back, and tells people what it did and why.

pub mod alert;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod intake;
pub mod policy;
pub mod procedure;
pub mod reason;
pub mod report;
pub mod rollback;
#[cfg(feature = "demo")]
pub mod sandbox;
pub mod target;
pub mod telemetry;
