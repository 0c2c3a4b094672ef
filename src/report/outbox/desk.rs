//! What a running outbox has on its desk: what it remembers, what is under way, and whose turn it is in each place.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::LedgerError;
use super::entry::{Entry, Standing};
use crate::report::pace::Pace;
use crate::report::reporter::{Failure, Letter, Receipt, Reporter};
use crate::rollback::Rollback;

/// How long a call keeps others from its place. Only a mail's takes longer: its server may look through it before it answers.
const ALONE: Duration = Duration::from_secs(15);

/// A call or a write that has ended.
pub(super) enum Done<R: Reporter> {
    Asked(Result<(), Failure>),
    Called(Box<Letter<R::Content>>, Result<Option<Receipt>, Failure>),
    Wrote(Result<(), LedgerError>),
}

/// Whose call or write is under way, in which place, and since when.
struct UnderWay {
    rollback: String,
    place: Option<String>,
    since: Instant,
}

/// A rollback that wants its turn in a place.
pub(super) struct Candidate<R: Reporter> {
    pub(super) id: String,
    pub(super) rollback: Arc<Rollback>,
    pub(super) letter: Letter<R::Content>,
    pub(super) turn: Option<Instant>,
}

/// All that a running outbox remembers.
pub(super) struct Desk<R: Reporter> {
    pub(super) entries: HashMap<String, Entry<R>>,
    pub(super) pace: Pace,
    pub(super) jobs: JoinSet<Done<R>>,
    under_way: HashMap<task::Id, UnderWay>,
    /// The ids of places by the names under which they are configured.
    ids: HashMap<String, String>,
}

// === impl Desk ===

impl<R: Reporter> Desk<R> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            pace: Pace::default(),
            jobs: JoinSet::new(),
            under_way: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    pub(super) fn entry(&mut self, id: &str, rollback: &Rollback) -> &mut Entry<R> {
        self.entries.entry(id.to_owned()).or_insert_with(|| {
            let told = rollback.status.as_ref();
            let told = told.map(|it| R::record(&it.report).clone());
            Entry::new(told.unwrap_or_default())
        })
    }

    /// Begins a call in a place, or a write, for a rollback that has none under way.
    pub(super) fn begin(
        &mut self,
        rollback: String,
        place: Option<String>,
        job: impl Future<Output = Done<R>> + Send + 'static,
    ) {
        if let Some(entry) = self.entries.get_mut(&rollback) {
            entry.standing = Standing::Busy;
        }
        let under_way = UnderWay {
            rollback,
            place,
            since: Instant::now(),
        };
        let task = self.jobs.spawn(job).id();
        self.under_way.insert(task, under_way);
    }

    /// Ends it; says whose it was.
    pub(super) fn end(&mut self, task: task::Id) -> Option<String> {
        let UnderWay { rollback, .. } = self.under_way.remove(&task)?;
        if let Some(entry) = self.entries.get_mut(&rollback) {
            entry.standing = Standing::Idle;
        }
        Some(rollback)
    }

    /// Until when a call that is under way keeps others from its place, where one does.
    pub(super) fn occupied(&self, place: &str, now: Instant) -> Option<Instant> {
        let here = self.under_way.values();
        let here = here.filter(|it| it.place.as_deref() == Some(place));
        let until = here.map(|it| it.since + ALONE);
        until.filter(|until| *until > now).max()
    }

    /// Learns the id of a place that is configured by its name.
    pub(super) fn learn(&mut self, place: &str, id: &str) {
        if place != id && self.key(place) != id {
            self.ids.insert(place.to_owned(), id.to_owned());
            // The turn was taken under the place's name; under its id it counts too.
            let _taken = self.pace.take(id);
        }
    }

    /// The name under which a place is paced.
    pub(super) fn key(&self, place: &str) -> String {
        self.ids.get(place).map_or(place, String::as_str).to_owned()
    }

    /// Keeps the candidate of a place that comes first: whoever calls somebody, then whoever waited longest.
    pub(super) fn enlist(
        &self,
        candidates: &mut HashMap<String, Candidate<R>>,
        candidate: Candidate<R>,
    ) {
        let rank = |it: &Candidate<R>| (!it.letter.urgent, it.turn, it.id.clone());
        let key = self.key(&candidate.letter.place);
        match candidates.get(&key) {
            Some(first) if rank(first) <= rank(&candidate) => {}
            _ => {
                candidates.insert(key, candidate);
            }
        }
    }
}
