//! The API server's HTTP side: paths, verbs, patches, refusals and the log of requests.
//!
//! Answers GET, LIST, WATCH, POST, PUT, PATCH (JSON patch and merge patch; others 415) and DELETE of the stored kinds, their
//! `/status`, access reviews, its version and the schemas of CRDs. No discovery, and no authentication: it listens on loopback.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{self, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use kube::core::Status;
use serde_json::{Value, json};

use super::driver::{Shared, State as Cluster};
use super::kind::Kind;
use super::object::text;
use super::refusal::{self, Refusal, not_found, refuse};
use super::store::{Key, Part, Store};
use super::watcher::{self, Query, Selector};

/// The log keeps this many requests.
const REQUESTS: usize = 20_000;

/// A request to the API server, and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: Query,
    /// Who asked, as they say.
    pub user_agent: String,
    /// What the body is said to be, or empty.
    pub content_type: String,
    /// The body; null when there is none.
    pub body: Value,
    /// Status code of the answer.
    pub status: u16,
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
    let header = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query,
        user_agent: header(header::USER_AGENT),
        content_type: header(header::CONTENT_TYPE),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        status: 0,
    };
    shared.with(|state| {
        let answer = answer(&shared, state, &request);
        let answer = answer.unwrap_or_else(|refusal| reply(refusal.code, &refusal::body(&refusal)));
        request.status = answer.status().as_u16();
        state.requests.push_back(request);
        if state.requests.len() > REQUESTS {
            state.requests.pop_front();
        }
        answer
    })
}

fn answer(
    shared: &Arc<Shared>,
    state: &mut Cluster,
    request: &Request,
) -> Result<Response, Refusal> {
    // The sandbox has one subject, so that it answers for others as for oneself.
    if request.path.ends_with("subjectaccessreviews") {
        let mut review = request.body.clone();
        let asked = &review["spec"]["resourceAttributes"];
        let asked = ["verb", "group", "resource", "subresource"].map(|field| text(&asked[field]));
        let denied = is_denied(state, asked);
        review["status"] = json!({ "allowed": !denied });
        return Ok(reply(201, &review));
    }
    if request.path == "/version" {
        let version = json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.0-sandbox" });
        return Ok(reply(200, &version));
    }
    if let Some(version) = request.path.strip_prefix("/openapi/v3/apis/") {
        return published(&state.store, version).map(|document| reply(200, &document));
    }
    let place = Place::of(&state.store, &request.path)?;
    let verb = request.verb(&place.key)?;
    let (group, plural) = (place.kind.group(), &place.key.plural);
    if is_denied(state, [verb, group, plural, &place.subresource]) {
        let message = format!("the sandbox denies {verb} of {plural}");
        return Err(refuse(403, "Forbidden", &message));
    }
    if verb == "watch" {
        let lines = watcher::watch(shared, &place.key, &request.query)?;
        return Ok(lines.into_response());
    }
    // A deletion asks for it in its body.
    let dry = request.query.contains_key("dryRun") || !request.body["dryRun"].is_null();
    let before = dry.then(|| state.store.clone());
    let done = act(state, verb, place, request);
    if let Some(before) = before {
        state.store = before;
    }
    let code = if verb == "create" { 201 } else { 200 };
    done.map(|object| reply(code, &object))
}

/// Everything but watches.
fn act(state: &mut Cluster, verb: &str, place: Place, request: &Request) -> Result<Value, Refusal> {
    let part = match place.subresource.as_str() {
        "" => Part::Main,
        "status" => Part::Status,
        other => return Err(not_found(other)),
    };
    let (store, mut key, body) = (&mut state.store, place.key, &request.body);
    match verb {
        "list" => {
            let selector = Selector::new(&key, &request.query)?;
            Ok(list(store, &place.kind, &selector))
        }
        "get" => store.find(&key),
        "create" => {
            text(&body["metadata"]["name"]).clone_into(&mut key.name);
            store.create(&key, body.clone())
        }
        "update" => store.update(&key, part, body.clone()),
        "delete" => {
            let last = store.delete(&key, &body["preconditions"])?;
            let is_gone = store.get(&key).is_none();
            Ok(if is_gone {
                refusal::body(&Status::success())
            } else {
                last
            })
        }
        _ => {
            let found = store.find(&key)?;
            let object = patched(found.clone(), request)?;
            let asks = |field| object["status"][field] == true && found["status"][field] != true;
            let lost = part == Part::Status && (asks("abort") || asks("promoteFull"));
            let written = store.update(&key, part, object)?;
            if lost && state.to_lose > 0 {
                // The controller writes what it had read before, as one that races a client does.
                state.to_lose -= 1;
                store.put(&key, found);
            }
            Ok(written)
        }
    }
}

fn list(store: &Store, kind: &Kind, selector: &Selector) -> Value {
    let objects = store.objects(&kind.plural);
    let objects = objects.filter(|object| selector.matches(object));
    json!({
        "apiVersion": kind.api_version,
        "kind": format!("{}List", kind.name),
        "metadata": { "resourceVersion": store.version.to_string() },
        "items": objects.collect::<Vec<_>>(),
    })
}

/// Applies a patch to a copy of the object. What may change, and the preconditions, are the store's business.
fn patched(mut object: Value, request: &Request) -> Result<Value, Refusal> {
    // The server says the same for a failed test, a missing path and a malformed patch.
    let rejected = || {
        let message = "the server rejected our request due to an error in our request";
        refuse(422, "Invalid", message)
    };
    match request.content_type.as_str() {
        "application/json-patch+json" => {
            let patch = serde_json::from_value::<json_patch::Patch>(request.body.clone());
            let patch = patch.map_err(|_| rejected())?;
            json_patch::patch(&mut object, &patch).map_err(|_| rejected())?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut object, &request.body),
        other => {
            let message = format!("the sandbox does not accept {other}");
            return Err(refuse(415, "UnsupportedMediaType", &message));
        }
    }
    Ok(object)
}

/// The schemas of the stored CRDs of this group and version, as the document of `OpenAPI` has them.
fn published(store: &Store, version: &str) -> Result<Value, Refusal> {
    let kinds = store.kinds().filter(|kind| kind.api_version == version);
    let mut schemas = serde_json::Map::new();
    for kind in kinds.filter(|kind| kind.schema.is_object()) {
        let mut schema = kind.schema.clone();
        let (group, number) = version.split_once('/').unwrap_or_default();
        schema["x-kubernetes-group-version-kind"] =
            json!([{ "group": group, "version": number, "kind": kind.name }]);
        schemas.insert(format!("{version}.{}", kind.name), schema);
    }
    if schemas.is_empty() {
        return Err(not_found(version));
    }
    Ok(json!({ "openapi": "3.0.0", "components": { "schemas": schemas } }))
}

fn is_denied(state: &Cluster, asked: [&str; 4]) -> bool {
    state.denied.iter().any(|denied| *denied == asked)
}

fn reply(code: u16, object: &Value) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, Json(object)).into_response()
}

impl Request {
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
            (method, _) => Err(refuse(405, "MethodNotAllowed", method)),
        }
    }
}

impl Place {
    fn of(store: &Store, path: &str) -> Result<Self, Refusal> {
        let unknown = || not_found(path);
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
