//! Tests that run wholly on this machine with Rust alone: real sockets on loopback, and no cluster.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here"
)]

#[path = "../support/mod.rs"]
mod support;

mod outbox;
mod proxy;
mod sandbox;
mod slack_wire;
