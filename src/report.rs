//! What people are told, and how it reaches them.
//!
//! Reporting never blocks a rollback: nothing in here is waited for by the room that acts, and everything that
//! is told can be told again from what is recorded. This room decides nothing and changes nothing in a cluster.

pub mod audience;
pub mod blocks;
pub mod email;
pub mod ledger;
pub mod notice;
pub mod once;
pub mod outbox;
pub mod pace;
pub mod page;
pub mod pagerduty;
pub mod post;
pub mod reporter;
pub mod secret;
pub mod settings;
pub mod slack;
pub mod story;
pub mod text;
pub mod webhook;
