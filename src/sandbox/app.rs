//! The demo application, and the way to it: each pod and each Service answers on a loopback address of its own, and a
//! Service's requests go to its ready endpoints in turn. What the `EndpointSlices` do not say yet, a client does not feel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::behaviour::Behaviour;
use super::driver::Shared;
use super::object::{items, text};
use super::store::{Key, Store};

/// The port of the application in each pod.
pub(super) const PORT: u16 = 8000;

/// What answers at one address.
struct Door {
    shared: Arc<Shared>,
    address: String,
    turn: AtomicUsize,
}

/// Whether pods can listen on addresses of their own, of which this is one that none of them gets.
pub(super) async fn probe(address: Ipv4Addr) -> io::Result<()> {
    let listens = TcpListener::bind((address, PORT)).await;
    listens.map(drop).map_err(|error| {
        let said = format!(
            "the pods of the simulated cluster need port {PORT} on loopback addresses such as {address}: {error}. Does something \
             listen on that port of every address (ss -ltn)?"
        );
        io::Error::new(error.kind(), said)
    })
}

/// Keeps a listener for each pod and each Service, until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.changes();
    let mut open = BTreeMap::new();
    loop {
        changed.borrow_and_update();
        let wanted: BTreeSet<_> =
            shared.with(|state| state.store.all().filter_map(address).collect());
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
            match TcpListener::bind(at).await {
                Ok(socket) => {
                    let router = Router::new().fallback(answer).with_state(door);
                    let server = tokio::spawn(serve(socket, router));
                    open.insert(at, AbortOnDropHandle::new(server));
                }
                Err(error) => tracing::warn!(address = %at, %error, "the sandbox cannot listen"),
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Serves `router` on a socket until it is dropped.
pub(super) async fn serve(socket: TcpListener, router: Router) {
    // It goes on for ever: a connection that cannot be accepted ends nothing.
    drop(axum::serve(socket, router).await);
}

/// Where a pod or a Service listens; null for what does not.
pub(super) fn ip(object: &Value) -> &Value {
    let (pod, service) = (&object["status"]["podIP"], &object["spec"]["clusterIP"]);
    if pod.is_null() { service } else { pod }
}

/// The same with the port: a Service's first one, or the application's.
pub(super) fn address(object: &Value) -> Option<SocketAddr> {
    let port = object["spec"]["ports"][0]["port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok());
    let ip = ip(object).as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, port.unwrap_or(PORT)))
}

/// The `EndpointSlice` of a Service.
pub(super) fn slice<'a>(store: &'a Store, service: &Value) -> Option<&'a Value> {
    store.get(&Key::of("endpointslices", service))
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
    let pod = |address: &Value| store.objects("pods").find(|pod| ip(pod) == address);
    if let Some(pod) = pod(&json!(address)) {
        return vec![pod.clone()];
    }
    let mut services = store.objects("services");
    let service = services.find(|service| *ip(service) == address);
    let slice = service.and_then(|service| slice(store, service));
    let slice = slice.unwrap_or(&Value::Null);
    let endpoints = items(&slice["endpoints"]).iter();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let pods = ready.filter_map(|endpoint| pod(&endpoint["addresses"][0]));
    pods.cloned().collect()
}
