//! What `deploy/` grants and says is what the code does and reads. Rights are compared with the requests of a full run.

mod looks;
mod manifests;
mod operator;
mod pods;
mod rights;
pub(crate) mod rules;
mod scaled;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ripcord::cli::service::{Parts, Service};
use ripcord::cluster::{Cluster, clock};
use ripcord::config::Settings;
use ripcord::policy::Policy;
use ripcord::rollback::object::Mode;
use ripcord::sandbox::Sandbox;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Ripcord's own namespace, as `deploy/` names it.
const HOME: &str = "ripcord";

pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy().join(path)).unwrap()
}

/// The documents of a manifest.
fn documents(path: &str) -> Vec<Value> {
    let text = text(path);
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// The one document of a kind in a manifest.
fn manifest<T: DeserializeOwned>(path: &str, kind: &str) -> T {
    let mut found = documents(path)
        .into_iter()
        .filter(|document| document["kind"] == kind);
    let document = found.next().unwrap();
    assert!(found.next().is_none(), "{path} has one {kind}");
    serde_json::from_value(document).unwrap()
}

/// A replica of the real service before a simulated cluster. It keeps one ended rollback of each target.
async fn service(sandbox: &Sandbox, policy: Policy) -> Service {
    service_in(Mode::Act, sandbox, policy).await
}

/// The same, in a mode.
async fn service_in(mode: Mode, sandbox: &Sandbox, policy: Policy) -> Service {
    let mut settings = Settings::default();
    settings.engine.mode = mode;
    settings.intake.listen = "127.0.0.1:0".parse().unwrap();
    settings.intake.drain_delay = Duration::ZERO;
    settings.engine.namespace = Some(HOME.to_owned());
    settings.engine.retention.keep_per_target = 1;
    settings.engine.retention.ended_after = Duration::ZERO;
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&sandbox.kubeconfig()).unwrap();
    let cluster = Cluster::connect_by(kubeconfig, settings.cluster.request_timeout)
        .await
        .unwrap();
    let parts = Parts {
        settings,
        policy,
        policy_path: None,
        cluster,
        clock: Arc::clone(&clock::system()),
    };
    Service::start(parts).unwrap()
}

/// Waits until something is so; says whether it came about.
async fn until(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let look = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, look).await.is_ok()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
