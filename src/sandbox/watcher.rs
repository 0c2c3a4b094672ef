//! Watches, and which objects they and lists are about. Each change is one JSON line; there are no bookmarks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::driver::Shared;
use super::refusal::Refusal;
use super::store::{Change, Key};

/// The query of a request.
pub(super) type Query = BTreeMap<String, String>;

/// Which objects a client wants: the kind, and the string that they must have at each JSON pointer.
pub(super) struct Selector {
    plural: String,
    terms: Vec<(String, String)>,
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
                    return Err(Refusal::new(400, "BadRequest", why));
                };
                terms.push((pointer(name), value.to_owned()));
            }
        }
        let plural = place.plural.clone();
        Ok(Self { plural, terms })
    }

    pub(super) fn matches(&self, key: &Key, object: &Value) -> bool {
        let has = |(path, value): &(String, String)| {
            let found = object.pointer(path).and_then(Value::as_str);
            found == Some(value)
        };
        key.plural == self.plural && self.terms.iter().all(has)
    }

    /// What a change means for this client. An object that stops matching is gone for it.
    fn event(&self, change: &Change) -> Option<String> {
        let matches = |object: &Value| self.matches(&change.key, object);
        let before = change.before.as_deref().is_some_and(matches);
        let event = match (before, !change.gone && matches(&change.last)) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(line(event, &change.last))
    }
}

/// The changes from the asked version on, without end; from as long ago as there is when no version was asked for.
pub(super) fn watch(shared: Arc<Shared>, selector: Selector, query: &Query) -> Body {
    let number = |name: &str| query.get(name).and_then(|value| value.parse().ok());
    let ends = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let cursor = number("resourceVersion").or(Some(0));
    let (changed, selector) = (shared.changes(), Arc::new(selector));
    Body::from_stream(stream::unfold(
        (cursor, changed),
        move |(cursor, mut changed)| {
            let (shared, selector) = (shared.clone(), selector.clone());
            async move {
                let mut cursor = cursor?;
                loop {
                    changed.borrow_and_update();
                    let (lines, next) = news(&shared, &selector, cursor);
                    if !lines.is_empty() {
                        return Some((Ok::<_, axum::Error>(lines), (next, changed)));
                    }
                    cursor = next?;
                    timeout_at(ends, changed.changed()).await.ok()?.ok()?;
                }
            }
        },
    ))
}

/// What the log has after `cursor`, and where to go on; nowhere when the log no longer reaches back that far.
fn news(shared: &Shared, selector: &Selector, cursor: u64) -> (String, Option<u64>) {
    shared.with(|state| {
        let Some(changes) = state.store.since(cursor) else {
            let gone = Refusal::new(410, "Expired", "too old resource version");
            return (line("ERROR", &gone.status()), None);
        };
        let lines = changes.filter_map(|change| selector.event(change));
        (lines.collect(), Some(state.store.version))
    })
}

fn line(event: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": event, "object": object }))
}
