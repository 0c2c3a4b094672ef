//! The demo application, and the way to it: each pod and each Service answers on a loopback address of its own, and a
//! Service's requests go to its ready endpoints in turn. What the `EndpointSlices` do not say yet, a client does not feel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use axum_server::Handle;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::driver::Shared;
use super::object::{items, text};
use super::store::Store;

/// A listening socket that ends, with its connections, when it is dropped.
#[derive(Debug)]
pub(super) struct Listener(Handle<SocketAddr>);

/// What answers at one address.
struct Door {
    shared: Arc<Shared>,
    address: String,
    turn: AtomicUsize,
}

/// Keeps the API's listener, and one for each pod and each Service, until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, _api: Listener) {
    let mut changed = shared.changes();
    let mut open: BTreeMap<SocketAddr, Listener> = BTreeMap::new();
    loop {
        changed.borrow_and_update();
        let wanted: BTreeSet<_> = shared.with(|state| {
            let objects = state.store.all().map(|(_, object)| object);
            let listening = objects.filter_map(|object| shared.address(object));
            listening.collect()
        });
        open.retain(|at, _| wanted.contains(at));
        for at in wanted {
            if open.contains_key(&at) {
                continue;
            }
            let door = Arc::new(Door {
                shared: shared.clone(),
                address: at.ip().to_string(),
                turn: AtomicUsize::new(0),
            });
            let router = Router::new().fallback(answer).with_state(door);
            let socket = TcpListener::bind(at);
            match socket.and_then(|socket| Listener::serve(socket, router)) {
                Ok(listener) => drop(open.insert(at, listener)),
                Err(error) => tracing::warn!(address = %at, %error, "the sandbox cannot listen"),
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Where a pod or a Service listens; null for what does not.
pub(super) fn ip(object: &Value) -> &Value {
    let (pod, service) = (&object["status"]["podIP"], &object["spec"]["clusterIP"]);
    if pod.is_null() { service } else { pod }
}

/// How a pod behaves.
pub(super) fn behaviour(pod: &Value) -> Behaviour<'_> {
    Behaviour::of(text(&pod["spec"]["containers"][0]["image"]))
}

async fn answer(State(door): State<Arc<Door>>, uri: Uri) -> (StatusCode, Json<Value>) {
    let pods = door.shared.with(|state| pods(&state.store, &door.address));
    let turn = door.turn.fetch_add(1, Ordering::Relaxed);
    let Some(pod) = pods.get(turn % pods.len().max(1)) else {
        let body = json!({ "error": "no ready endpoint" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    };
    let name = text(&pod["metadata"]["name"]);
    let answer = behaviour(pod).answer(name, uri.path(), turn / pods.len());
    let (code, body) = answer.await;
    (code, Json(body))
}

/// Who may answer at an address: the pod itself, or the ready endpoints of the Service.
fn pods(store: &Store, address: &str) -> Vec<Value> {
    let pods = || store.list("pods").map(|(_, pod)| pod);
    if let Some(pod) = pods().find(|pod| *ip(pod) == address) {
        return vec![pod.clone()];
    }
    let mut services = store.list("services");
    let Some((key, _)) = services.find(|(_, service)| *ip(service) == address) else {
        return Vec::new();
    };
    let slice = store.get(&key.slice()).unwrap_or(&Value::Null);
    let endpoints = items(&slice["endpoints"]).iter();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let of = |endpoint: &Value| pods().find(|pod| *ip(pod) == endpoint["addresses"][0]);
    ready.filter_map(of).cloned().collect()
}

impl Listener {
    /// Serves `router` on a socket.
    pub(super) fn serve(socket: TcpListener, router: Router) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let handle = Handle::new();
        let server = axum_server::from_tcp(socket)?.handle(handle.clone());
        tokio::spawn(server.serve(router.into_make_service()));
        Ok(Self(handle))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
