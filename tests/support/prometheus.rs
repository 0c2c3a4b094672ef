//! A local Prometheus: it answers queries with the numbers that a test gives it, by a word that stands in the query.
//!
//! It knows one call, `POST /api/v1/query`, and runs on the test's own runtime.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use reqwest::Url;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running fake; it stops when dropped.
pub struct FakePrometheus {
    pub url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    numbers: Vec<(&'static str, Option<f64>)>,
    asked: Vec<String>,
    down: bool,
}

// === impl FakePrometheus ===

impl FakePrometheus {
    /// Starts one that has no data.
    pub async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/v1/query", post(answer))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, server }
    }

    /// What a query with this word in it gives from now on; nothing is no data.
    pub fn has(&self, word: &'static str, number: impl Into<Option<f64>>) {
        let mut state = self.state.lock().unwrap();
        state.numbers.retain(|(other, _)| *other != word);
        state.numbers.push((word, number.into()));
    }

    /// Whether it answers 503 only.
    pub fn down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// All queries, in order.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }
}

impl Drop for FakePrometheus {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(Shared(state): Shared<Arc<Mutex<State>>>, body: String) -> Response {
    let mut state = state.lock().unwrap();
    if state.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let form = Url::parse(&format!("http://form/?{body}")).unwrap();
    let query = form.query_pairs().find(|(key, _)| key == "query");
    let query = query.expect("a query").1.into_owned();
    let number = state.numbers.iter().find(|(word, _)| query.contains(word));
    let series: Vec<_> = number
        .and_then(|(_, number)| *number)
        .map(|number| json!({"metric": {}, "value": [1.5, number.to_string()]}))
        .into_iter()
        .collect();
    state.asked.push(query);
    let data = json!({"resultType": "vector", "result": series});
    axum::Json(json!({"status": "success", "data": data})).into_response()
}
