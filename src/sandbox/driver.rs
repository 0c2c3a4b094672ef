//! The shared state of one sandbox, and the task that moves it: every moment the controllers look at the objects.
//!
//! The only place that reads the wall clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::store::{Key, Store};
use super::{Options, Request, app, rollout, workload};

/// What a controller wants an object to be; `None` removes it.
pub(super) type Write = (Key, Option<Value>);

/// What every part of a sandbox shares.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// With the API server's real port.
    pub(super) options: Options,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) requests: VecDeque<Request>,
    /// Verb, group, resource and subresource.
    pub(super) denied: Vec<[String; 4]>,
    pub(super) failures: Vec<Failure>,
    /// How many of the next status requests the controller overwrites.
    pub(super) to_lose: u32,
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

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            options,
        }
    }

    /// Works on the state, and tells everybody who waits if objects changed.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.store.version;
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

    /// Where an object listens, if it does: a Service at its first port, a pod at the application's.
    pub(super) fn address(&self, object: &Value) -> Option<SocketAddr> {
        let ip = app::ip(object).as_str()?.parse().ok()?;
        let port = object["spec"]["ports"][0]["port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok());
        Some(SocketAddr::new(ip, port.unwrap_or(self.options.app_port)))
    }
}

impl State {
    fn apply(&mut self, writes: Vec<Write>, now: Timestamp) {
        for (key, object) in writes {
            match object {
                Some(object) => drop(self.store.put(&key, object, now)),
                None => self.store.remove(&key),
            }
        }
    }
}

/// Runs the controllers until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.with(|state| {
            let now = now();
            if !state.paused {
                state.apply(rollout::reconcile(&state.store, now), now);
            }
            let writes = workload::reconcile(&state.store, &shared.options, now);
            state.apply(writes, now);
        });
        tokio::time::sleep(shared.options.controller_lag).await;
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
