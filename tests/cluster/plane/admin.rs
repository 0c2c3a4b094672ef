//! The API server, as somebody who may do everything uses it: objects are plain JSON.

use std::path::Path;

use anyhow::{Context, Result};
use axum::http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::support::replica::client;

/// The media type of a merge patch.
const MERGE: &str = "application/merge-patch+json";

/// A client that may do everything.
#[derive(Clone)]
pub(crate) struct Admin(Client);

// === impl Admin ===

impl Admin {
    /// A client that logs in as this file says.
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self(Client::try_from(config)?))
    }

    pub(crate) fn client(&self) -> Client {
        self.0.clone()
    }

    /// What is at a path, if it is there and the server answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        self.send("GET", path, "", Vec::new()).await.ok()
    }

    /// Creates an object.
    pub(crate) async fn create(&self, object: &Value) -> Result<Value> {
        self.post(&collection(object), object).await
    }

    /// Posts to a path.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, "application/json", body.to_string().into())
            .await
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("PATCH", path, MERGE, patch.to_string().into())
            .await
    }

    /// A server-side apply in the name of this field manager.
    pub(crate) async fn apply(&self, path: &str, manager: &str, object: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        let body = object.to_string().into();
        self.send("PATCH", &path, "application/apply-patch+yaml", body)
            .await
    }

    /// Whether a path that is no object answers with this text.
    pub(crate) async fn says(&self, path: &str, text: &str) -> Option<()> {
        let request = Request::get(path).body(Vec::new()).ok()?;
        (self.0.request_text(request).await.ok()? == text).then_some(())
    }

    async fn send(&self, method: &str, path: &str, media: &str, body: Vec<u8>) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(path);
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let answer = self.0.request(request.body(body)?).await;
        answer.with_context(|| format!("{method} {path}"))
    }
}

/// Whether a plain HTTP address answers well.
pub(crate) async fn answers(url: &str) -> Option<()> {
    let answer = client().get(url).send().await.ok()?;
    answer.status().is_success().then_some(())
}

/// Where objects of this kind are created.
fn collection(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = text(&object["kind"]).to_lowercase() + "s";
    let namespace = text(&object["metadata"]["namespace"]);
    if namespace.is_empty() {
        return format!("/{root}/{version}/{plural}");
    }
    format!("/{root}/{version}/namespaces/{namespace}/{plural}")
}
