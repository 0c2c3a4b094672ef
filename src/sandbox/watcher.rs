//! Watches: the changes of the log, one JSON line each, as one client asked for them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::driver::Shared;
use super::kind::Kind;
use super::query::{Parameters, Selector};
use super::refusal::Refusal;
use super::store::{Change, Store};

/// A quiet watch gets a bookmark this often, if it asked for bookmarks.
const BOOKMARK: Duration = Duration::from_secs(5);

/// One open watch.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
    cursor: u64,
    bookmarks: bool,
    ends: Instant,
    over: bool,
    lines: VecDeque<Bytes>,
}

// === impl Watcher ===

impl Watcher {
    /// A watch from the asked version on; without one, or from 0, the present objects come first.
    pub(super) fn new(
        shared: Arc<Shared>,
        store: &Store,
        kind: &Kind,
        namespace: Option<String>,
        selector: Selector,
        parameters: &Parameters,
    ) -> Result<Self, Refusal> {
        let from = parameters
            .get("resourceVersion")
            .unwrap_or("0")
            .parse::<u64>();
        let from = from.map_err(|_| Refusal::bad_request("resourceVersion is not a number"))?;
        let seconds = parameters
            .get("timeoutSeconds")
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(300);
        let initial = parameters.is_true("sendInitialEvents");
        let mut watcher = Self {
            changed: shared.changes(),
            shared,
            kind: kind.clone(),
            namespace,
            selector,
            cursor: from,
            bookmarks: parameters.is_true("allowWatchBookmarks"),
            ends: Instant::now() + Duration::from_secs(seconds),
            over: false,
            lines: VecDeque::new(),
        };
        if from == 0 || initial {
            let objects = store
                .list(&kind.group, &kind.plural, watcher.namespace.as_deref())
                .map(|(_, object)| object);
            let objects: Vec<&Value> = objects
                .filter(|object| watcher.selector.matches(object))
                .collect();
            for object in objects {
                watcher.send("ADDED", object);
            }
            watcher.cursor = store.version();
        }
        if initial {
            watcher.bookmark(&json!({ "k8s.io/initial-events-end": "true" }));
        }
        Ok(watcher)
    }

    /// The body of the answer.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut watcher| async move {
            let line = watcher.next().await?;
            Some((Ok(line), watcher))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.changed.borrow_and_update();
            self.read();
            if !self.lines.is_empty() {
                continue;
            }
            let pause = self.ends.min(Instant::now() + BOOKMARK);
            match tokio::time::timeout_at(pause, self.changed.changed()).await {
                Ok(Err(_)) => return None,
                Err(_) if Instant::now() >= self.ends => return None,
                Err(_) if self.bookmarks => self.bookmark(&json!({})),
                Ok(Ok(())) | Err(_) => {}
            }
        }
    }

    /// Takes what is new in the log.
    fn read(&mut self) {
        let shared = self.shared.clone();
        shared.with(|state| {
            if let Some(changes) = state.store.since(self.cursor) {
                changes.for_each(|change| self.take(change));
                self.cursor = state.store.version();
                return;
            }
            let gone = Refusal::new(410, "Expired", "too old resource version");
            self.send("ERROR", &gone.status());
            self.over = true;
        });
    }

    fn take(&mut self, change: &Change) {
        let elsewhere = self
            .namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != change.key.namespace);
        if change.key.group != self.kind.group || change.key.plural != self.kind.plural || elsewhere
        {
            return;
        }
        // An object that stops matching the selector is gone for this client.
        let before = change
            .before
            .as_deref()
            .filter(|object| self.selector.matches(object));
        let after = change
            .after
            .as_deref()
            .filter(|object| self.selector.matches(object));
        match (before, after) {
            (None, Some(object)) => self.send("ADDED", object),
            (Some(_), Some(object)) => self.send("MODIFIED", object),
            (Some(object), None) => self.send("DELETED", change.after.as_deref().unwrap_or(object)),
            (None, None) => {}
        }
    }

    fn bookmark(&mut self, annotations: &Value) {
        let metadata =
            json!({ "resourceVersion": self.cursor.to_string(), "annotations": annotations });
        let object = json!({ "apiVersion": self.kind.api_version(), "kind": self.kind.name, "metadata": metadata });
        self.send("BOOKMARK", &object);
    }

    fn send(&mut self, event: &str, object: &Value) {
        let line = json!({ "type": event, "object": object });
        self.lines.push_back(Bytes::from(format!("{line}\n")));
    }
}
