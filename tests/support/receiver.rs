//! A local HTTP server that takes whatever is posted to it, keeps it, and answers as it is told: an incident tracker, or
//! a webhook of any kind. It runs on the test's own runtime, on a loopback port of its own.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running receiver; it stops when dropped.
pub struct Receiver {
    url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

/// What was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What is answered instead of the usual.
#[derive(Clone, Copy, Debug)]
pub enum Instead {
    /// This status, which means that nothing was done.
    Status(u16),
    /// 400 with all that came, as an answer that explains too much.
    Echo,
    /// 429 with a `Retry-After` in seconds.
    TooMany(u64),
    /// Nothing, ever; what was posted was taken.
    Hang,
}

struct State {
    posted: Vec<Posted>,
    refused: usize,
    next: VecDeque<Instead>,
    usual: StatusCode,
}

// === impl Receiver ===

impl Receiver {
    /// Starts one that answers with this status.
    pub async fn start(usual: u16) -> Self {
        let state = State {
            posted: Vec::new(),
            refused: 0,
            next: VecDeque::new(),
            usual: StatusCode::from_u16(usual).unwrap(),
        };
        let state = Arc::new(Mutex::new(state));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, server }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Answers the next requests so, one after the other.
    pub fn instead(&self, next: impl IntoIterator<Item = Instead>) {
        self.state.lock().unwrap().next.extend(next);
    }

    /// All that was taken.
    pub fn posted(&self) -> Vec<Posted> {
        self.state.lock().unwrap().posted.clone()
    }

    /// How many were refused.
    pub fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    Shared(state): Shared<Arc<Mutex<State>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let hang = {
        let mut state = state.lock().unwrap();
        match state.next.pop_front() {
            Some(Instead::Status(status)) => {
                state.refused += 1;
                return (StatusCode::from_u16(status).unwrap(), "no such key").into_response();
            }
            Some(Instead::Echo) => {
                state.refused += 1;
                let came = format!("{uri} {headers:?} {}", String::from_utf8_lossy(&body));
                return (StatusCode::BAD_REQUEST, came).into_response();
            }
            Some(Instead::TooMany(seconds)) => {
                state.refused += 1;
                let after = [("retry-after", seconds.to_string())];
                return (StatusCode::TOO_MANY_REQUESTS, after).into_response();
            }
            instead => {
                state.posted.push(Posted {
                    path: uri.path().to_owned(),
                    headers,
                    body: serde_json::from_slice(&body).expect("a body of JSON"),
                });
                instead.is_some()
            }
        }
    };
    if hang {
        std::future::pending::<()>().await;
    }
    let usual = state.lock().unwrap().usual;
    (usual, r#"{"status":"success"}"#).into_response()
}
