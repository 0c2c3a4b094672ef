//! The cluster that the demo is played on: the simulated one in this process, or one that a kubeconfig leads to. Either is
//! used through its API alone.
//!
//! On a real cluster it makes namespaces of its own, and takes them away again. It refuses to play where they are there
//! already, and changes nothing that was there before.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::stage::{LIMIT, LOOK, NAMESPACE, OWN};
use crate::cluster::Cluster;
use crate::rollback::crd;
use crate::sandbox::Sandbox;

/// How long one request to the API server may take.
const REQUEST: Duration = Duration::from_secs(10);

/// The demo's cluster.
pub(super) struct Ground {
    /// How the service reaches it.
    pub(super) cluster: Cluster,
    /// The simulated cluster; none where it is a real one. It ends when it is dropped.
    pub(super) sandbox: Option<Sandbox>,
    client: Client,
}

impl Ground {
    /// A simulated cluster of its own.
    pub(super) async fn simulated() -> anyhow::Result<Self> {
        let sandbox = Sandbox::start().await?;
        let kubeconfig = Kubeconfig::from_yaml(&sandbox.kubeconfig())?;
        Self::reached_by(kubeconfig, Some(sandbox)).await
    }

    /// The cluster of this kubeconfig, with fresh namespaces.
    pub(super) async fn real(kubeconfig: &Path) -> anyhow::Result<Self> {
        let ground = Self::reached_by(Kubeconfig::read_from(kubeconfig)?, None).await?;
        let rollouts = ground.get("/apis/argoproj.io/v1alpha1/rollouts?limit=1");
        rollouts
            .await
            .context("this cluster has no Argo Rollouts, or cannot be reached")?;
        let namespaces = Api::<Namespace>::all(ground.client.clone());
        for name in [NAMESPACE, OWN] {
            let there = namespaces.get_opt(name).await?.is_some();
            ensure!(
                !there,
                "the namespace `{name}` is there already: the demo only plays where it makes `{NAMESPACE}` and `{OWN}` \
                 itself, and takes them away afterwards"
            );
        }
        for name in [NAMESPACE, OWN] {
            let namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
            namespaces
                .create(&PostParams::default(), &namespace)
                .await?;
        }
        Ok(ground)
    }

    async fn reached_by(kubeconfig: Kubeconfig, sandbox: Option<Sandbox>) -> anyhow::Result<Self> {
        let cluster = Cluster::connect_by(kubeconfig, REQUEST).await?;
        Ok(Self {
            client: cluster.client(),
            cluster,
            sandbox,
        })
    }

    /// Makes what Ripcord expects of every cluster.
    pub(super) async fn furnish(&self) -> anyhow::Result<()> {
        for definition in [crd::rollbacks(), crd::targets()] {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            match self.create(path, &serde_json::to_value(definition)?).await {
                // Whoever has installed Ripcord has them, and keeps theirs.
                Err(error) if !is_conflict(&error) => return Err(error),
                _ => {}
            }
        }
        let served = async {
            for kind in ["rollbacks", "targets"] {
                let path = format!("/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/{kind}");
                while self.get(&path).await.is_err() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        let served = tokio::time::timeout(LIMIT, served).await;
        served.context("the API server does not serve Ripcord's kinds")?;
        let hold = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ripcord-hold" } });
        let path = format!("/api/v1/namespaces/{OWN}/configmaps");
        self.create(&path, &hold).await?;
        Ok(())
    }

    /// Creates an object in this collection.
    pub(super) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, "application/json", object)
            .await
    }

    /// What is at this path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = Request::get(path).body(Vec::new())?;
        Ok(self.client.request(request).await?)
    }

    /// A patch of this media type.
    pub(super) async fn patch(&self, path: &str, media: &str, patch: &Value) -> anyhow::Result<()> {
        self.send(Method::PATCH, path, media, patch).await?;
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", media);
        let request = request.body(body.to_string().into_bytes())?;
        Ok(self.client.request(request).await?)
    }

    /// Where the clients of a Service connect to.
    pub(super) async fn front(&self, service: &str) -> anyhow::Result<SocketAddr> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{service}");
        let spec = self.get(&path).await?["spec"].take();
        let address = spec["clusterIP"].as_str().and_then(|it| it.parse().ok());
        let port = spec["ports"][0]["port"].as_u64();
        let port = port.and_then(|it| u16::try_from(it).ok());
        match (address, port) {
            (Some(address), Some(port)) => Ok(SocketAddr::new(address, port)),
            _ => bail!("the Service has no address"),
        }
    }

    /// Takes away what was made, but for Ripcord's kinds: others may have begun to use them. The service has ended.
    pub(super) async fn leave(&self) -> anyhow::Result<()> {
        if self.sandbox.is_some() {
            return Ok(());
        }
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for name in [NAMESPACE, OWN] {
            let deleted = namespaces.delete(name, &DeleteParams::default()).await;
            deleted.with_context(|| format!("the namespace `{name}` is left over"))?;
        }
        let released = tokio::time::timeout(LIMIT, self.release()).await;
        released.context("rollbacks keep their namespace from going away")?
    }

    /// Nobody is left to finish a rollback that was interrupted: it would keep its namespace for ever.
    async fn release(&self) -> anyhow::Result<()> {
        let path = format!("/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/rollbacks");
        loop {
            let mut rollbacks = self.get(&path).await?;
            let rollbacks = rollbacks["items"].take();
            let all = rollbacks.as_array().map(Vec::as_slice).unwrap_or_default();
            if all.is_empty() {
                return Ok(());
            }
            for rollback in all {
                let name = rollback["metadata"]["name"].as_str().unwrap_or_default();
                let released = json!({ "metadata": { "finalizers": null } });
                let media = "application/merge-patch+json";
                let patched = self
                    .patch(&format!("{path}/{name}"), media, &released)
                    .await;
                // It may have gone meanwhile.
                drop(patched);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 409)
}
