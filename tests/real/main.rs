//! Tests of the real binary, in processes of its own, against a real Alertmanager and a simulated cluster.
//!
//! They take minutes, so plain `cargo test` leaves them out: `cargo test --test real`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here, and say what was seen"
)]

/// What the tests share; each binary takes what it needs.
#[path = "../support"]
mod support {
    pub(crate) mod alertmanager;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub(crate) mod proxy;
    pub(crate) mod redis;
    pub(crate) mod replica;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub(crate) mod shipped;
    #[expect(dead_code, reason = "other tests need more of it")]
    pub mod slack;
    pub(crate) mod wait;
}

mod alertmanager;
mod faults;
mod kill;
mod lost;
mod mended;
mod order;
mod redis;
mod scene;
