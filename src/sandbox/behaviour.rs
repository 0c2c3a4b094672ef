//! How the demo application behaves, by the words of its image's tag (`demo:v2-half500`): `half500`, `slow`, `fallsback`,
//! `unhealthy`, `neverready`, `readyafter5s`. A tag with none of them is a good release.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// What an image's tag says about the pods that run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour<'a> {
    tag: &'a str,
}

impl<'a> Behaviour<'a> {
    /// The behaviour of this image.
    #[must_use]
    pub fn of(image: &'a str) -> Self {
        // A digest behind the tag says nothing.
        let image = image.split_once('@').map_or(image, |(it, _)| it);
        let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        Self { tag }
    }

    /// Whether the tag has this word.
    #[must_use]
    pub fn says(self, word: &str) -> bool {
        self.tag.split('-').any(|one| one == word)
    }

    /// How long a pod needs before it is ready, where it ever is.
    #[must_use]
    pub fn ready_after(self) -> Option<Duration> {
        let mut words = self.tag.split('-');
        let time = words.find_map(|word| word.strip_prefix("readyafter"));
        let time = time.and_then(|time| time.parse::<SignedDuration>().ok());
        (!self.says("neverready")).then(|| time.unwrap_or_default().unsigned_abs())
    }

    /// How a pod answers when it is asked for a path for the `turn`th time, counted from 0.
    pub async fn answer(self, pod: &str, path: &str, turn: usize) -> (StatusCode, Value) {
        let mut body = json!({ "version": self.tag, "pod": pod });
        let mut code = StatusCode::OK;
        if path.starts_with("/health") {
            let sick = self.says("unhealthy");
            body["overall_status"] = json!(if sick { "degraded" } else { "healthy" });
            return (code, body);
        }
        // What is slow is the model, which is not asked for its health.
        if self.says("slow") {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        if self.says("half500") && turn % 2 == 1 {
            body["error"] = json!("the model answered nonsense");
            code = StatusCode::INTERNAL_SERVER_ERROR;
        } else {
            body["price"] = json!(42.0);
            // The old formula, instead of the model.
            body["fallback"] = json!(self.says("fallsback") && turn % 2 == 1);
        }
        (code, body)
    }
}
