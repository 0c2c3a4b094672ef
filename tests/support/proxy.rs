//! A proxy between one replica and the API server that makes a chosen request go wrong, at a chosen moment.
//!
//! It forwards plain HTTP/1.1 and passes response bodies through as they come, so that watches stay live. A rule looks at
//! each request once, when it has arrived in full, and may make it fail *before* it is forwarded (the API server never
//! sees it) or *after* the API server has carried it out (the client never learns). A request that was forwarded runs to
//! its end even if its client has died meanwhile, as one that is already on the wire would.
//!
//! It does no TLS and no protocol upgrades, and it retries nothing.

mod socket;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use socket::Socket;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counted from 1, over all connections.
    pub(crate) n: usize,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Without the question mark; empty when there is none.
    pub(crate) query: String,
    pub(crate) body: Bytes,
    /// Empty when the client sent none.
    pub(crate) user_agent: String,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Forward,
    /// The fault, and then (should it let the request go on) the API server.
    Before(Fault),
    /// The API server, and then the fault in place of its answer.
    After(Fault),
}

/// A way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing happens until [`Proxy::release`]; then it goes on as if nothing had been.
    Hold,
    /// The connection is closed (FIN) without an answer.
    Drop,
    /// The connection is reset (RST) without an answer.
    Reset,
    /// The client gets this status instead, as a Kubernetes `Status`.
    Answer(u16),
}

/// The running proxy; it stops when dropped.
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

type Rule = Box<dyn FnMut(&Seen) -> Act + Send>;

struct Shared {
    upstream: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    /// How many requests are held now.
    held: watch::Sender<usize>,
    /// How often held requests were released.
    released: watch::Sender<u64>,
    stop: CancellationToken,
    /// Cancelled while the API server is away; all that was on its way then is gone.
    line: Mutex<CancellationToken>,
}

/// Serves the requests of one client connection.
#[derive(Clone)]
struct Connection {
    shared: Arc<Shared>,
    line: CancellationToken,
    reset: Arc<AtomicBool>,
}

/// Counts a held request for as long as it is held, also when it is torn down meanwhile.
struct Holding<'a>(&'a watch::Sender<usize>);

// === impl Seen ===

impl Seen {
    /// Whether it asks for a change.
    pub(crate) fn mutates(&self) -> bool {
        ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method)
    }
}

// === impl Proxy ===

impl Proxy {
    /// Listens on a free port of the loopback interface and forwards everything until told otherwise.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream,
            // No pool: a connection that the API server closed meanwhile must not look like a fault of this proxy.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(HttpConnector::new()),
            rule: Mutex::new(Box::new(|_| Act::Forward)),
            seen: Mutex::default(),
            held: watch::Sender::new(0),
            released: watch::Sender::new(0),
            line: Mutex::new(stop.child_token()),
            stop: stop.clone(),
        });
        let addr = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, shared.clone()));
        Self {
            addr,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the rule. It is asked once for each request, in the order of [`Seen::n`], and may count.
    pub(crate) fn on(&self, rule: impl FnMut(&Seen) -> Act + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Answers the next request of this method whose path has this text with `code`; the API server never sees it.
    pub(crate) fn fail_next(&self, method: Method, path: &str, code: u16) {
        let (path, mut failed) = (path.to_owned(), false);
        self.on(move |seen| {
            if failed || seen.method != method || !seen.path.contains(&path) {
                return Act::Forward;
            }
            failed = true;
            Act::Before(Fault::Answer(code))
        });
    }

    /// All requests that have arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Waits until a request is held; false when none is within the limit.
    pub(crate) async fn held(&self, limit: Duration) -> bool {
        self.holds(1, limit).await
    }

    /// Waits until so many requests are held at once; false when they are not within the limit.
    pub(crate) async fn holds(&self, count: usize, limit: Duration) -> bool {
        let mut held = self.shared.held.subscribe();
        timeout(limit, held.wait_for(|held| *held >= count))
            .await
            .is_ok()
    }

    /// Lets all requests go on that are held now. Later ones are held again, should the rule say so.
    pub(crate) fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// The API server is away: resets every connection, drops what is held, and resets each new connection at once.
    ///
    /// The port stays bound, so that no other process can get it meanwhile.
    pub(crate) fn cut(&self) {
        lock(&self.shared.line).cancel();
    }

    /// The API server is back.
    pub(crate) fn heal(&self) {
        *lock(&self.shared.line) = self.shared.stop.child_token();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Some(Ok((stream, _))) = shared.stop.run_until_cancelled(listener.accept()).await {
        let line = lock(&shared.line).clone();
        let reset = Arc::new(AtomicBool::new(line.is_cancelled()));
        let socket = Socket {
            stream,
            reset: reset.clone(),
        };
        let connection = Connection {
            shared: shared.clone(),
            line,
            reset,
        };
        tokio::spawn(connection.serve(socket));
    }
}

// === impl Connection ===

impl Connection {
    async fn serve(self, socket: Socket) {
        let Self { line, reset, .. } = self.clone();
        let server = auto::Builder::new(TokioExecutor::new()).http1_only();
        let service = TowerToHyperService::new(self);
        let serving = server.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(serving);
        tokio::select! {
            biased;
            () = line.cancelled() => reset.store(true, Ordering::SeqCst),
            _ = serving.as_mut() => {}
        }
    }

    /// An error closes the connection without an answer.
    async fn answer(self, request: Request<Body>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let shared = self.shared.clone();
        let act = shared.note(&parts, &body);
        if let Act::Before(fault) = act
            && let Some(answer) = self.fail(fault).await?
        {
            return Ok(answer);
        }
        let answer = shared.forward(parts, body).await?;
        if let Act::After(fault) = act
            && let Some(instead) = self.fail(fault).await?
        {
            return Ok(instead);
        }
        Ok(answer)
    }

    /// An answer, if the fault is one; nothing if the request may go on.
    async fn fail(&self, fault: Fault) -> io::Result<Option<Response<Body>>> {
        match fault {
            Fault::Hold => {
                let mut released = self.shared.released.subscribe();
                let _holding = Holding::new(&self.shared.held);
                released.changed().await.map_err(io::Error::other)?;
                Ok(None)
            }
            Fault::Answer(code) => Ok(Some(status(code))),
            Fault::Drop => Err(io::ErrorKind::ConnectionAborted.into()),
            Fault::Reset => {
                self.reset.store(true, Ordering::SeqCst);
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }
}

impl<B> tower::Service<Request<B>> for Connection
where
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        let line = self.line.clone();
        // A task of its own: the request goes on when its client is gone. Only a cut line takes it away.
        let task = tokio::spawn(async move {
            let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
            line.run_until_cancelled(this.answer(request.map(Body::new)))
                .await
                .ok_or_else(gone)?
        });
        Box::pin(async move { task.await.map_err(io::Error::other)? })
    }
}

// === impl Shared ===

impl Shared {
    /// Keeps the request and asks the rule about it.
    fn note(&self, parts: &axum::http::request::Parts, body: &Bytes) -> Act {
        let mut rule = lock(&self.rule);
        let mut all = lock(&self.seen);
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        let seen = Seen {
            n: all.len() + 1,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: body.clone(),
            user_agent: user_agent.unwrap_or_default().to_owned(),
        };
        all.push(seen.clone());
        drop(all);
        rule(&seen)
    }

    async fn forward(
        &self,
        mut parts: axum::http::request::Parts,
        body: Bytes,
    ) -> io::Result<Response<Body>> {
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        parts.uri = format!("http://{}{target}", self.upstream)
            .parse::<Uri>()
            .map_err(io::Error::other)?;
        one_hop_only(&mut parts.headers);
        let request = Request::from_parts(parts, Full::new(body));
        let answer = self
            .client
            .request(request)
            .await
            .map_err(io::Error::other)?;
        let (mut parts, body) = answer.into_parts();
        one_hop_only(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
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

fn status(code: u16) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap();
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let mut body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": "answered by the test's proxy",
    });
    if code == StatusCode::UNPROCESSABLE_ENTITY {
        // As where a schema refuses the object; a test of a patch that failed has none.
        let cause = serde_json::json!({"reason": "FieldValueInvalid", "field": "status.run"});
        body["reason"] = "Invalid".into();
        body["details"] = serde_json::json!({"causes": [cause]});
    }
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Holding ===

impl<'a> Holding<'a> {
    fn new(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|count| *count += 1);
        Self(held)
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
