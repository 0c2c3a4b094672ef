//! A collector of spans: it takes OTLP over HTTP as any other does, and tells what it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::sync::watch;

use crate::support::stage::LIMIT;

/// A span that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// What the sender says of itself.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) said: BTreeMap<String, String>,
    pub(crate) span: Span,
}

/// What one request brought.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) spans: Vec<Taken>,
}

pub(crate) struct Collector {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    requests: Mutex<Vec<Request>>,
    changed: watch::Sender<usize>,
    /// What the next requests are answered; then all is well.
    refusals: Mutex<Vec<u16>>,
}

// === impl Collector ===

impl Collector {
    /// A collector that answers the first requests with these, and takes what comes then.
    pub(crate) async fn start(refusals: &[u16]) -> Self {
        let inner = Arc::new(Inner {
            requests: Mutex::default(),
            changed: watch::Sender::new(0),
            refusals: Mutex::new(refusals.iter().rev().copied().collect()),
        });
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = router.into_make_service();
        tokio::spawn(serve(listener, service));
        Self { url, inner }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// Every span that was taken.
    pub(crate) fn spans(&self) -> Vec<Taken> {
        let requests = self.requests().into_iter();
        requests.flat_map(|request| request.spans).collect()
    }

    /// Waits until the spans that were taken are like this.
    pub(crate) async fn until(&self, what: impl Fn(&[Taken]) -> bool) -> Vec<Taken> {
        let mut changed = self.inner.changed.subscribe();
        let there = async {
            loop {
                let spans = self.spans();
                if what(&spans) {
                    return spans;
                }
                changed.changed().await.unwrap();
            }
        };
        let there = tokio::time::timeout(LIMIT, there).await;
        there.unwrap_or_else(|_| panic!("it never came: {:?}", names(&self.spans())))
    }
}

async fn serve(listener: tokio::net::TcpListener, service: axum::routing::IntoMakeService<Router>) {
    let listener = listener.into_std().unwrap();
    let server = axum_server::from_tcp(listener).unwrap();
    server.serve(service).await.unwrap();
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = inner.refusals.lock().unwrap().pop() {
        return StatusCode::from_u16(status).unwrap();
    }
    let found = ExportTraceServiceRequest::decode(body).unwrap();
    let mut spans = Vec::new();
    for group in found.resource_spans {
        let resource = said(&group.resource.unwrap().attributes);
        for span in group.scope_spans.into_iter().flat_map(|it| it.spans) {
            spans.push(Taken {
                resource: resource.clone(),
                said: said(&span.attributes),
                span,
            });
        }
    }
    inner
        .requests
        .lock()
        .unwrap()
        .push(Request { headers, spans });
    inner.changed.send_modify(|changed| *changed += 1);
    StatusCode::OK
}

fn said(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let all = attributes.iter().map(|it| {
        let value = it.value.as_ref().and_then(|it| it.value.as_ref());
        (it.key.clone(), value.map(text).unwrap_or_default())
    });
    all.collect()
}

pub(crate) fn names(spans: &[Taken]) -> Vec<&str> {
    spans.iter().map(|it| it.span.name.as_str()).collect()
}

/// A collector that takes connections and never answers.
pub(crate) async fn silent() -> (String, tokio::net::TcpListener) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    (
        format!("http://{}", listener.local_addr().unwrap()),
        listener,
    )
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let (url, listener) = silent().await;
    drop(listener);
    url
}
