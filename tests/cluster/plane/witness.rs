//! What Ripcord asks of somebody's API server, whose audit log nobody here can read: a proxy that passes every request on
//! and notes it as an audit log would; `harness_witness_agrees` holds it against one. It sees Ripcord alone, and does no
//! protocol upgrades.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::audit::Audited;
use crate::scene::now;

/// The proxy, which stays as long as the run does.
pub(crate) struct Witness {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// It shows no credentials but those of the request.
    client: Client,
    /// Who has which token.
    users: Mutex<HashMap<String, String>>,
    seen: Mutex<Vec<Audited>>,
}

// === impl Witness ===

impl Witness {
    /// Listens on loopback, and passes on to the server of this kubeconfig.
    pub(crate) async fn start(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.auth_info = AuthInfo::default();
        // What is asked once must arrive once.
        config.default_retry = false;
        let shared = Arc::new(Shared {
            client: Client::try_from(config)?,
            users: Mutex::default(),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared })
    }

    /// A kubeconfig for the `ServiceAccount` that has this token.
    pub(crate) fn kubeconfig(&self, token: &str, namespace: &str, name: &str) -> String {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        lock(&self.shared.users).insert(format!("Bearer {token}"), user);
        // JSON is YAML.
        let context = json!({ "cluster": "it", "user": "it", "namespace": namespace });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "it", "user": { "token": token } }],
            "contexts": [{ "name": "it", "context": context }],
        })
        .to_string()
    }

    /// The requests that were answered, oldest answer first.
    pub(crate) fn seen(&self) -> Vec<Audited> {
        lock(&self.shared.seen).clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let received = now();
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        // Its client went away in the middle of it.
        return StatusCode::BAD_REQUEST.into_response();
    };
    let user = parts.headers.get(header::AUTHORIZATION);
    let user = user.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let user = lock(&shared.users).get(user).cloned().unwrap_or_default();
    let mut noted = asked(&parts, &body, user);
    one_hop_only(&mut parts.headers);
    parts.headers.remove(header::HOST);
    // Once it is on its way it is carried out, whatever becomes of its client: it must be noted all the same.
    let passed = tokio::spawn(async move {
        let request = Request::from_parts(parts, kube::client::Body::from(body));
        let answer = shared.client.send(request).await;
        let answer = answer.map_or_else(
            |error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
            |answer| {
                let (mut parts, body) = answer.into_parts();
                one_hop_only(&mut parts.headers);
                Response::from_parts(parts, Body::new(body))
            },
        );
        noted.code = answer.status().as_u16().into();
        (noted.received, noted.answered) = (received, now());
        lock(&shared.seen).push(noted);
        answer
    });
    let lost = StatusCode::INTERNAL_SERVER_ERROR;
    passed.await.unwrap_or_else(|_| lost.into_response())
}

/// What an audit log would say of a request, but for its times and its answer.
fn asked(parts: &Parts, body: &[u8], user: String) -> Audited {
    let mut path = parts.uri.path().trim_matches('/').split('/');
    // Behind the group and its version: `/api/v1`, `/apis/apps/v1`.
    let skipped = if path.next() == Some("apis") { 2 } else { 1 };
    let mut path: Vec<_> = path.skip(skipped).collect();
    let mut namespace = "";
    if path.len() > 1 && path[0] == "namespaces" {
        namespace = path[1];
        if path.len() > 2 {
            path.drain(..2);
        }
    }
    let part = |index: usize| path.get(index).copied().unwrap_or_default().to_owned();
    let (resource, name, subresource) = (part(0), part(1), part(2));
    let query = parts.uri.query().unwrap_or_default();
    let watches = query
        .split('&')
        .any(|it| ["watch=true", "watch=1"].contains(&it));
    let verb = match (&parts.method, name.is_empty()) {
        (&Method::GET | &Method::HEAD, _) if watches => "watch",
        (&Method::GET | &Method::HEAD, true) => "list",
        (&Method::GET | &Method::HEAD, false) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "deletecollection",
        (&Method::DELETE, false) => "delete",
        (other, _) => other.as_str(),
    };
    Audited {
        user,
        verb: verb.to_owned(),
        resource,
        subresource,
        namespace: namespace.to_owned(),
        name,
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
        code: 0,
        received: now(),
        answered: now(),
    }
}

/// Framing and connection handling are each hop's own.
fn one_hop_only(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
