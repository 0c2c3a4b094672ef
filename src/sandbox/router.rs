//! The API server's HTTP side: paths, verbs, patches, refusals and the log of requests.
//!
//! Answers GET, LIST, WATCH, POST, PUT, PATCH (JSON patch and merge patch; others 415) and DELETE of the stored kinds, their
//! `/status`, access reviews, and as much discovery as `kubectl get` needs. No authentication: it listens on loopback.

mod access;
mod discovery;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::driver::{self, Shared, State as Cluster};
use super::json::text;
use super::kind::Kind;
use super::query::Parameters;
use super::refusal::Refusal;
use super::store::{Key, Part};
use super::watcher::Watcher;

const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// One request to the API server, decoded as far as every verb needs.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) parameters: Parameters,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

enum Answer {
    Object(u16, Value),
    Watch(Box<Watcher>),
}

/// What a path names.
struct Place {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

/// The API server.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let user_agent = text(header::USER_AGENT);
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = Call {
        parameters: Parameters::of(&parts.uri),
        method: parts.method,
        path: parts.uri.path().to_owned(),
        content_type: text(header::CONTENT_TYPE),
        body,
    };
    let now = driver::now();
    let answer = shared.with(|state| {
        let answer = perform(&shared, state, &call, now);
        state.log(super::Request {
            seq: 0,
            time: now,
            method: call.method.to_string(),
            path: call.path.clone(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            content_type: call.content_type.clone(),
            user_agent,
            body: serde_json::from_slice(&call.body)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(&call.body))),
            status: match &answer {
                Ok(Answer::Object(code, _)) => *code,
                Ok(Answer::Watch(_)) => 200,
                Err(refusal) => refusal.code,
            },
        });
        answer
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    match answer {
        Ok(Answer::Object(code, object)) => {
            (status(code), json, object.to_string()).into_response()
        }
        Ok(Answer::Watch(watcher)) => (json, Body::from_stream(watcher.stream())).into_response(),
        Err(refusal) => (status(refusal.code), json, refusal.status().to_string()).into_response(),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn perform(
    shared: &Arc<Shared>,
    state: &mut Cluster,
    call: &Call,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    let planned = state.failures.iter_mut().find(|failure| {
        failure.left > 0
            && failure.method == call.method.as_str()
            && call.path.contains(&failure.path)
    });
    if let Some(failure) = planned {
        failure.left -= 1;
        return Err(Refusal::new(
            failure.code,
            "InternalError",
            "the sandbox was told to fail this request",
        ));
    }
    if call.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        && call.method == Method::POST
    {
        let review = access::review(state, decode(&call.body)?)?;
        return Ok(Answer::Object(201, review));
    }
    if let Some(answer) = discovery::answer(state, &call.path) {
        return Ok(Answer::Object(200, answer));
    }
    let place = Place::of(state, &call.path)?;
    access::check(state, call, &place)?;
    let dry = call
        .parameters
        .get("dryRun")
        .is_some_and(|value| value == "All");
    let Some(name) = &place.name else {
        return match call.method {
            Method::GET => collection(shared, state, call, &place),
            Method::POST => create(state, call, &place, now, dry),
            _ => Err(not_allowed()),
        };
    };
    let key = place.key(name);
    let part = match place.subresource.as_deref() {
        None => Part::Main,
        Some("status") if place.kind.has_status() => Part::Status,
        Some(_) => return Err(Refusal::no_such_resource()),
    };
    match (&call.method, part) {
        (&Method::GET, _) => {
            let found = state.store.get(&key).cloned();
            let object = found.ok_or_else(|| Refusal::not_found(&place.kind, name))?;
            Ok(Answer::Object(200, object))
        }
        (&Method::PUT, _) => replace(state, call, &place.kind, &key, part, dry),
        (&Method::PATCH, _) => patch(state, call, &place.kind, &key, part, dry),
        (&Method::DELETE, Part::Main) => delete(state, call, &key, now, dry),
        _ => Err(not_allowed()),
    }
}

fn replace(
    state: &mut Cluster,
    call: &Call,
    kind: &Kind,
    key: &Key,
    part: Part,
    dry: bool,
) -> Result<Answer, Refusal> {
    let object = decode(&call.body)?;
    let version = text(&object["metadata"]["resourceVersion"]);
    if kind.replaces_by_version() && version.is_empty() {
        let cause = json!({
            "reason": "FieldValueInvalid", "field": "metadata.resourceVersion",
            "message": "Invalid value: 0: must be specified for an update",
        });
        return Err(Refusal::invalid(kind, &key.name, &[cause]));
    }
    let object = state.store.update(key, part, object, dry)?;
    Ok(Answer::Object(200, object))
}

fn patch(
    state: &mut Cluster,
    call: &Call,
    kind: &Kind,
    key: &Key,
    part: Part,
    dry: bool,
) -> Result<Answer, Refusal> {
    let found = state.store.get(key).cloned();
    let found = found.ok_or_else(|| Refusal::not_found(kind, &key.name))?;
    let object = patched(found.clone(), &call.content_type, &call.body)?;
    let asks = |field: &str| object["status"][field] == true && found["status"][field] != true;
    let request = part == Part::Status && !dry && kind.name == "Rollout";
    let lost = state.to_lose > 0 && request && (asks("abort") || asks("promoteFull"));
    let written = state.store.update(key, part, object, dry)?;
    if lost {
        state.to_lose -= 1;
        state.stale.push((key.clone(), found));
    }
    Ok(Answer::Object(200, written))
}

fn delete(
    state: &mut Cluster,
    call: &Call,
    key: &Key,
    now: Timestamp,
    dry: bool,
) -> Result<Answer, Refusal> {
    let options = if call.body.is_empty() {
        json!({})
    } else {
        decode(&call.body)?
    };
    let dry = dry || options["dryRun"][0] == "All";
    let left = state.store.delete(key, &options, now, dry)?;
    if state.store.get(key).is_some() && !dry {
        return Ok(Answer::Object(200, left));
    }
    let uid = &left["metadata"]["uid"];
    let details = json!({ "name": key.name, "group": key.group, "kind": key.plural, "uid": uid });
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(Answer::Object(200, status))
}

fn create(
    state: &mut Cluster,
    call: &Call,
    place: &Place,
    now: Timestamp,
    dry: bool,
) -> Result<Answer, Refusal> {
    let mut object = decode(&call.body)?;
    let name = object["metadata"]["name"].as_str().map(str::to_owned);
    let name = name.filter(|name| !name.is_empty()).or_else(|| {
        let prefix = object["metadata"]["generateName"].as_str()?;
        Some(format!("{prefix}{:05x}", state.store.version()))
    });
    let name = name.ok_or_else(|| {
        Refusal::bad_request("metadata.name or metadata.generateName is required")
    })?;
    let given = object["metadata"]["namespace"].as_str();
    if given.is_some_and(|given| place.namespace.as_deref() != Some(given)) {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object["metadata"]["name"] = json!(name);
    state
        .store
        .create(&place.key(&name), object, now, dry)
        .map(|object| Answer::Object(201, object))
}

fn collection(
    shared: &Arc<Shared>,
    state: &Cluster,
    call: &Call,
    place: &Place,
) -> Result<Answer, Refusal> {
    let selector = call.parameters.selector()?;
    let Kind {
        group,
        plural,
        name,
        ..
    } = &place.kind;
    if call.parameters.is_true("watch") {
        let watcher = Watcher::new(
            shared.clone(),
            &state.store,
            &place.kind,
            place.namespace.clone(),
            selector,
            &call.parameters,
        );
        return Ok(Answer::Watch(Box::new(watcher?)));
    }
    let objects = state
        .store
        .list(group, plural, place.namespace.as_deref())
        .map(|(_, object)| object);
    let items: Vec<&Value> = objects.filter(|object| selector.matches(object)).collect();
    let metadata = json!({ "resourceVersion": state.store.version().to_string() });
    let list = json!({ "apiVersion": place.kind.api_version(), "kind": format!("{name}List"), "metadata": metadata, "items": items });
    Ok(Answer::Object(200, list))
}

/// Applies a patch to a copy of the object. What may change, and the preconditions, are the store's business.
pub(super) fn patched(
    mut object: Value,
    content_type: &str,
    body: &[u8],
) -> Result<Value, Refusal> {
    match content_type.split(';').next().unwrap_or_default() {
        "application/json-patch+json" => {
            let patch: json_patch::Patch =
                serde_json::from_slice(body).map_err(|_| Refusal::unpatchable())?;
            json_patch::patch(&mut object, &patch).map_err(|_| Refusal::unpatchable())?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut object, &decode(body)?),
        other => {
            let message = format!(
                "the body of the request was in an unknown format - the sandbox does not accept {other}"
            );
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
    }
    Ok(object)
}

fn decode(body: &[u8]) -> Result<Value, Refusal> {
    let object: Value = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!("the object provided is unrecognized: {error}"))
    })?;
    if !object.is_object() || !(object["metadata"].is_object() || object["metadata"].is_null()) {
        return Err(Refusal::bad_request(
            "the object provided is unrecognized: not an object",
        ));
    }
    Ok(object)
}

fn not_allowed() -> Refusal {
    Refusal::new(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}

// === impl Place ===

impl Place {
    fn of(state: &Cluster, path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return Err(Refusal::no_such_resource()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                (Some(*namespace), (*plural, rest))
            }
            [plural, rest @ ..] => (None, (*plural, rest)),
            [] => return Err(Refusal::no_such_resource()),
        };
        let kind = state.store.kind(group, rest.0)?;
        let owned = |part: Option<&&str>| part.map(|part| (*part).to_owned());
        let (name, subresource) = (owned(rest.1.first()), owned(rest.1.get(1)));
        if kind.namespaced() != namespace.is_some() && (name.is_some() || namespace.is_some()) {
            return Err(Refusal::no_such_resource());
        }
        Ok(Self {
            kind,
            namespace: namespace.map(str::to_owned),
            name,
            subresource,
        })
    }

    fn key(&self, name: &str) -> Key {
        Key::new(
            &self.kind.group,
            &self.kind.plural,
            self.namespace.as_deref().unwrap_or_default(),
            name,
        )
    }
}
