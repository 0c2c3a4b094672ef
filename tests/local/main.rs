//! Tests that need nothing but this machine.

#[cfg(feature = "demo")]
#[expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a panic is how one fails"
)]
mod sandbox;
