//! Ripcord receives Alertmanager's notifications, decides which alerts mean "this release is bad", pulls the
//! release back, proves that it is back, and tells people what it did and why.

#[cfg(feature = "demo")]
pub mod sandbox;
