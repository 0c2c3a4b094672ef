//! Tests that run wholly on this machine with Rust alone: real sockets on loopback, and no cluster.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod deploy;
mod docs;
mod doctor;
mod drill;
mod engine;
mod exec;
mod explain;
mod hands;
mod intake;
mod otlp;
mod outbox;
mod proxy;
mod rooms;
mod sandbox;
mod service;
mod slack_wire;
mod story;
