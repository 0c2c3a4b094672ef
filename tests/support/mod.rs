//! What several integration tests share. (The one `mod.rs` here: a file beside `tests/` would be a test of its own.)

pub(crate) mod kubelet;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod rollback;
pub(crate) mod scaled;
pub(crate) mod shipped;
pub mod slack;
pub(crate) mod smtp;
pub(crate) mod stage;
pub(crate) mod story;
pub(crate) mod wait;
