//! The door: authenticates, bounds and decodes notifications, and answers what was decided.
//!
//! It decides nothing: that is the [`Desk`] behind it. What it promises: an answer of 200 means that the desk has
//! recorded every alert; whatever was read completely is given to the desk even when the sender has gone away; and no
//! answer is a redirect, a 408 or a 429, which Alertmanager would not try again.

use std::future::Future;

use jiff::Timestamp;

use crate::alert::Notification;
use crate::reason::{Finding, Reason};
use crate::telemetry::TraceContext;

mod answer;
pub mod auth;
mod body;
mod connection;
pub mod desk;
mod door;
pub mod server;
pub mod settings;
mod tale;

pub use server::{Limits, Running, Server};

/// What stands behind the door.
pub trait Desk: Send + Sync + 'static {
    /// Decides and records every alert of a notification that was received at `received`.
    ///
    /// It runs to its end even when the answer is no longer waited for.
    fn take(
        &self,
        notification: Notification,
        received: Timestamp,
        trace: TraceContext,
    ) -> impl Future<Output = Outcome> + Send;

    /// Whether decisions can be made.
    fn ready(&self) -> Result<(), Finding>;
}

/// What became of a notification.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What each alert led to, in the order of the alerts.
    pub decisions: Vec<Answered>,
    /// Why something could not be decided or recorded: the sender is asked to come back.
    pub unrecorded: Option<Finding>,
}

/// What one alert led to.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// The trigger that matched.
    pub trigger: Option<String>,
    /// The word for the decision.
    pub decision: &'static str,
    /// Its code.
    pub reason: Reason,
    /// What was observed, in words for people; may be empty.
    pub said: String,
    /// The rollback that it is about, as namespace and name with a slash between.
    pub rollback: Option<String>,
}
