//! The API server's HTTP side: paths, verbs, patches, refusals and the log of requests.
//!
//! Answers GET, LIST, WATCH, POST, PUT, PATCH (JSON patch and merge patch; others 415) and DELETE of the stored kinds, their
//! `/status`, access reviews, and as much discovery as kubectl needs. No authentication: it listens on loopback.

mod discovery;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{self, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::driver::{self, Shared, State as Cluster};
use super::kind::Kind;
use super::object::text;
use super::refusal::Refusal;
use super::store::{Key, Part, Store};
use super::watcher::{self, Query, Selector};

/// The API log keeps this many requests.
const REQUESTS: usize = 20_000;

/// One request to the API server, decoded as far as every verb needs.
struct Call {
    method: Method,
    path: String,
    query: Query,
    content_type: String,
    /// Null when there is none.
    body: Value,
}

/// What a path names: a collection, an object or a part of one.
struct Place {
    kind: Kind,
    /// The name is empty for a collection, the namespace for all of them.
    key: Key,
    subresource: String,
}

/// The API server.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    extract::Query(query): extract::Query<Query>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let user_agent = text(header::USER_AGENT);
    let call = Call {
        method,
        path: uri.path().to_owned(),
        query,
        content_type: text(header::CONTENT_TYPE),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    shared.with(|state| {
        let answer = answer(&shared, state, &call);
        let answer = answer.unwrap_or_else(|refusal| reply(refusal.code, &refusal.status()));
        if state.requests.len() == REQUESTS {
            state.requests.pop_front();
        }
        let seq = state.requests.back().map_or(0, |last| last.seq + 1);
        state.requests.push_back(super::Request {
            seq,
            time: driver::now(),
            method: call.method.to_string(),
            path: call.path,
            query: uri.query().unwrap_or_default().to_owned(),
            user_agent,
            body: call.body,
            status: answer.status().as_u16(),
        });
        answer
    })
}

fn answer(shared: &Arc<Shared>, state: &mut Cluster, call: &Call) -> Result<Response, Refusal> {
    let planned = state.failures.iter_mut().find(|failure| {
        failure.left > 0 && call.method == *failure.method && call.path.contains(&failure.path)
    });
    if let Some(failure) = planned {
        failure.left -= 1;
        let message = "the sandbox was told to fail this request";
        return Err(Refusal::new(failure.code, "InternalError", message));
    }
    if call.path.ends_with("/selfsubjectaccessreviews") {
        let mut review = call.body.clone();
        let asked = &review["spec"]["resourceAttributes"];
        let asked = ["verb", "group", "resource", "subresource"].map(|field| text(&asked[field]));
        let denied = is_denied(state, asked);
        review["status"] = json!({ "allowed": !denied });
        return Ok(reply(201, &review));
    }
    if let Some(found) = discovery::answer(&state.store, &call.path) {
        return Ok(reply(200, &found));
    }
    let place = Place::of(&state.store, &call.path)?;
    let verb = call.verb(&place.key)?;
    let (group, plural) = (place.kind.group(), &place.key.plural);
    if is_denied(state, [verb, group, plural, &place.subresource]) {
        let message = format!("the sandbox denies {verb} of {plural}");
        return Err(Refusal::new(403, "Forbidden", message));
    }
    match verb {
        "list" => list(&state.store, &place, &call.query),
        "watch" => {
            let selector = Selector::new(&place.key, &call.query)?;
            let lines = watcher::watch(shared.clone(), selector, &call.query);
            Ok(lines.into_response())
        }
        _ => {
            // A deletion asks for it in its body.
            let dry = call.query.contains_key("dryRun") || !call.body["dryRun"].is_null();
            let before = dry.then(|| state.store.clone());
            let answer = one(state, call, verb, place);
            if let Some(before) = before {
                state.store = before;
            }
            answer
        }
    }
}

fn list(store: &Store, place: &Place, query: &Query) -> Result<Response, Refusal> {
    let selector = Selector::new(&place.key, query)?;
    let objects = store.list(&place.key.plural);
    let objects = objects.filter(|(key, object)| selector.matches(key, object));
    let list = json!({
        "apiVersion": place.kind.api_version,
        "kind": format!("{}List", place.kind.name),
        "metadata": { "resourceVersion": store.version.to_string() },
        "items": objects.map(|(_, object)| object).collect::<Vec<_>>(),
    });
    Ok(reply(200, &list))
}

/// The verbs about one object.
fn one(state: &mut Cluster, call: &Call, verb: &str, place: Place) -> Result<Response, Refusal> {
    let (store, mut key, body, now) = (&mut state.store, place.key, &call.body, driver::now());
    let part = match place.subresource.as_str() {
        "" => Part::Main,
        "status" => Part::Status,
        other => return Err(Refusal::not_found(other)),
    };
    let done = match verb {
        "get" => store.find(&key)?,
        "create" => {
            text(&body["metadata"]["name"]).clone_into(&mut key.name);
            return Ok(reply(201, &store.create(&key, body.clone(), now)?));
        }
        "update" => store.update(&key, part, body.clone(), now)?,
        "delete" => {
            let last = store.delete(&key, &body["preconditions"], now)?;
            if store.get(&key).is_none() {
                let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" });
                return Ok(reply(200, &status));
            }
            last
        }
        _ => {
            let found = store.find(&key)?;
            let object = patched(found.clone(), call)?;
            let asks = |field| object["status"][field] == true && found["status"][field] != true;
            let lost = part == Part::Status && (asks("abort") || asks("promoteFull"));
            let written = store.update(&key, part, object, now)?;
            if lost && state.to_lose > 0 {
                // The controller writes what it had read before, as one that races a client does.
                state.to_lose -= 1;
                store.put(&key, found, now);
            }
            written
        }
    };
    Ok(reply(200, &done))
}

/// Applies a patch to a copy of the object. What may change, and the preconditions, are the store's business.
fn patched(mut object: Value, call: &Call) -> Result<Value, Refusal> {
    match call.content_type.as_str() {
        "application/json-patch+json" => {
            let patch: Result<json_patch::Patch, _> = serde_json::from_value(call.body.clone());
            let patch = patch.map_err(|_| Refusal::unpatchable())?;
            json_patch::patch(&mut object, &patch).map_err(|_| Refusal::unpatchable())?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut object, &call.body),
        other => {
            let message = format!("the sandbox does not accept {other}");
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
    }
    Ok(object)
}

fn is_denied(state: &Cluster, asked: [&str; 4]) -> bool {
    state.denied.iter().any(|denied| *denied == asked)
}

fn reply(code: u16, object: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, Json(object)).into_response()
}

impl Call {
    fn verb(&self, key: &Key) -> Result<&'static str, Refusal> {
        let watch = self.query.get("watch");
        match (self.method.as_str(), key.name.is_empty()) {
            ("GET", false) => Ok("get"),
            ("GET", true) if watch.is_some_and(|watch| watch != "false") => Ok("watch"),
            ("GET", true) => Ok("list"),
            ("POST", true) => Ok("create"),
            ("PUT", false) => Ok("update"),
            ("PATCH", false) => Ok("patch"),
            ("DELETE", false) => Ok("delete"),
            (method, _) => Err(Refusal::new(405, "MethodNotAllowed", method)),
        }
    }
}

impl Place {
    fn of(store: &Store, path: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::not_found(path);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return Err(unknown()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |at: usize| rest.get(at).copied().unwrap_or_default();
        let kind = store.kind(part(0))?;
        if kind.api_version != version {
            return Err(unknown());
        }
        Ok(Self {
            kind,
            key: Key::new(part(0), namespace, part(1)),
            subresource: part(2).to_owned(),
        })
    }
}
