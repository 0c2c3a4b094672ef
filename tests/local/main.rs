//! Tests against local fakes: no cluster, no network but loopback.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]
#![expect(
    unreachable_pub,
    reason = "the shared modules are written as libraries"
)]

#[path = "../support/mod.rs"]
mod support;

mod slack_wire;
