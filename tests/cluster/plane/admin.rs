//! The API server, as somebody who may do everything uses it: objects are plain JSON.

use std::path::Path;

use anyhow::{Context, Result};
use axum::http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Map, Value, json};

use crate::support::replica::client;

/// The media type of a merge patch.
const MERGE: &str = "application/merge-patch+json";

/// What the repository of the demo application is called in the scenarios.
const IMAGES: &str = "demo";

/// A client that may do everything.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Client,
    /// The repository of the demo application, where it is another one: there are real pods then.
    images: Option<String>,
}

// === impl Admin ===

impl Admin {
    /// A client that logs in as this file says.
    pub(crate) async fn connect(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let (client, images) = (Client::try_from(config)?, None);
        Ok(Self { client, images })
    }

    /// The same, with pods whose images come from this repository. Whoever uses the client does not notice.
    pub(crate) fn with_images(self, images: Option<String>) -> Self {
        Self { images, ..self }
    }

    /// The image of the demo application with this tag, as the cluster knows it.
    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.images.as_deref().unwrap_or(IMAGES))
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What is at a path, if it is there and the server answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        self.ask(path).await.ok()
    }

    /// What is at a path, or why not.
    pub(crate) async fn ask(&self, path: &str) -> Result<Value> {
        self.send("GET", path, "", None).await
    }

    /// Creates an object.
    pub(crate) async fn create(&self, object: &Value) -> Result<Value> {
        self.post(&collection(object), object).await
    }

    /// Posts to a path.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send("POST", path, "application/json", Some(body))
            .await
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("PATCH", path, MERGE, Some(patch)).await
    }

    /// A server-side apply in the name of this field manager.
    pub(crate) async fn apply(&self, path: &str, manager: &str, object: &Value) -> Result<Value> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", Some(object))
            .await
    }

    /// Deletes what is at a path.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.send("DELETE", path, "", None).await
    }

    /// Whether a path that is no object answers with this text.
    pub(crate) async fn says(&self, path: &str, text: &str) -> Option<()> {
        let request = Request::get(path).body(Vec::new()).ok()?;
        (self.client.request_text(request).await.ok()? == text).then_some(())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(path);
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let mut body = body.cloned();
        if let (Some(body), Some(images)) = (&mut body, &self.images) {
            to_real(body, images);
        }
        let body = body.map(|it| it.to_string().into_bytes());
        let request = request.body(body.unwrap_or_default())?;
        let answer: Result<Value, _> = self.client.request(request).await;
        let mut answer = answer.with_context(|| format!("{method} {path}"))?;
        if let Some(images) = &self.images {
            from_real(&mut answer, images);
        }
        Ok(answer)
    }
}

/// Lets the containers of the demo application come from this repository. What a simulated kubelet knows from the tag, a
/// real one learns by asking.
fn to_real(value: &mut Value, images: &str) {
    each_object(value, &mut |object| {
        let image = object.get("image").and_then(Value::as_str);
        let tag = image.and_then(|it| it.strip_prefix(IMAGES)?.strip_prefix(':'));
        let Some(image) = tag.map(|tag| format!("{images}:{tag}")) else {
            return;
        };
        object.insert("image".to_owned(), image.into());
        let asked = json!({ "path": "/ready", "port": 8000 });
        let probe = json!({ "httpGet": asked, "periodSeconds": 1, "failureThreshold": 1 });
        object.insert("readinessProbe".to_owned(), probe);
    });
}

/// And the way back.
fn from_real(value: &mut Value, images: &str) {
    each_object(value, &mut |object| {
        let image = object.get("image").and_then(Value::as_str);
        let tag = image.and_then(|it| it.strip_prefix(images)?.strip_prefix(':'));
        if let Some(image) = tag.map(|tag| format!("{IMAGES}:{tag}")) {
            object.insert("image".to_owned(), image.into());
        }
    });
}

fn each_object(value: &mut Value, work: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            work(object);
            object.values_mut().for_each(|it| each_object(it, work));
        }
        Value::Array(all) => all.iter_mut().for_each(|it| each_object(it, work)),
        _ => {}
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
    let kind = text(&object["kind"]).to_lowercase();
    let plural = match kind.strip_suffix("policy") {
        Some(stem) => format!("{stem}policies"),
        None => kind + "s",
    };
    let namespace = text(&object["metadata"]["namespace"]);
    if namespace.is_empty() {
        return format!("/{root}/{version}/{plural}");
    }
    format!("/{root}/{version}/namespaces/{namespace}/{plural}")
}
