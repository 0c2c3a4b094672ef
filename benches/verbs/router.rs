//! A router as nginx is one: it reads from the Ingress what share of the requests the canary gets, and sends them on. It
//! takes a new weight as soon as it is written; a real one may need a second for that. Where there is no weight, it answers
//! nobody well.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router as Routes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::mirror::ingresses;
use crate::scene::router::{canary_ingress, weight_of};
use crate::scene::{NAME, Scene};

/// Between two looks at what the watch has told of the weight.
const LOOK: Duration = Duration::from_millis(5);

/// No weight.
const NONE: usize = usize::MAX;

/// A router that runs until it is dropped.
pub(crate) struct Router {
    url: Uri,
    _tasks: JoinSet<()>,
}

struct Shares {
    http: reqwest::Client,
    /// The stable Service and the canary's.
    upstreams: [String; 2],
    /// What the canary gets, in per cent; `NONE` where that is not known.
    weight: AtomicUsize,
    turn: AtomicUsize,
}

// === impl Router ===

impl Router {
    /// Starts to route to the two Services of a scene.
    pub(crate) async fn start(scene: &Scene) -> Self {
        let mut upstreams = Vec::new();
        for role in ["stable", "canary"] {
            let path = format!(
                "/api/v1/namespaces/{}/services/{NAME}-{role}",
                scene.namespaces.release
            );
            let service = scene.plane.admin.get(&path).await.expect("a Service");
            let address = service["spec"]["clusterIP"].as_str().expect("an address");
            upstreams.push(format!("http://{address}"));
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0);
        let weight = scene.weight().await.and_then(|it| it.parse().ok());
        let weight = weight.expect("the Rollouts controller has told the router of a weight");
        let shares = Arc::new(Shares {
            http: http
                .timeout(Duration::from_secs(5))
                .build()
                .expect("a client"),
            upstreams: upstreams.try_into().expect("two"),
            weight: AtomicUsize::new(weight),
            turn: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        let routes = Routes::new().fallback(pass).with_state(Arc::clone(&shares));
        tasks.spawn(async move { drop(axum::serve(listener, routes).await) });
        let ingresses = ingresses(scene).await;
        tasks.spawn(async move {
            loop {
                let ingress = ingresses.get(&canary_ingress());
                let weight = weight_of(&ingress).and_then(|it| it.parse().ok());
                shares
                    .weight
                    .store(weight.unwrap_or(NONE), Ordering::Relaxed);
                tokio::time::sleep(LOOK).await;
            }
        });
        let url = format!("http://{address}/price").parse().expect("a URL");
        Self { url, _tasks: tasks }
    }

    /// Where the users ask.
    pub(crate) fn url(&self) -> Uri {
        self.url.clone()
    }
}

async fn pass(State(shares): State<Arc<Shares>>, uri: Uri) -> StatusCode {
    let turn = shares.turn.fetch_add(1, Ordering::Relaxed);
    let weight = shares.weight.load(Ordering::Relaxed);
    if weight > 100 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    // As even as it can be: of any hundred in a row, that many.
    let canary = turn * weight % 100 < weight;
    let upstream = &shares.upstreams[usize::from(canary)];
    let answer = shares
        .http
        .get(format!("{upstream}{}", uri.path()))
        .send()
        .await;
    answer.map_or(StatusCode::BAD_GATEWAY, |it| it.status())
}
