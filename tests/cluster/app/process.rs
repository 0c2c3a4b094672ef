//! The demo application as a process, for the pods of a real kubelet: `TAG` is the tag of its image, whose words say how it
//! behaves. Where a cluster's kubelet is simulated, the tests answer for its pods themselves, and nobody needs this.

#![expect(
    clippy::expect_used,
    reason = "a demo application that cannot go on should stop here, and say why"
)]

mod metrics;

use std::env;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use ripcord::sandbox::Behaviour;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::metrics::Metrics;

const PORT: u16 = 8000;
/// The path of the readiness probe.
const READY: &str = "/ready";
/// How long one that was told to stop still answers: Services need a moment to learn of it.
const STOP: Duration = Duration::from_millis(2500);
/// How long one lives that dies.
const LIFE: Duration = Duration::from_secs(1);
/// How many predictions one gives that crashes.
const LAST: usize = 20;

/// The application, since it was started.
struct App {
    image: String,
    /// The pod's name, which is its host's.
    pod: String,
    ready_after: Option<Duration>,
    began: Instant,
    /// When it was first asked whether it is ready, and was.
    ready: OnceLock<Instant>,
    turn: AtomicUsize,
    metrics: Metrics,
}

#[tokio::main]
async fn main() -> Result<()> {
    let tag = env::var("TAG").context("TAG is not set: it is the tag of the image, v1-good")?;
    let app = Arc::new(App::new(&tag));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let router = Router::new().fallback(answer).with_state(Arc::clone(&app));
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served?,
        () = stopped() => {}
        () = dies(&app) => std::process::exit(1),
    }
    Ok(())
}

// === impl App ===

impl App {
    fn new(tag: &str) -> Self {
        let image = format!("demo:{tag}");
        let says = |word: &str| Behaviour::of(&image).says(word);
        let after = tag.split('-').find_map(|word| {
            let seconds = word.strip_prefix("readyafter")?.strip_suffix('s')?;
            Some(Duration::from_secs(seconds.parse().ok()?))
        });
        let ready_after = match after {
            _ if says("neverready") => None,
            after => Some(after.unwrap_or_default()),
        };
        Self {
            ready_after,
            image,
            pod: env::var("HOSTNAME").unwrap_or_default(),
            began: Instant::now(),
            ready: OnceLock::new(),
            turn: AtomicUsize::new(0),
            metrics: Metrics::default(),
        }
    }

    fn is_ready(&self) -> bool {
        let ready = self
            .ready_after
            .is_some_and(|after| self.began.elapsed() >= after);
        if ready {
            self.ready.get_or_init(Instant::now);
        }
        ready
    }
}

async fn answer(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let began = Instant::now();
    // Each answer ends its connection, so that each request goes where the Service leads at that moment.
    let close = [("connection", "close")];
    match uri.path() {
        READY if app.is_ready() => (close, "ready").into_response(),
        READY => (StatusCode::SERVICE_UNAVAILABLE, close, "not ready").into_response(),
        metrics::PATH => (close, app.metrics.page()).into_response(),
        path => {
            let predicts = usize::from(metrics::is_prediction(path));
            let turn = app.turn.fetch_add(predicts, Ordering::Relaxed);
            let behaviour = Behaviour::of(&app.image);
            if turn >= LAST && behaviour.says("crashes") {
                std::process::exit(1);
            }
            let (code, body) = behaviour.answer(&app.pod, path, turn).await;
            app.metrics.count(path, code, &body, began.elapsed());
            (code, close, Json(body)).into_response()
        }
    }
}

/// It was told to stop, and has gone on for a while.
async fn stopped() {
    let mut told = signal(SignalKind::terminate()).expect("a signal handler");
    told.recv().await;
    tokio::time::sleep(STOP).await;
}

/// Where it says that it dies, it has been ready, and its time is over.
async fn dies(app: &App) {
    let dies = Behaviour::of(&app.image).says("dies");
    loop {
        tokio::time::sleep(LIFE / 10).await;
        if dies && app.ready.get().is_some_and(|at| at.elapsed() >= LIFE) {
            return;
        }
    }
}
