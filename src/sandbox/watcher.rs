//! Watches, and which objects they and lists are about. Each change is one JSON line; there are no bookmarks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use super::driver::Shared;
use super::refusal::{self, Refusal, refuse};
use super::store::{Change, Key};

/// The query of a request.
pub type Query = BTreeMap<String, String>;

/// Which objects of a kind a client wants: the string that they must have at each JSON pointer.
pub(super) struct Selector(Vec<(String, String)>);

/// One client's watch.
struct Watch {
    shared: Arc<Shared>,
    changed: Receiver<()>,
    plural: String,
    selector: Selector,
    /// The version up to which the client was told; none when it has to begin anew.
    cursor: Option<u64>,
    ends: Instant,
}

/// The changes from the asked version on, without end; from as long ago as there is when no version was asked for.
pub(super) fn watch(shared: &Arc<Shared>, place: &Key, query: &Query) -> Result<Body, Refusal> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse().ok());
    let lasts = Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let watch = Watch {
        shared: shared.clone(),
        changed: shared.changes(),
        plural: place.plural.clone(),
        selector: Selector::new(place, query)?,
        cursor: number("resourceVersion").or(Some(0)),
        ends: Instant::now() + lasts,
    };
    let lines = stream::unfold(watch, |mut watch| async {
        let lines = watch.next().await?;
        Some((Ok::<_, axum::Error>(lines), watch))
    });
    Ok(Body::from_stream(lines))
}

impl Watch {
    /// Waits for changes that concern the client.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.changed.borrow_and_update();
            let lines = self.news()?;
            if !lines.is_empty() {
                return Some(lines);
            }
            let changed = timeout_at(self.ends, self.changed.changed()).await;
            changed.ok()?.ok()?;
        }
    }

    /// What the log has after the cursor. An error ends the watch: the log may no longer reach back that far.
    fn news(&mut self) -> Option<String> {
        let cursor = self.cursor.take()?;
        self.shared.with(|state| {
            let Some(changes) = state.store.since(cursor) else {
                let gone = refuse(410, "Expired", "too old resource version");
                return Some(line("ERROR", &refusal::body(&gone)));
            };
            self.cursor = Some(state.store.version);
            let mine = changes.filter(|change| change.key.plural == self.plural);
            Some(
                mine.filter_map(|change| self.selector.event(change))
                    .collect(),
            )
        })
    }
}

impl Selector {
    /// The namespace, `labelSelector` and `fieldSelector`, of which only equality is known.
    pub(super) fn new(place: &Key, query: &Query) -> Result<Self, Refusal> {
        let mut terms = Vec::new();
        if !place.namespace.is_empty() {
            terms.push(("/metadata/namespace".to_owned(), place.namespace.clone()));
        }
        for (parameter, text) in query {
            let pointer = |name: &str| match parameter.as_str() {
                "labelSelector" => format!("/metadata/labels/{}", name.replace('/', "~1")),
                _ => format!("/{}", name.replace('.', "/")),
            };
            if !parameter.ends_with("Selector") {
                continue;
            }
            for term in text.split(',').filter(|term| !term.is_empty()) {
                let parts = term.split_once('=');
                let Some((name, value)) = parts.filter(|_| !term.contains(['!', '('])) else {
                    let why = format!("the sandbox knows no selector such as {term}");
                    return Err(refuse(400, "BadRequest", &why));
                };
                terms.push((pointer(name), value.to_owned()));
            }
        }
        Ok(Self(terms))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let has = |(path, value): &(String, String)| {
            let found = object.pointer(path).and_then(Value::as_str);
            found == Some(value)
        };
        self.0.iter().all(has)
    }

    /// What a change means for this client. An object that stops matching is gone for it.
    fn event(&self, change: &Change) -> Option<String> {
        let before = change.before.as_deref();
        let before = before.is_some_and(|object| self.matches(object));
        let event = match (before, !change.gone && self.matches(&change.last)) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(line(event, &change.last))
    }
}

fn line(event: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": event, "object": object }))
}
