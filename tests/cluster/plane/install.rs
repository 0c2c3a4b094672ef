//! What is installed before anybody comes: the custom resource definitions of Argo Rollouts, and `deploy/` as it is shipped.
//! Ripcord's own pods are left out: it runs as a process.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::admin::Admin;
use super::{LIMIT, Namespaces};
use crate::build;
use crate::support::replica::until;

/// The folder with what is shipped.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// What there is one of in the whole cluster.
const SHARED: [&str; 3] = ["CustomResourceDefinition", "PriorityClass", "ClusterRole"];
/// What runs as a process here.
const PROCESSES: [&str; 3] = ["Deployment", "Service", "PodDisruptionBudget"];

/// What a scenario gets of `deploy/`.
pub(crate) struct Manifests {
    home: Vec<Value>,
    release: Vec<Value>,
}

/// Installs what the whole cluster shares.
pub(crate) async fn install(admin: &Admin, kubeconfig: &Path) -> Result<Manifests> {
    let mut argo = vec!["apply".to_owned(), "--server-side".to_owned()];
    let mut definitions: Vec<_> = fs::read_dir(build::manifests())?.collect::<Result<_, _>>()?;
    definitions.retain(|it| it.file_name().to_string_lossy().ends_with("-crd.yaml"));
    ensure!(
        !definitions.is_empty(),
        "no custom resource definitions of Argo Rollouts"
    );
    argo.extend(
        definitions
            .iter()
            .flat_map(|it| ["-f".to_owned(), it.path().display().to_string()]),
    );
    let deploy = format!("{DEPLOY}/rbac/release-namespace");
    let rendered = ["kustomize", DEPLOY].map(str::to_owned);
    let granted = ["kustomize", &deploy].map(str::to_owned);
    let (applied, rendered, granted) = tokio::try_join!(
        kubectl(kubeconfig, &argo),
        kubectl(kubeconfig, &rendered),
        kubectl(kubeconfig, &granted)
    )?;
    drop(applied);
    let (shared, mut home): (Vec<_>, Vec<_>) = documents(&rendered)?
        .into_iter()
        .partition(|it| SHARED.iter().any(|kind| it["kind"] == *kind));
    for object in shared {
        // Its plural is not made by a single letter.
        if object["kind"] == "PriorityClass" {
            admin
                .post("/apis/scheduling.k8s.io/v1/priorityclasses", &object)
                .await?;
        } else {
            admin.create(&object).await?;
        }
    }
    home.retain(|it| !PROCESSES.iter().any(|kind| it["kind"] == *kind));
    for kind in [
        "argoproj.io/v1alpha1/rollouts",
        "ripcord.dev/v1alpha1/rollbacks",
        "ripcord.dev/v1alpha1/targets",
    ] {
        let path = format!("/apis/{kind}");
        until(async || admin.get(&path).await, LIMIT)
            .await
            .with_context(|| format!("{kind} is not served"))?;
    }
    Ok(Manifests {
        home,
        release: documents(&granted)?,
    })
}

/// Lets the API server judge what is shipped, as it is applied by those who install it.
pub(crate) async fn dry_run(kubeconfig: &Path) -> Result<()> {
    let namespace = ["create", "namespace", "ripcord"].map(str::to_owned);
    kubectl(kubeconfig, &namespace).await?;
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "-k",
        DEPLOY,
    ]
    .map(str::to_owned);
    kubectl(kubeconfig, &apply).await?;
    Ok(())
}

// === impl Manifests ===

impl Manifests {
    /// The objects of a scenario, in an order in which they can be created.
    pub(crate) fn within(&self, namespaces: &Namespaces) -> Vec<Value> {
        let release = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespaces.release } });
        let home = self
            .home
            .iter()
            .map(|it| moved(it, &namespaces.ripcord, &namespaces.ripcord));
        let granted = self
            .release
            .iter()
            .map(|it| moved(it, &namespaces.release, &namespaces.ripcord));
        let mut objects: Vec<_> = home.chain([release]).chain(granted).collect();
        objects.sort_by_key(|it| it["kind"] != "Namespace");
        objects
    }
}

/// An object in another namespace, with Ripcord's account in its own.
fn moved(object: &Value, namespace: &str, home: &str) -> Value {
    let mut object = object.clone();
    if object["kind"] == "Namespace" {
        object["metadata"]["name"] = json!(namespace);
        return object;
    }
    object["metadata"]["namespace"] = json!(namespace);
    for subject in object["subjects"].as_array_mut().into_iter().flatten() {
        subject["namespace"] = json!(home);
    }
    object
}

async fn kubectl(kubeconfig: &Path, arguments: &[String]) -> Result<String> {
    let mut command = Command::new(build::bin().join("kubectl"));
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    command
        .env_clear()
        .env("HOME", kubeconfig.parent().context("a folder")?);
    let done = command.output().await?;
    ensure!(
        done.status.success(),
        "kubectl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8(done.stdout)?)
}

fn documents(text: &str) -> Result<Vec<Value>> {
    text.split("\n---\n")
        .map(|document| Ok(serde_saphyr::from_str(document)?))
        .collect()
}
