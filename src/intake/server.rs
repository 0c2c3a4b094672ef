//! The listening socket: how it is opened, what it bears, and how it is closed.
//!
//! It closes in two steps. First [`Running::drain`]: probes and senders are told to go elsewhere while it still
//! listens. Then [`Running::finish`]: no new connection, and what was accepted is brought to its end, within bounds.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use opentelemetry_sdk::trace::RandomIdGenerator;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::Desk;
use super::auth::Tokens;
use super::body::{Bounds, Budget, DECODED};
use super::connection::Gate;
use super::door::{self, Door};
use crate::telemetry::Metrics;

pub use super::door::Clock;

/// How much of a request's head is read, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;
/// How many requests one HTTP/2 connection may have open.
const STREAMS: u32 = 32;
/// How much of one HTTP/2 request is buffered before it is read, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all requests of one connection.
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// How often a silent HTTP/2 connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(20);

/// What the door bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body, in bytes.
    pub max_body: usize,
    /// How much memory all bodies may take together with what is decoded from them, in bytes. Each is charged with eight
    /// times its size.
    pub bytes_in_flight: usize,
    /// How long a body waits for its part of that.
    pub room_timeout: Duration,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long an answer waits for the desk.
    pub desk_timeout: Duration,
    /// How many connections there may be.
    pub connections: usize,
    /// How many of them one address may have, other than this machine.
    pub connections_per_peer: usize,
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The largest body would never find room.
    #[error(
        "bodies of {max_body} bytes are allowed, which take {DECODED} times as much, but only {bytes_in_flight} bytes in flight"
    )]
    Limits {
        /// The largest body, in bytes.
        max_body: usize,
        /// The memory for all bodies, in bytes.
        bytes_in_flight: usize,
    },
}

/// What was accepted and not brought to its end in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{notifications} accepted notifications were not finished in time; Alertmanager sends them again"
)]
pub struct Abandoned {
    /// How many.
    pub notifications: usize,
}

/// The HTTP server of the service.
#[derive(Debug)]
pub struct Server;

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    /// The address it listens on.
    pub addr: SocketAddr,
    handle: Handle<SocketAddr>,
    serving: JoinHandle<()>,
    draining: Arc<AtomicBool>,
    tasks: TaskTracker,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 4 * 1024 * 1024,
            bytes_in_flight: 32 * 1024 * 1024,
            room_timeout: Duration::from_secs(2),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            desk_timeout: Duration::from_secs(10),
            connections: 512,
            connections_per_peer: 64,
        }
    }
}

// === impl Server ===

impl Server {
    /// Opens the door, on the current runtime. Without `tokens` everybody who can connect may send notifications:
    /// ask [`auth::decide`](super::auth::decide) first.
    pub fn start<D: Desk>(
        listen: SocketAddr,
        limits: Limits,
        desk: Arc<D>,
        tokens: Option<Tokens>,
        metrics: Metrics,
        now: Clock,
    ) -> Result<Running, StartError> {
        if limits
            .max_body
            .next_multiple_of(1024)
            .saturating_mul(DECODED)
            > limits.bytes_in_flight
        {
            return Err(StartError::Limits {
                max_body: limits.max_body,
                bytes_in_flight: limits.bytes_in_flight,
            });
        }
        let draining = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        let door = Door {
            desk,
            tokens,
            budget: Budget::new(limits.bytes_in_flight, metrics.clone()),
            bounds: Bounds {
                largest: limits.max_body,
                time: limits.body_timeout,
                patience: limits.room_timeout,
            },
            desk_time: limits.desk_timeout,
            metrics,
            now,
            generator: RandomIdGenerator::default(),
            draining: draining.clone(),
            tasks: tasks.clone(),
            mentioned: Mutex::new(None),
        };
        let router = door::router(Arc::new(door));

        let refused = |source| StartError::Listen { listen, source };
        let listener = TcpListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(listener)
            .map_err(refused)?
            .acceptor(Gate::new(
                limits.connections,
                limits.connections_per_peer,
                limits.header_timeout,
            ))
            .handle(handle.clone());
        let http = server.http_builder();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(LARGEST_HEAD);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(16 * 1024)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let serving = tokio::spawn(async move {
            let router = router.into_make_service_with_connect_info::<SocketAddr>();
            if let Err(error) = server.serve(router).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        Ok(Running {
            addr,
            handle,
            serving,
            draining,
            tasks,
        })
    }
}

// === impl Running ===

impl Running {
    /// Tells probes and senders to go elsewhere. The socket stays open, because they may learn it only by asking.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Stops accepting, and waits until what was accepted is recorded and answered.
    ///
    /// After `grace`, connections are cut; what is not recorded by then is told in the error.
    pub async fn finish(self, grace: Duration) -> Result<(), Abandoned> {
        self.drain();
        let deadline = Instant::now() + grace;
        self.handle.graceful_shutdown(Some(grace));
        if timeout_at(deadline, self.serving).await.is_err() {
            self.handle.shutdown();
        }
        self.tasks.close();
        // The work goes on without the connection that brought it.
        match timeout_at(deadline, self.tasks.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Abandoned {
                notifications: self.tasks.len(),
            }),
        }
    }
}
