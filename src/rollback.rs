//! The two objects in which everything that lasts is kept: the [`Rollback`](object::Rollback), one run of a procedure
//! that takes a target away from a release, and the [`Memory`](memory::Memory) of a target.
//!
//! This room holds their shape and what can be concluded from them. It reads no clock and calls nobody.

pub mod after;
pub mod crd;
pub mod drill;
#[cfg(test)]
#[path = "../tests/support/rollback.rs"]
pub(crate) mod given;
pub mod history;
#[expect(
    clippy::duplicated_attributes,
    reason = "clippy takes the keys of several print columns for one"
)]
pub mod memory;
pub mod name;
#[expect(
    clippy::duplicated_attributes,
    reason = "clippy takes the keys of several print columns for one"
)]
pub mod object;
pub mod phase;

pub use memory::{Memory, MemoryStatus};
pub use object::{Rollback, RollbackSpec, RollbackStatus};
pub use phase::Phase;

/// The API group of both objects.
pub const GROUP: &str = "ripcord.dev";
/// Keeps a running rollback's object until the run has ended at a safe point.
pub const FINALIZER: &str = "ripcord.dev/running";
