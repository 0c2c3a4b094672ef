//! A local Slack: strict about the wire format, scripted in its faults, with a perfect memory.
//!
//! It runs on the test's own runtime and on a loopback port of its own. It is stricter than the real one where
//! the real one's behaviour is not documented, so that what passes here passes there; it looks nothing up,
//! renders nothing, and knows three methods: `chat.postMessage`, `chat.update` and `auth.test`.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::state::{Call, Recorded};
use self::state::{Channel, Outcome, State, too_many};

mod limits;
mod state;

/// The token that is accepted.
pub const TOKEN: &str = "xoxb-1-local-secret";

/// A running fake; it stops when dropped.
pub struct FakeSlack {
    address: SocketAddr,
    world: Arc<World>,
    server: Option<(CancellationToken, JoinHandle<()>)>,
}

/// What happens to a call instead of the usual.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429 with `Retry-After` in seconds.
    TooMany { retry_after: u64 },
    /// 200 with `ok: false`.
    Refuse(&'static str),
    /// An HTTP status with no body of Slack's; a redirect leads back to this fake.
    Status(u16),
    /// No answer at all, before or after the call took effect.
    Hang { done: bool },
    /// The connection ends, before or after the call took effect.
    Drop { done: bool },
    /// The call takes effect and this is the body of the answer.
    Answer(String),
}

struct World {
    state: Mutex<State>,
    silent: watch::Sender<bool>,
    changed: watch::Sender<()>,
}

// === impl FakeSlack ===

impl FakeSlack {
    /// Starts a fake that knows no channel yet.
    pub async fn start() -> Self {
        let world = World {
            state: Mutex::default(),
            silent: watch::Sender::new(false),
            changed: watch::Sender::new(()),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let mut fake = Self {
            address,
            world: Arc::new(world),
            server: None,
        };
        fake.serve(listener);
        fake
    }

    /// The base address for a client.
    pub fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Makes a channel known by name and id.
    pub fn channel(&self, name: &str, id: &str) -> &Self {
        let channel = Channel {
            name: name.to_owned(),
            id: id.to_owned(),
            refuses: None,
        };
        self.state().channels.push(channel);
        self
    }

    /// Lets a channel refuse every message with this code (`is_archived`, `not_in_channel`), or none again.
    pub fn refuse_in(&self, id: &str, code: Option<&'static str>) {
        let mut state = self.state();
        let channel = state.channels.iter_mut().find(|channel| channel.id == id);
        channel.expect("a known channel").refuses = code;
    }

    /// Whether each channel takes one post a second and answers 429 to more.
    pub fn enforce_pace(&self, paced: bool) {
        self.state().paced = paced;
    }

    /// Scripts what happens to the next `times` calls, after those scripted before.
    pub fn fault(&self, times: usize, fault: &Fault) {
        self.state()
            .faults
            .extend(std::iter::repeat_n(fault.clone(), times));
    }

    /// Whether calls are accepted but neither looked at nor answered.
    pub fn silence(&self, silent: bool) {
        self.world.silent.send_replace(silent);
    }

    /// Ends all connections and refuses new ones.
    pub async fn down(&mut self) {
        if let Some((stop, server)) = self.server.take() {
            stop.cancel();
            server.await.expect("the fake did not panic");
        }
    }

    /// Accepts connections again, on the same port.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the port is still free");
        self.serve(listener);
    }

    /// Removes a message, as a person does.
    pub fn delete(&self, ts: &str) {
        self.state().messages.retain(|message| message.ts != ts);
    }

    /// All messages, in the order in which they were posted.
    pub fn messages(&self) -> Vec<Recorded> {
        self.state().messages.clone()
    }

    /// All calls, in order, those that failed included.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// A message and its thread as a reader sees them, one block or text a line, answers indented.
    pub fn thread_as_text(&self, ts: &str) -> String {
        let mut text = String::new();
        for message in &self.state().messages {
            let indent = if message.ts == ts {
                ""
            } else if message.thread_ts.as_deref() == Some(ts) {
                "  "
            } else {
                continue;
            };
            for line in message.visible().lines() {
                writeln!(text, "{indent}{line}").expect("a string takes all");
            }
        }
        text
    }

    /// Waits until `what` holds; it is asked again after every call. Ten seconds at most.
    pub async fn until(&self, what: impl Fn(&Self) -> bool) {
        let mut changed = self.world.changed.subscribe();
        let wait = async {
            while !what(self) {
                changed.changed().await.expect("the fake is alive");
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(
            waited.is_ok(),
            "it did not come to that; calls so far: {:#?}",
            self.calls()
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.world.state()
    }

    fn serve(&mut self, listener: TcpListener) {
        let stop = CancellationToken::new();
        let server = tokio::spawn(accept(listener, Arc::clone(&self.world), stop.clone()));
        self.server = Some((stop, server));
    }
}

impl Drop for FakeSlack {
    fn drop(&mut self) {
        if let Some((stop, _)) = &self.server {
            stop.cancel();
        }
    }
}

// === impl Fault ===

impl Fault {
    /// Whether the call has no effect.
    fn comes_first(&self) -> bool {
        match self {
            Self::TooMany { .. } | Self::Refuse(_) | Self::Status(_) => true,
            Self::Hang { done } | Self::Drop { done } => !done,
            Self::Answer(_) => false,
        }
    }
}

// === impl World ===

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked in here")
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.expect("the listener is alive").0,
        };
        let connection = stop.child_token();
        let router = Router::new()
            .route("/api/{method}", any(answer))
            .with_state((Arc::clone(&world), connection.clone()));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(router);
            tokio::select! {
                () = connection.cancelled() => {}
                // A client that goes away is no fault of the fake's.
                _ended = builder.serve_connection(TokioIo::new(stream), service) => {}
            }
        });
    }
}

async fn answer(
    Shared((world, connection)): Shared<(Arc<World>, CancellationToken)>,
    Path(method): Path<String>,
    verb: Method,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let mut silent = world.silent.subscribe();
    silent
        .wait_for(|silent| !silent)
        .await
        .expect("the fake is alive");
    if verb != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
    let (fault, outcome) = {
        let mut state = world.state();
        let fault = state.faults.pop_front();
        let outcome = match &parsed {
            _ if fault.as_ref().is_some_and(Fault::comes_first) => None,
            Ok(body) if body.is_object() => Some(state.outcome(&method, &headers, body)),
            Ok(_) => Some(Outcome::Refused("json_not_object")),
            Err(_) => Some(Outcome::Refused("invalid_json")),
        };
        let told = outcome
            .as_ref()
            .map_or_else(|| format!("{fault:?}"), Outcome::word);
        let body = parsed.unwrap_or_default();
        state.calls.push(Call {
            method,
            body,
            outcome: told,
        });
        (fault, outcome)
    };
    world.changed.send_replace(());
    match fault {
        None => outcome
            .expect("only a fault skips the work")
            .into_response(),
        Some(Fault::TooMany { retry_after }) => too_many(retry_after),
        Some(Fault::Refuse(code)) => Outcome::Refused(code).into_response(),
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (
                status,
                [(header::LOCATION, "/api/elsewhere")],
                "not Slack's",
            )
                .into_response()
        }
        Some(Fault::Hang { .. }) => std::future::pending().await,
        Some(Fault::Drop { .. }) => {
            connection.cancel();
            std::future::pending().await
        }
        Some(Fault::Answer(body)) => body.into_response(),
    }
}
