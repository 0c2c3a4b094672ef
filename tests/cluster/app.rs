//! The demo application of every pod: one process that listens on all addresses. The local address of a connection says
//! which pod was meant, and the pod's image says how it answers.

mod metrics;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use ripcord::sandbox::Behaviour;
use tokio::net::TcpListener;

use self::metrics::Metrics;

/// The port of the fixtures' pods.
const PORT: u16 = 8000;
/// How many predictions a pod gives whose tag says `crashes`. Then nobody listens there, and the simulated kubelet, which
/// looks after no process, still says that it is ready.
const LAST: usize = 20;
/// What warms a pod up. Of a namespace's pods whose tag says `onecold`, the first that is asked refuses it for ever; where it
/// says `onemute`, that one never answers.
const WARM_UP: &str = "/warmup";

/// The pods that were warmed up, as often as they were.
static WARM: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The first pod that was asked, by namespace.
static ODD: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// The pods that run, by address.
type Pods = Arc<Mutex<HashMap<IpAddr, Running>>>;

#[derive(Clone, Debug)]
struct Running {
    name: String,
    namespace: String,
    uid: String,
    image: String,
    /// How many predictions it was asked for.
    turn: usize,
    metrics: Arc<Metrics>,
}

// === impl Running ===

impl Running {
    fn has_crashed(&self) -> bool {
        self.turn >= LAST && Behaviour::of(&self.image).says("crashes")
    }
}

/// Answers for all pods from now on.
pub(crate) async fn serve(client: Client) -> Result<()> {
    let pods = Pods::default();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    tokio::spawn(watch(client, Arc::clone(&pods)));
    tokio::spawn(accept(listener, pods));
    Ok(())
}

async fn watch(client: Client, pods: Pods) {
    let events = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // After an error it lists again.
        let Ok(event) = event else { continue };
        let mut pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => see(&mut pods, &pod),
            watcher::Event::Delete(pod) => {
                pods.retain(|_, it| it.uid != pod.metadata.uid.as_deref().unwrap_or_default());
            }
            watcher::Event::Init => pods.clear(),
            watcher::Event::InitDone => {}
        }
    }
}

/// Takes note of a pod: one whose container does not run answers nobody.
fn see(pods: &mut HashMap<IpAddr, Running>, pod: &Pod) {
    let status = pod.status.as_ref();
    let address = status.and_then(|it| it.pod_ip.as_ref()?.parse().ok());
    let container = status.and_then(|it| it.container_statuses.as_ref()?.first());
    let runs = container
        .and_then(|it| it.state.as_ref()?.running.as_ref())
        .is_some();
    let image = pod.spec.as_ref().and_then(|it| it.containers.first());
    let Some(address) = address else { return };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    if runs {
        let known = pods.get(&address).filter(|it| it.uid == uid);
        let (turn, metrics) = known
            .map(|it| (it.turn, Arc::clone(&it.metrics)))
            .unwrap_or_default();
        pods.insert(
            address,
            Running {
                name: pod.name_any(),
                namespace: pod.namespace().unwrap_or_default(),
                uid,
                image: image.map(behaves).unwrap_or_default(),
                turn,
                metrics,
            },
        );
    } else if pods.get(&address).is_some_and(|it| it.uid == uid) {
        pods.remove(&address);
    }
}

/// The image of a container, by whose tag it behaves. One that `needskey` is bad without the variable `KEY`, so that a
/// release can be bad for what it leaves out.
fn behaves(container: &Container) -> String {
    let image = container.image.clone().unwrap_or_default();
    let mut variables = container.env.iter().flatten();
    if Behaviour::of(&image).says("needskey") && !variables.any(|it| it.name == "KEY") {
        return image + "-half500";
    }
    image
}

async fn accept(listener: TcpListener, pods: Pods) {
    loop {
        // The connection may have gone again.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let Ok(address) = stream.local_addr() else {
            continue;
        };
        // Where no pod runs, nobody listens.
        let runs = {
            let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
            pods.get(&address.ip()).is_some_and(|it| !it.has_crashed())
        };
        if !runs {
            continue;
        }
        let router = Router::new()
            .fallback(answer)
            .with_state((Arc::clone(&pods), address.ip()));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no fault of the application's.
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                    .await,
            );
        });
    }
}

/// How often a pod was warmed up.
pub(crate) fn warm_ups(pod: &str) -> usize {
    let warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    warm.iter().filter(|it| *it == pod).count()
}

/// Warms a pod up, if it lets itself be.
async fn warm_up(pods: &Pods, address: IpAddr, pod: &Running) -> StatusCode {
    let says = |word: &str| Behaviour::of(&pod.image).says(word);
    if (says("onecold") || says("onemute")) && is_odd(pod) {
        while says("onemute") && runs(pods, address, &pod.uid) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    warm.push(pod.name.clone());
    StatusCode::OK
}

/// Whether it is the first of its namespace that was asked.
fn is_odd(pod: &Running) -> bool {
    let mut odd = ODD.lock().unwrap_or_else(PoisonError::into_inner);
    let first = odd.entry(pod.namespace.clone());
    *first.or_insert_with(|| pod.uid.clone()) == pod.uid
}

/// Whether this pod still is the one behind an address.
fn runs(pods: &Pods, address: IpAddr, uid: &str) -> bool {
    let pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
    pods.get(&address).is_some_and(|it| it.uid == uid)
}

/// Each answer ends its connection, so that each request goes where the Service leads at that moment.
async fn answer(
    State((pods, address)): State<(Pods, IpAddr)>,
    method: Method,
    uri: Uri,
) -> Response {
    let began = Instant::now();
    let pod = {
        let mut pods = pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get_mut(&address).map(|pod| {
            let seen = pod.clone();
            // Whoever looks at a pod must not change what users get.
            pod.turn += usize::from(metrics::is_prediction(uri.path()));
            seen
        })
    };
    let close = [("connection", "close")];
    let Some(pod) = pod else {
        return (StatusCode::SERVICE_UNAVAILABLE, close).into_response();
    };
    if uri.path() == WARM_UP && method == Method::POST {
        let code = warm_up(&pods, address, &pod).await;
        return (code, close).into_response();
    }
    if uri.path() == metrics::PATH {
        // Whoever reads may still take the address for that of a pod that is gone.
        let meant = uri.query().and_then(|it| it.strip_prefix("pod="));
        if meant.is_some_and(|meant| meant != pod.name) {
            return (StatusCode::NOT_FOUND, close).into_response();
        }
        return (close, pod.metrics.page()).into_response();
    }
    let (code, body) = Behaviour::of(&pod.image)
        .answer(&pod.name, uri.path(), pod.turn)
        .await;
    pod.metrics.count(uri.path(), code, &body, began.elapsed());
    (code, close, Json(body)).into_response()
}
