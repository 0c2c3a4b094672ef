//! A term of leadership, and the handshake by which it ends: the token is cancelled, the work stops, the lease moves on.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It does, until the term ends.
    Leader {
        /// When the term began, for people.
        since: Timestamp,
        /// How often the lease has changed hands.
        transitions: i32,
        /// What the leader's work is bound to.
        term: Term,
    },
    /// It does not.
    Follower {
        /// Who held the lease when this replica last looked.
        holder: Option<String>,
    },
}

/// One uninterrupted time of leading.
#[derive(Clone, Debug)]
pub struct Term {
    ended: CancellationToken,
    work: TaskTracker,
}

// === impl Standing ===

impl Default for Standing {
    fn default() -> Self {
        Self::Follower { holder: None }
    }
}

impl Standing {
    /// The current term, when this replica leads.
    #[must_use]
    pub fn term(&self) -> Option<&Term> {
        match self {
            Self::Leader { term, .. } => Some(term),
            Self::Follower { .. } => None,
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        match self {
            Self::Leader { .. } => None,
            Self::Follower { holder } => holder.as_deref(),
        }
    }
}

// === impl Term ===

impl Term {
    /// A term that ends with `stop` at the latest.
    pub(super) fn new(stop: &CancellationToken) -> Self {
        Self {
            ended: stop.child_token(),
            work: TaskTracker::new(),
        }
    }

    /// Ends the term when the guard is dropped, however that comes about.
    pub(super) fn end_on_drop(&self) -> DropGuard {
        self.ended.clone().drop_guard()
    }

    /// Cancelled as soon as this replica no longer leads.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Runs `work` as part of this term, or nothing when the term has ended.
    ///
    /// The work must watch [`Term::ended`] and return soon after; leadership is not handed on before it has.
    pub fn spawn<F>(&self, work: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Counted before the check: whoever ends the term and then waits either is seen here, or sees this.
        let _counted = self.work.token();
        (!self.ended.is_cancelled()).then(|| self.work.spawn(work))
    }

    /// Waits until an ended term's work has stopped (true), or until `limit` has passed since `stop` (false).
    pub(super) async fn stopped(&self, stop: &CancellationToken, limit: Duration) -> bool {
        self.work.close();
        tokio::select! {
            biased;
            () = self.work.wait() => true,
            () = async { stop.cancelled().await; sleep(limit).await } => false,
        }
    }
}
