//! The door over real sockets: every answer it gives, what it bears, and how it closes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, StatusCode};
use ripcord::alert::Notification;
use ripcord::intake::auth::Tokens;
use ripcord::intake::{Answered, Desk, Limits, Outcome, Running, Server};
use ripcord::reason::{Finding, Reason};
use ripcord::telemetry::{Metrics, TraceContext};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

mod answers;
mod bounds;
mod closing;
mod senders;

const TOKEN: &str = "t0ken-of-the-first-sender";
const NOW: &str = "2026-11-22T03:12:41Z";
const PATIENCE: Duration = Duration::from_secs(20);

/// A desk that remembers what it was given, and can be told to be slow, to panic or to fail.
struct FakeDesk {
    taken: Mutex<Vec<(Notification, Timestamp, TraceContext)>>,
    begun: Mutex<usize>,
    state: Mutex<State>,
    /// Each notification takes one of these and keeps it.
    pace: Semaphore,
}

#[derive(Clone, Debug, Default)]
struct State {
    panics: bool,
    unrecorded: Option<Finding>,
    unready: Option<Finding>,
}

/// A service on a free port.
struct Service {
    running: Running,
    desk: Arc<FakeDesk>,
    metrics: Metrics,
    url: String,
    client: Client,
    folder: TempDir,
}

// === impl FakeDesk ===

impl FakeDesk {
    fn new() -> Self {
        Self {
            taken: Mutex::default(),
            begun: Mutex::default(),
            state: Mutex::default(),
            pace: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    /// From now on each notification waits until it is let go.
    fn hold(&self) {
        self.pace.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn let_go(&self, notifications: usize) {
        self.pace.add_permits(notifications);
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    fn begun(&self) -> usize {
        *self.begun.lock().unwrap()
    }
}

impl Desk for FakeDesk {
    async fn take(
        &self,
        notification: Notification,
        received: Timestamp,
        trace: TraceContext,
    ) -> Outcome {
        *self.begun.lock().unwrap() += 1;
        self.pace.acquire().await.unwrap().forget();
        let state = self.state.lock().unwrap().clone();
        assert!(!state.panics, "told to panic");
        let decisions = notification.alerts.iter().map(|alert| Answered {
            fingerprint: alert.fingerprint.clone(),
            trigger: None,
            decision: "decline",
            reason: Reason::NoTrigger,
            said: "no trigger wants it".to_owned(),
            rollback: None,
        });
        let outcome = Outcome {
            decisions: decisions.collect(),
            unrecorded: state.unrecorded,
        };
        let entry = (notification, received, trace);
        self.taken.lock().unwrap().push(entry);
        outcome
    }

    fn ready(&self) -> Result<(), Finding> {
        match self.state.lock().unwrap().unready.clone() {
            Some(finding) => Err(finding),
            None => Ok(()),
        }
    }
}

// === impl Service ===

impl Service {
    fn start() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, TOKEN).unwrap();
        Self::with_tokens(limits, folder, vec![path])
    }

    fn with_tokens(limits: Limits, folder: TempDir, paths: Vec<PathBuf>) -> Self {
        let tokens = Some(Tokens::load(paths).unwrap());
        let desk = Arc::new(FakeDesk::new());
        let metrics = Metrics::new("1");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let now: ripcord::intake::server::Clock = Arc::new(|| NOW.parse().unwrap());
        let running =
            Server::start(listen, limits, desk.clone(), tokens, metrics.clone(), now).unwrap();
        Self {
            url: format!("http://{}", running.addr),
            running,
            desk,
            metrics,
            client: client(),
            folder,
        }
    }

    /// A notification with a valid token and no body yet.
    fn post(&self) -> RequestBuilder {
        self.client
            .post(format!("{}/api/v1/alerts", self.url))
            .bearer_auth(TOKEN)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.url);
        read(self.client.get(url).send().await.unwrap()).await
    }

    /// The value of one series.
    fn series(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let found = lines.find(|(found, _)| *found == name);
        found.map_or(0.0, |(_, value)| value.parse().unwrap())
    }

    fn result(&self, result: &str) -> f64 {
        self.series(&format!(
            r#"ripcord_notifications_total{{result="{result}"}}"#
        ))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.addr).await.unwrap()
    }
}

fn client() -> Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// The status and the JSON of an answer. Every answer passes here: none may be one that Alertmanager gives up on.
async fn read(response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    assert!(
        !status.is_redirection() && status != 408 && status != 429,
        "{status}"
    );
    let text = response.text().await.unwrap();
    let value = serde_json::from_str(&text).expect(&text);
    (status, value)
}

async fn send(request: RequestBuilder) -> (StatusCode, Value) {
    read(request.send().await.unwrap()).await
}

/// A notification of so many alerts, each with an annotation of so many bytes.
fn notification(alerts: usize, padding: usize) -> String {
    let alert = |n: usize| {
        json!({
            "status": "firing",
            "labels": {"alertname": "LatencyHigh", "pod": format!("pod-{n}")},
            "annotations": {"summary": "x".repeat(padding)},
            "startsAt": "2026-11-22T03:12:40Z",
            "fingerprint": format!("{n:016x}"),
        })
    };
    let alerts: Vec<Value> = (0..alerts).map(alert).collect();
    json!({"version": "4", "groupKey": "{}:{}", "receiver": "ripcord", "status": "firing", "alerts": alerts})
        .to_string()
}

/// The head of a notification, for raw sockets.
fn head(length: &str) -> String {
    format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{length}\r\n\r\n"
    )
}

/// Everything that comes until the connection ends.
async fn drain(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    // A reset at the end is an end.
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the connection ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "never: {what}");
}
