//! The paths and what happens on each.
//!
//! - `POST /api/v1/alerts` takes a notification.
//! - `GET /healthz` answers while the process serves.
//! - `GET /readyz` says whether notifications should be sent here.
//! - `GET /metrics` is for Prometheus.
//!
//! What a notification leads to runs in a task of its own: the framework drops a handler when the sender goes away,
//! and a decision that is half recorded helps nobody.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use opentelemetry_sdk::trace::RandomIdGenerator;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{self, Answer};
use super::auth::{self, Tokens};
use super::body::{self, Bounds, Budget, Refusal, Room};
use super::{Desk, Outcome, tale};
use crate::alert::{self, DecodeError, Notification};
use crate::reason::{Finding, Reason};
use crate::telemetry::metrics::{self, Received};
use crate::telemetry::{Metrics, TraceContext};

/// The size in bytes from which a body is decoded on a thread of its own.
const LARGE: usize = 256 * 1024;
/// How often, at most, a refused sender is mentioned in the log.
const MENTIONED: Duration = Duration::from_secs(10);

/// Reads the current time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything the handlers share.
pub(super) struct Door<D> {
    pub(super) desk: Arc<D>,
    pub(super) tokens: Option<Tokens>,
    pub(super) budget: Budget,
    pub(super) bounds: Bounds,
    /// How long an answer waits for the desk.
    pub(super) desk_time: Duration,
    pub(super) metrics: Metrics,
    pub(super) now: Clock,
    pub(super) generator: RandomIdGenerator,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) tasks: TaskTracker,
    pub(super) mentioned: Mutex<Option<Instant>>,
}

/// Counts a request when it is over, however it ends.
struct Tally {
    metrics: Metrics,
    began: Instant,
    result: Received,
}

/// The router over everything that is shared.
pub(super) fn router<D: Desk>(door: Arc<Door<D>>) -> Router {
    let metrics = door.metrics.clone();
    let panics = CatchPanicLayer::custom(move |_| {
        metrics.panicked();
        answer::panicked()
    });
    Router::new()
        .route("/api/v1/alerts", post(alerts::<D>))
        .route("/healthz", get(|| async { Json(json!({"alive": true})) }))
        .route("/readyz", get(ready::<D>))
        .route("/metrics", get(scrape::<D>))
        .fallback(|| async { answer::not_found() })
        .method_not_allowed_fallback(|| async { answer::wrong_method() })
        .layer(panics)
        .with_state(door)
}

async fn alerts<D: Desk>(
    State(door): State<Arc<Door<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let received = (door.now)();
    let mut tally = Tally {
        metrics: door.metrics.clone(),
        began: Instant::now(),
        result: Received::Interrupted,
    };
    let (parts, mut body) = request.into_parts();
    let trace = TraceContext::accept(&parts.headers, &door.generator);
    let answer = door.answer(&parts, &mut body, received, &trace).await;
    tally.result = answer.result();
    door.mention(&answer, peer, &trace);
    // A sender that asked before sending its body does not send it now, and one that stalled is not waited for.
    let stalled = matches!(answer, Answer::Unread(Refusal::Slow | Refusal::Interrupted));
    if !stalled && !parts.headers.contains_key(EXPECT) {
        body::discard(body);
    }
    answer.respond(parts.version)
}

async fn ready<D: Desk>(State(door): State<Arc<Door<D>>>) -> Response {
    let state = if door.is_draining() {
        Err(Reason::Draining.into())
    } else {
        door.desk.ready()
    };
    answer::readiness(state)
}

async fn scrape<D: Desk>(State(door): State<Arc<Door<D>>>) -> Response {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        door.metrics.encode(),
    )
        .into_response()
}

// === impl Door ===

impl<D: Desk> Door<D> {
    /// The order matters: the cheap refusals come first, and nothing is read from strangers.
    async fn answer(
        &self,
        parts: &Parts,
        body: &mut Body,
        received: Timestamp,
        trace: &TraceContext,
    ) -> Answer {
        if self.is_draining() {
            return Answer::Draining;
        }
        if !auth::admits(self.tokens.as_ref(), &parts.headers).await {
            let wanted = self.tokens.as_ref().map(Tokens::challenge);
            let none = HeaderValue::from_static("Bearer");
            return Answer::Unauthorized(wanted.unwrap_or(none));
        }
        let (bytes, room) = match self.budget.read(body, self.bounds).await {
            Ok(read) => read,
            Err(refusal) => return Answer::Unread(refusal),
        };
        let desk = self.desk.clone();
        let metrics = self.metrics.clone();
        let work = take(desk, metrics, bytes, room, received, trace.clone());
        match timeout(self.desk_time, self.tasks.spawn(work)).await {
            Ok(Ok(answer)) => {
                if matches!(answer, Answer::Done(..)) {
                    self.metrics.last_notification(received);
                }
                answer
            }
            Ok(Err(failed)) if failed.is_panic() => {
                self.metrics.panicked();
                Answer::Panicked
            }
            Ok(Err(_)) => unrecorded("the work on it was stopped"),
            Err(_) => unrecorded("it could not be recorded in time"),
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Logs what went wrong. What was decided is logged where it is decided.
    fn mention(&self, answer: &Answer, peer: SocketAddr, trace: &TraceContext) {
        let (result, trace_id) = (answer.result().as_str(), trace.trace_id());
        match answer {
            Answer::Done(received, _) => {
                tracing::debug!(%peer, trace_id, received, "a notification was recorded");
            }
            Answer::Unrecorded(_, finding, _) => {
                tracing::warn!(%peer, trace_id, reason = %finding.reason, "a notification was not recorded, its sender will come back: {finding}");
            }
            Answer::Malformed(error) => {
                tracing::warn!(%peer, trace_id, "what came is no notification: {error}");
            }
            Answer::Panicked => {
                tracing::error!(%peer, trace_id, "deciding about a notification panicked");
            }
            Answer::Draining => {
                tracing::info!(%peer, trace_id, "a notification was sent elsewhere: this replica shuts down");
            }
            Answer::Unauthorized(_) if !self.may_mention() => {}
            Answer::Unauthorized(_) | Answer::Unread(_) => {
                tracing::warn!(%peer, trace_id, result, "a notification was refused");
            }
        }
    }

    /// Strangers cannot fill the log.
    fn may_mention(&self) -> bool {
        let mut last = self
            .mentioned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= MENTIONED);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

/// Decodes a body, gives it to the desk, and counts what each alert led to. The room stays taken until the desk is done.
async fn take<D: Desk>(
    desk: Arc<D>,
    metrics: Metrics,
    bytes: Vec<u8>,
    room: Room,
    received: Timestamp,
    trace: TraceContext,
) -> Answer {
    let notification = match decode(bytes).await {
        Ok(notification) => notification,
        Err(error) => return Answer::Malformed(error),
    };
    let count = notification.alerts.len();
    let trace_id = trace.trace_id();
    let mut outcome = desk.take(notification, received, trace).await;
    drop(room);
    tale::tell(&outcome.decisions, &trace_id);
    for answered in &outcome.decisions {
        metrics.alert(answered.decision, answered.reason);
    }
    match outcome.unrecorded.take() {
        Some(finding) => Answer::Unrecorded(Some(count), finding, outcome.decisions),
        None => Answer::Done(count, outcome),
    }
}

async fn decode(bytes: Vec<u8>) -> Result<Notification, DecodeError> {
    if bytes.len() <= LARGE {
        return alert::decode(&bytes);
    }
    match tokio::task::spawn_blocking(move || alert::decode(&bytes)).await {
        Ok(decoded) => decoded,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

fn unrecorded(said: &str) -> Answer {
    let finding: Finding = Reason::Unrecorded.because(said);
    Answer::Unrecorded(None, finding, Outcome::default().decisions)
}

// === impl Tally ===

impl Drop for Tally {
    fn drop(&mut self) {
        self.metrics.notification(self.result);
        self.metrics.intake(self.began.elapsed());
    }
}
