//! The one replica that leads: it admits, plans and runs rollbacks, one per target at a time.
//!
//! Reads and writes of the cluster go through `cluster`; what to do next is decided by the pure rooms.

pub mod lease;
pub mod settings;
