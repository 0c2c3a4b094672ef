//! The shared state of one sandbox, and the task that moves it: every moment the controllers look at the objects.
//!
//! The only place that reads the wall clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::store::Store;
use super::{Request, rollout, workload};

/// How often the controllers look at the objects.
const LAG: Duration = Duration::from_millis(30);

/// What every part of a sandbox shares.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// The API server's.
    pub(super) port: u16,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) requests: VecDeque<Request>,
    /// Verb, group, resource and subresource.
    pub(super) denied: Vec<[String; 4]>,
    /// How many of the next status requests the controller overwrites.
    pub(super) to_lose: u32,
    pub(super) paused: bool,
}

impl Shared {
    pub(super) fn new(port: u16) -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            port,
        }
    }

    /// Works on the state, and tells everybody who waits if objects changed.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.store.version;
        state.store.now = now();
        let result = work(&mut state);
        if before != state.store.version {
            self.changed.send_replace(());
        }
        result
    }

    /// Wakes whenever objects change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Runs the controllers until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.with(|state| {
            if !state.paused {
                let writes = rollout::reconcile(&state.store);
                state.store.apply(writes);
            }
            let writes = workload::reconcile(&state.store, shared.port);
            state.store.apply(writes);
        });
        tokio::time::sleep(LAG).await;
    }
}

/// The time on the wall.
#[expect(
    clippy::disallowed_methods,
    reason = "the sandbox is a program of its own, with its own clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
