//! The shared state of one sandbox, and the task that moves it: controllers run a moment after each change, and at the
//! times that they asked for. The only place that reads the wall clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::Request;
use super::json::set;
use super::rollout::{self, Write};
use super::store::{Key, Store};
use super::workload::{self, Settings};

/// The API log keeps this many requests.
const REQUESTS: usize = 20_000;

/// What every part of a sandbox shares.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    pub(super) settings: Settings,
    pub(super) lag: Duration,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) requests: VecDeque<Request>,
    pub(super) logged: u64,
    pub(super) denied: Vec<[String; 4]>,
    pub(super) failures: Vec<Failure>,
    /// How many of the next status requests the controller overwrites.
    pub(super) to_lose: u32,
    /// Copies from before such a request; the controller's next pass writes them back.
    pub(super) stale: Vec<(Key, Value)>,
    pub(super) paused: bool,
}

/// Answers that the next requests for a path get instead of the real ones.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) code: u16,
    pub(super) left: u32,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(store: Store, settings: Settings, lag: Duration) -> Self {
        let state = State {
            store,
            requests: VecDeque::new(),
            logged: 0,
            denied: Vec::new(),
            failures: Vec::new(),
            to_lose: 0,
            stale: Vec::new(),
            paused: false,
        };
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            settings,
            lag,
        }
    }

    /// Works on the state, and tells everybody who waits if objects changed.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.store.version();
        let result = work(&mut state);
        let after = state.store.version();
        if before != after {
            self.changed.send_replace(after);
        }
        result
    }

    /// Wakes whenever objects change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes the controllers without a change.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|_| {});
    }
}

// === impl State ===

impl State {
    pub(super) fn log(&mut self, mut request: Request) {
        self.logged += 1;
        request.seq = self.logged;
        self.requests.push_back(request);
        if self.requests.len() > REQUESTS {
            self.requests.pop_front();
        }
    }

    /// One pass of the controllers. Returns when to look again if nothing changes before.
    fn pass(&mut self, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
        let mut wake = Vec::new();
        if !self.paused {
            for (key, stale) in std::mem::take(&mut self.stale) {
                self.overwrite(&key, &stale, now);
            }
            wake.extend(self.apply(rollout::reconcile(&self.store, now), now));
        }
        wake.extend(self.apply(workload::reconcile(&self.store, settings, now), now));
        wake.into_iter().min()
    }

    /// Writes back what the controller believed before a client's request, as a controller that raced it does.
    fn overwrite(&mut self, key: &Key, stale: &Value, now: Timestamp) {
        let Some(mut object) = self.store.get(key).cloned() else {
            return;
        };
        for field in ["abort", "promoteFull"] {
            set(
                &mut object["status"],
                field,
                stale["status"].get(field).cloned(),
            );
        }
        self.store.put(key, object, now);
    }

    fn apply(&mut self, writes: Vec<Write>, now: Timestamp) -> Option<Timestamp> {
        let mut wake = None;
        for write in writes {
            match write {
                Write::Put(key, object) => self.store.put(&key, object, now),
                Write::Remove(key) => self.store.remove(&key),
                Write::Wake(at) => wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at))),
            }
        }
        wake
    }
}

/// Runs the controllers until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.changes();
    loop {
        changed.borrow_and_update();
        let wake = shared.with(|state| state.pass(&shared.settings, now()));
        let pause = wake.map_or(Duration::MAX, |wake| {
            Duration::try_from(wake.duration_since(now())).unwrap_or_default()
        });
        tokio::select! {
            change = changed.changed() => if change.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
        tokio::time::sleep(shared.lag).await;
    }
}

/// The time on the wall.
#[expect(
    clippy::disallowed_methods,
    reason = "the sandbox is a program of its own, with its own clock"
)]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
