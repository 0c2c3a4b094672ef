//! What differs between the ways of telling people: one trait, which the outbox drives.
//!
//! A reporter says what is missing by its own part of the record, sends one thing, and notes it. It neither repeats,
//! waits nor paces: the outbox does that for all of them alike.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::audience::Everyone;
use super::story::Story;
use crate::rollback::object::Report;
use crate::rollback::{Memory, Rollback};
use crate::target::Target;
pub use crate::telemetry::metrics::Via;

/// How long a call may take where a reporter says nothing else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One way of telling people.
pub trait Reporter: Clone + Send + Sync + 'static {
    /// What is on record of it with each rollback.
    type Record: Clone + Debug + Default + Serialize + Send + Sync + 'static;
    /// What one message is made of.
    type Content: Send + Sync + 'static;

    /// Its name in logs and metrics.
    const VIA: Via;
    /// The key of its record in `status.report`.
    const KEY: &'static str;
    /// Whether there is something harmless to ask ([`Reporter::ask`]) when a message may or may not exist.
    const ASKS: bool = false;
    /// How long one call may take, whatever bounds it has of its own.
    const PATIENCE: Duration = PATIENCE;

    /// Its part of what is on record.
    fn record(report: &Report) -> &Self::Record;

    /// Where the record keeps why a message could not be delivered.
    fn refused(record: &mut Self::Record) -> &mut Option<String>;

    /// What is to be sent next.
    fn next(&self, record: &Self::Record, telling: &Telling<'_>) -> Next<Letter<Self::Content>>;

    /// Sends it; the receipt, where the other side gives one.
    fn send(
        &self,
        letter: &Letter<Self::Content>,
    ) -> impl Future<Output = Result<Option<Receipt>, Failure>> + Send;

    /// Notes that it was sent.
    fn sent(record: &mut Self::Record, letter: &Letter<Self::Content>, receipt: Option<Receipt>);

    /// Notes that the message which was to be changed or answered is out of reach.
    fn lost(_record: &mut Self::Record) {}

    /// Asks something harmless, to see whether the other side answers.
    fn ask(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A rollback and all that is known around it, as it is to be told.
pub struct Telling<'a> {
    /// The rollback.
    pub rollback: &'a Rollback,
    /// The rollback that it follows, where it is a rung of the ladder.
    pub followed: Option<&'a Rollback>,
    /// Its target's memory.
    pub memory: Option<&'a Memory>,
    /// Its target, where the policy still has it.
    pub target: Option<&'a Target>,
    /// Who is told where the target does not say otherwise.
    pub everyone: &'a Everyone,
    /// All that is to be told.
    pub story: Story,
    /// Whether it ended so long ago that nothing is begun about it any more.
    pub old: bool,
    /// The keys of what was refused for good, or may have been taken: it comes last.
    pub refused: &'a [String],
    /// The time.
    pub now: Timestamp,
    /// How long ago its message was last sent or edited.
    pub since_edit: Option<Duration>,
}

/// What is to be done about a story now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// All is told.
    Nothing,
    /// There is nowhere to tell it.
    Nowhere,
    /// Something, once this much time has passed.
    In(Duration),
    /// This.
    Now(T),
}

/// One message with all that it needs.
pub struct Letter<C> {
    /// Where it goes: each place has a pace of its own.
    pub place: String,
    /// Whether somebody is called by what is untold.
    pub urgent: bool,
    /// What kind it is.
    pub kind: Kind,
    /// By what it is known, where one that is refused for good must not keep the others waiting.
    pub key: Option<String>,
    /// What is missing in it, for the log.
    pub faults: Vec<String>,
    /// What it is made of.
    pub content: C,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new one that stands for itself.
    Opens,
    /// A change of one that exists; it can be sent any number of times.
    Edits,
    /// A new one that follows one that exists.
    Follows,
}

/// Where a message went, in the other side's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The place.
    pub place: String,
    /// What the message is called there.
    pub id: String,
}

/// Why a call failed, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Failure {
    /// What helps.
    pub remedy: Remedy,
    /// What is wrong, without addresses and secrets.
    pub said: String,
}

/// What helps after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing happened; the same call may succeed later.
    Retry,
    /// Nothing happened; the same call may be sent after this long.
    Wait(Duration),
    /// The message that was to be edited or answered is out of reach: post a new one.
    PostAnew,
    /// It may have happened. An edit can simply be sent again; a post that is sent again may be a duplicate.
    MayHaveHappened,
    /// The same call fails until a person changes a secret, a setting, the other side or Ripcord.
    Fix,
}

// === impl Next ===

impl<T> Next<T> {
    /// The same with another content.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Self::Nothing => Next::Nothing,
            Self::Nowhere => Next::Nowhere,
            Self::In(left) => Next::In(left),
            Self::Now(this) => Next::Now(change(this)),
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The kind, in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opens => "post",
            Self::Edits => "update",
            Self::Follows => "reply",
        }
    }

    /// Whether it makes a message, so that a second one would be a duplicate.
    #[must_use]
    pub const fn posts(self) -> bool {
        matches!(self, Self::Opens | Self::Follows)
    }

    /// Whether it needs a message that exists.
    #[must_use]
    pub const fn leans(self) -> bool {
        matches!(self, Self::Edits | Self::Follows)
    }
}

// === impl Remedy ===

impl Remedy {
    /// What failed, in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "not_sent",
            Self::Wait(_) => "rate_limited",
            Self::PostAnew => "message_gone",
            Self::MayHaveHappened => "unknown",
            Self::Fix => "refused",
        }
    }
}

// === impl Failure ===

impl Failure {
    /// A failure of which this is said.
    pub fn new(remedy: Remedy, said: impl Into<String>) -> Self {
        Self {
            remedy,
            said: said.into(),
        }
    }
}
