//! The one place where the time is read. Everything else is told.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge at which the time comes in"
)]
pub fn system() -> Clock {
    Arc::new(Timestamp::now)
}
