//! The demo application: one listener for each running pod, on the pod's own loopback address.
//!
//! The words of the image's tag (`demo:v2-half500`) say how it behaves: `half500`, `slow`, `unhealthy`, `neverready`,
//! `ready5`, `dies`. A tag with none of them is a good release.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What an image does: the words of its tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Behaviour(String);

struct App {
    behaviour: Behaviour,
    pod: String,
    business: AtomicU64,
    failed: AtomicU64,
}

// === impl Behaviour ===

impl Behaviour {
    /// Reads the tag.
    pub(super) fn of(image: &str) -> Self {
        let image = image.split('@').next().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        Self(
            last.split_once(':')
                .map_or("latest", |(_, tag)| tag)
                .to_owned(),
        )
    }

    /// Whether the tag has this word.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.split('-').any(|one| one == word)
    }
}

/// The application in one pod.
pub(super) fn router(image: &str, pod: &str) -> Router {
    let app = App {
        behaviour: Behaviour::of(image),
        pod: pod.to_owned(),
        business: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    Router::new().fallback(answer).with_state(Arc::new(app))
}

/// Whether the pod's process runs: it has started, and it has not died.
pub(super) fn runs(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
        && pod["status"]["containerStatuses"][0]["state"]["waiting"].is_null()
}

async fn answer(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let (behaviour, version) = (&app.behaviour, &app.behaviour.0);
    if behaviour.has("slow") {
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let overall = if behaviour.has("unhealthy") {
        "degraded"
    } else {
        "healthy"
    };
    match uri.path() {
        "/health/pinn" | "/health/pinn/quick" => {
            Json(json!({ "overall_status": overall, "version": version, "pod": app.pod }))
                .into_response()
        }
        "/health" => Json(json!({ "status": "healthy" })).into_response(),
        "/health/deployment/readiness" => {
            Json(json!({ "ready": true, "version": version })).into_response()
        }
        "/metrics" => {
            let (all, failed) = (
                app.business.load(Ordering::Relaxed),
                app.failed.load(Ordering::Relaxed),
            );
            format!(
                "# TYPE http_requests_total counter\n\
                 http_requests_total{{pod=\"{pod}\",version=\"{version}\",code=\"200\"}} {good}\n\
                 http_requests_total{{pod=\"{pod}\",version=\"{version}\",code=\"500\"}} {failed}\n",
                pod = app.pod,
                good = all - failed,
            )
            .into_response()
        }
        _ => {
            let count = app.business.fetch_add(1, Ordering::Relaxed);
            if behaviour.has("half500") && count % 2 == 1 {
                app.failed.fetch_add(1, Ordering::Relaxed);
                let body = json!({ "error": "the model answered nonsense", "version": version, "pod": app.pod });
                return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
            }
            Json(json!({ "price": 42.0, "version": version, "pod": app.pod })).into_response()
        }
    }
}
