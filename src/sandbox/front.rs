//! The front doors: each Service's address answers, and hands each request to one of the Service's ready endpoints.
//!
//! Also keeps the listeners of pods and Services in step with the store. It reads endpoints, never pods' conditions: what
//! the `EndpointSlices` do not say yet, a client does not feel yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::app;
use super::driver::Shared;
use super::listen::Listener;
use super::store::{Key, Store};

/// The HTTP client of this module and of the load client.
pub(super) type Http = Client<HttpConnector, Body>;

struct Door {
    shared: Arc<Shared>,
    http: Http,
    service: Key,
    turn: AtomicUsize,
}

/// Keeps one listener for each running pod and each Service port, until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.changes();
    let mut open: BTreeMap<(SocketAddr, String), Listener> = BTreeMap::new();
    let http = client();
    loop {
        changed.borrow_and_update();
        let wanted = shared.with(|state| wanted(&state.store, shared.settings.app_port));
        open.retain(|at, _| wanted.contains_key(at));
        for (at, (key, image)) in wanted {
            if open.contains_key(&at) {
                continue;
            }
            let router = match image {
                Some(image) => app::router(&image, &key.name),
                None => door(shared.clone(), http.clone(), key),
            };
            match Listener::start(at.0, router) {
                Ok(listener) => drop(open.insert(at, listener)),
                Err(error) => tracing::warn!(address = %at.0, %error, "the sandbox cannot listen"),
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Every address that has to answer: the object's uid tells one user of an address from the next; pods come with their image.
fn wanted(store: &Store, port: u16) -> BTreeMap<(SocketAddr, String), (Key, Option<String>)> {
    let mut wanted = BTreeMap::new();
    let mut add = |address: &Value, port: u16, object: &Value, key: &Key, image: Option<String>| {
        let address = address.as_str().and_then(|address| address.parse().ok());
        if let (Some(address), Some(uid)) = (address, object["metadata"]["uid"].as_str()) {
            wanted.insert(
                (SocketAddr::new(address, port), uid.to_owned()),
                (key.clone(), image),
            );
        }
    };
    for (key, pod) in store
        .list("", "pods", None)
        .filter(|(_, pod)| app::runs(pod))
    {
        let image = pod["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        add(&pod["status"]["podIP"], port, pod, key, Some(image));
    }
    for (key, service) in store.list("", "services", None) {
        if let Some(address) = address(service) {
            add(
                &service["spec"]["clusterIP"],
                address.port(),
                service,
                key,
                None,
            );
        }
    }
    wanted
}

/// Where a Service listens: its cluster address and its first port.
pub(super) fn address(service: &Value) -> Option<SocketAddr> {
    let port = u16::try_from(service["spec"]["ports"][0]["port"].as_u64()?).ok()?;
    Some(SocketAddr::new(
        service["spec"]["clusterIP"].as_str()?.parse().ok()?,
        port,
    ))
}

/// A client that makes a new connection for each request, so that no connection outlives an endpoint.
pub(super) fn client() -> Http {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

fn door(shared: Arc<Shared>, http: Http, service: Key) -> Router {
    let door = Door {
        shared,
        http,
        service,
        turn: AtomicUsize::new(0),
    };
    Router::new().fallback(forward).with_state(Arc::new(door))
}

async fn forward(State(door): State<Arc<Door>>, mut request: Request) -> Response {
    let endpoints = door.shared.with(|state| ready(&state.store, &door.service));
    let turn = door.turn.fetch_add(1, Ordering::Relaxed);
    let Some(endpoint) = endpoints.get(turn % endpoints.len().max(1)) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no ready endpoint").into_response();
    };
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let Ok(uri) = format!("http://{endpoint}{path}").parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    match door.http.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{endpoint}: {error}")).into_response(),
    }
}

/// The ready endpoints of a Service, as its `EndpointSlices` give them.
fn ready(store: &Store, service: &Key) -> Vec<SocketAddr> {
    let slices = store.list(
        "discovery.k8s.io",
        "endpointslices",
        Some(&service.namespace),
    );
    let slices = slices.filter(|(_, slice)| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == service.name.as_str()
    });
    let of = |slice: &Value| -> Vec<SocketAddr> {
        let port = slice["ports"][0]["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or_default();
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let addresses = endpoints
            .filter(|one| one["conditions"]["ready"] == true)
            .filter_map(|one| one["addresses"][0].as_str());
        addresses
            .filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, port)))
            .collect()
    };
    slices.flat_map(|(_, slice)| of(slice)).collect()
}
