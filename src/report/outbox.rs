//! Delivers stories through one reporter: sends whatever is missing there, by what each rollback says was told.
//!
//! Level-triggered: it never asks what happened, only what differs, so it catches up after any silence. Nobody waits
//! for it. Each rollback has one call under way at most, and so has each place, but for a call that takes long, so that
//! trouble with one delays no other; each reporter has an outbox of its own. A message counts as told once the ledger has
//! it; until then nothing more is sent for that rollback, which bounds what a crash can repeat to one message.

mod desk;
mod entry;
mod outcome;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{self, JoinError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::desk::{Candidate, Desk, Done};
use self::entry::{Entry, Standing, Version};
pub use self::outcome::Outcome;
use super::audience::Everyone;
use super::reporter::{Failure, Kind, Letter, Next, Receipt, Remedy, Reporter, Telling};
use super::story;
use crate::policy::Policy;
use crate::rollback::{Memory, Rollback};
use crate::telemetry::{Span, Spans};

/// What ended longer ago than this and was never told is not told any more: a channel that is newly configured is not
/// flooded with history.
pub const TOO_OLD: SignedDuration = SignedDuration::from_hours(24);
/// How long one write of the ledger may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is under way may go on once the outbox is stopped: a call, and the write that records it.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// Everything is looked at again after this long, whatever was announced.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A rollback and its target's memory.
pub type Subject = (Arc<Rollback>, Option<Arc<Memory>>);

/// Keeps what was told, with the rollback itself.
pub trait Ledger: Send + Sync + 'static {
    /// Records what was told of a rollback, under a reporter's key.
    ///
    /// # Errors
    /// The object is gone, or could not be written.
    fn write(
        &self,
        rollback: &Rollback,
        key: &'static str,
        record: Value,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;
}

/// Why a ledger did not take a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// There is no such rollback any more, so there is nothing to tell of it.
    #[error("the rollback is gone")]
    Gone,
    /// It may be taken later.
    #[error("{0}")]
    Failed(String),
}

/// What an outbox works with.
pub struct Outbox<R, L> {
    /// The way in which people are told.
    pub reporter: R,
    /// Where it is recorded what was told.
    pub ledger: Arc<L>,
    /// The policy as it is now.
    pub policy: Arc<dyn Fn() -> Arc<Policy> + Send + Sync>,
    /// Who is told where a target does not say otherwise.
    pub everyone: Everyone,
    /// The time of day.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Told what became of every attempt.
    pub observe: Arc<dyn Fn(Outcome) + Send + Sync>,
    /// Told how many rollbacks have something untold.
    pub waiting: Arc<dyn Fn(usize) + Send + Sync>,
    /// Where finished spans go.
    pub spans: Spans,
}

// === impl Outbox ===

impl<R: Reporter, L: Ledger> Outbox<R, L> {
    /// Reports until it is stopped; then what is under way is finished and recorded, and nothing new is begun.
    ///
    /// `rollbacks` gives all rollbacks as they are now; `changed` says that one of them, a memory or the policy may
    /// have changed.
    pub async fn run(
        self,
        stop: CancellationToken,
        rollbacks: impl Fn() -> Vec<Subject> + Send,
        mut changed: watch::Receiver<u64>,
    ) {
        let mut desk = Desk::new();
        let mut announced = true;
        while !stop.is_cancelled() {
            let wake = self.dispatch(&mut desk, &rollbacks());
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = desk.jobs.join_next_with_id(), if !desk.jobs.is_empty() => self.settle(&mut desk, done),
                alive = changed.changed(), if announced => announced = alive.is_ok(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        let finish = async {
            while let Some(done) = desk.jobs.join_next_with_id().await {
                self.settle(&mut desk, done);
                self.write_down(&mut desk, &rollbacks());
            }
        };
        if tokio::time::timeout(LAST_WORDS, finish).await.is_err() {
            tracing::warn!("stopped before it was recorded what was told");
        }
    }

    /// Begins all calls and writes that can be made now; says when to look again.
    fn dispatch(&self, desk: &mut Desk<R>, subjects: &[Subject]) -> Instant {
        let now = Instant::now();
        let mut wake = now + LOOK_AGAIN;
        let listed: HashSet<String> = subjects.iter().map(|(it, _)| id_of(it)).collect();
        desk.entries
            .retain(|id, entry| entry.standing == Standing::Busy || listed.contains(id));
        wake = wake.min(self.write_down(desk, subjects).unwrap_or(wake));
        let policy = (self.policy)();
        let mut candidates: HashMap<String, Candidate<R>> = HashMap::new();
        for (rollback, memory) in subjects {
            let id = id_of(rollback);
            let entry = desk.entry(&id, rollback);
            if entry.standing != Standing::Idle || entry.unwritten {
                continue;
            }
            let waits = entry.call_after.filter(|after| *after > now);
            if let Some(after) = waits {
                wake = wake.min(after);
                if entry.refused.is_empty() {
                    continue;
                }
            }
            let version = version(rollback, memory.as_deref(), &policy);
            if version.0.is_some() && entry.settled.as_ref() == Some(&version) {
                continue;
            }
            let followed = followed(rollback, subjects);
            let wanted = self.wanted(entry, rollback, followed, memory.as_deref(), &policy, now);
            entry.untold = wanted.is_ok();
            match wanted {
                Err(None) => entry.settled = Some(version),
                Err(Some(left)) => wake = wake.min(now + left),
                Ok(letter) if waits.is_some() && !entry.passes(letter.key.as_deref()) => {}
                Ok(letter) => {
                    let turn = entry.turn;
                    let candidate = Candidate {
                        id,
                        rollback: Arc::clone(rollback),
                        letter,
                        turn,
                    };
                    desk.enlist(&mut candidates, candidate);
                }
            }
        }
        let untold = desk.entries.values().filter(|it| it.untold);
        (self.waiting)(untold.count());
        for (place, candidate) in candidates {
            if let Some(until) = desk.occupied(&place, now) {
                wake = wake.min(until);
                continue;
            }
            match desk.pace.take(&place) {
                Ok(()) => self.call(desk, place, candidate, now),
                Err(left) => wake = wake.min(now + left),
            }
        }
        wake
    }

    /// The next letter about a rollback; else in how long there is one, if there will be.
    fn wanted(
        &self,
        entry: &Entry<R>,
        rollback: &Rollback,
        followed: Option<&Rollback>,
        memory: Option<&Memory>,
        policy: &Policy,
        now: Instant,
    ) -> Result<Letter<R::Content>, Option<Duration>> {
        let latest = story::latest(rollback);
        let time = (self.clock)();
        let old =
            rollback.phase().ended() && latest.is_some_and(|at| time.duration_since(at) > TOO_OLD);
        let target = policy.targets.get(&rollback.spec.target);
        let target = target.filter(|it| it.workload.namespace == rollback.namespace());
        let everyone = &self.everyone;
        let telling = Telling {
            rollback,
            followed,
            memory,
            target,
            everyone,
            story: story::tell(rollback, memory, target, everyone).ok_or(None)?,
            old,
            refused: &entry.refused,
            now: time,
            since_edit: entry.edited.map(|at| now.duration_since(at)),
        };
        match self.reporter.next(&entry.record, &telling) {
            Next::Nothing => Err(None),
            Next::Nowhere => {
                (self.observe)(Outcome::NoChannel);
                Err(None)
            }
            Next::In(left) => Err(Some(left)),
            Next::Now(letter) => Ok(letter),
        }
    }

    /// Begins the call for a candidate whose turn it is.
    fn call(&self, desk: &mut Desk<R>, place: String, candidate: Candidate<R>, now: Instant) {
        let Candidate {
            id,
            rollback,
            letter,
            ..
        } = candidate;
        let Some(entry) = desk.entries.get_mut(&id) else {
            return;
        };
        entry.turn = Some(now);
        let ask_first = entry.ask_first;
        let reporter = self.reporter.clone();
        let (spans, clock) = (self.spans.clone(), Arc::clone(&self.clock));
        desk.begin(id, Some(place), async move {
            if ask_first {
                Done::Asked(in_time(R::PATIENCE, reporter.ask()).await)
            } else {
                let start = clock();
                let result = in_time(R::PATIENCE, reporter.send(&letter)).await;
                let failed = result.as_ref().err().map(|it| it.remedy.word());
                let (via, what) = (R::VIA.as_str(), letter.kind.word());
                spans.record(|| Span::report(&rollback, via, what, start, clock(), failed));
                Done::Called(Box::new(letter), result)
            }
        });
    }

    /// Begins the writes that are due; says when the next one is.
    fn write_down(&self, desk: &mut Desk<R>, subjects: &[Subject]) -> Option<Instant> {
        let now = Instant::now();
        let mut wake: Option<Instant> = None;
        for (rollback, _) in subjects {
            let id = id_of(rollback);
            let Some(entry) = desk.entries.get_mut(&id) else {
                continue;
            };
            if !entry.unwritten || entry.standing != Standing::Idle {
                continue;
            }
            if let Some(after) = entry.write_after.filter(|after| *after > now) {
                wake = Some(wake.map_or(after, |wake| wake.min(after)));
                continue;
            }
            let (ledger, rollback) = (Arc::clone(&self.ledger), Arc::clone(rollback));
            // Texts and lists of texts: they cannot fail to be written as JSON.
            let record = serde_json::to_value(&entry.record).unwrap_or_default();
            desk.begin(id, None, async move {
                let write = ledger.write(&rollback, R::KEY, record);
                let result = match tokio::time::timeout(WRITE_TIMEOUT, write).await {
                    Ok(result) => result,
                    Err(_) => Err(LedgerError::Failed("no answer in time".to_owned())),
                };
                Done::Wrote(result)
            });
        }
        wake
    }

    fn settle(&self, desk: &mut Desk<R>, done: Result<(task::Id, Done<R>), JoinError>) {
        let now = Instant::now();
        let task = done.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(id) = desk.end(task) else {
            return;
        };
        match done.map(|(_, done)| done) {
            Ok(Done::Wrote(result)) => {
                if let Err(error) = &result {
                    tracing::warn!(rollback = %id, reporter = R::VIA.as_str(), %error, "it could not be recorded what was told");
                    (self.observe)(Outcome::Unrecorded);
                }
                if let Some(entry) = desk.entries.get_mut(&id) {
                    entry.written(&result, now);
                }
            }
            Ok(Done::Asked(Ok(()))) => {
                if let Some(entry) = desk.entries.get_mut(&id) {
                    entry.answered();
                }
            }
            Ok(Done::Asked(Err(failure))) => self.failed(desk, &id, None, &failure, now),
            Ok(Done::Called(letter, Ok(receipt))) => {
                self.delivered(desk, &id, &letter, receipt, now);
            }
            Ok(Done::Called(letter, Err(failure))) => {
                self.failed(desk, &id, Some(&letter), &failure, now);
            }
            Err(error) => {
                // A defect of ours: what it was to do is tried again, later and later.
                tracing::error!(rollback = %id, reporter = R::VIA.as_str(), %error, "a report ended abnormally");
                let lost = Failure::new(Remedy::MayHaveHappened, "the call was broken off");
                self.failed(desk, &id, None, &lost, now);
            }
        }
    }

    fn delivered(
        &self,
        desk: &mut Desk<R>,
        id: &str,
        letter: &Letter<R::Content>,
        receipt: Option<Receipt>,
        now: Instant,
    ) {
        (self.observe)(Outcome::Delivered);
        if let Some(receipt) = &receipt {
            desk.learn(&letter.place, &receipt.place);
        }
        if letter.kind == Kind::Opens {
            for fault in &letter.faults {
                tracing::warn!(rollback = %id, reporter = R::VIA.as_str(), %fault, "a part of the report is missing");
            }
        }
        if let Some(entry) = desk.entries.get_mut(id) {
            entry.delivered(letter, receipt, now);
        }
    }

    fn failed(
        &self,
        desk: &mut Desk<R>,
        id: &str,
        letter: Option<&Letter<R::Content>>,
        failure: &Failure,
        now: Instant,
    ) {
        if let (Remedy::Wait(pause), Some(letter)) = (failure.remedy, letter) {
            desk.pace.pause(&desk.key(&letter.place), pause);
        }
        let Some(entry) = desk.entries.get_mut(id) else {
            return;
        };
        let kind = letter.map(|letter| letter.kind);
        let key = letter.and_then(|letter| letter.key.as_deref());
        let outcome = entry.failed(kind, key, failure, now);
        (self.observe)(outcome);
        let reporter = R::VIA.as_str();
        match outcome {
            Outcome::GivenUp => {
                if let Some(letter) = letter {
                    entry.given_up(letter, failure);
                }
                tracing::warn!(rollback = %id, reporter, error = %failure, outcome = outcome.name(), "nobody knows whether people were told, and they are not told again");
            }
            Outcome::Refused | Outcome::Unknown | Outcome::Anew => {
                tracing::warn!(rollback = %id, reporter, error = %failure, outcome = outcome.name(), "people were not told");
            }
            _ => {
                tracing::debug!(rollback = %id, reporter, error = %failure, "people were not told yet");
            }
        }
    }
}

/// A call that hangs is broken off: it would occupy its place for ever.
async fn in_time<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::new(Remedy::MayHaveHappened, "no answer in time");
    let answer = tokio::time::timeout(patience, call).await;
    answer.unwrap_or_else(|_| Err(late()))
}

fn id_of(rollback: &Rollback) -> String {
    match &rollback.metadata.uid {
        Some(uid) => format!("{} {uid}", rollback.full_name()),
        None => rollback.full_name(),
    }
}

fn version(rollback: &Rollback, memory: Option<&Memory>, policy: &Policy) -> Version {
    let memory = memory.and_then(|memory| memory.metadata.resource_version.clone());
    let rollback = rollback.metadata.resource_version.clone();
    (rollback, memory, policy.digest.clone())
}

/// The rollback that this one follows, where it is a rung of the ladder.
fn followed<'a>(rollback: &Rollback, subjects: &'a [Subject]) -> Option<&'a Rollback> {
    let parent = rollback.spec.rung.and(rollback.spec.parent.as_deref())?;
    let mut all = subjects.iter().map(|(it, _)| it);
    let found = all.find(|it| it.name() == parent && it.namespace() == rollback.namespace())?;
    Some(found.as_ref())
}
