//! What is there before anybody comes: the custom resource definitions of Argo Rollouts, and `deploy/` as it is shipped.
//! Ripcord's own pods are left out: it runs as a process. Of somebody's cluster, only the definitions are its business.

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

/// All of `deploy/` that is used here.
pub(crate) struct Rendered {
    /// What there is one of in the whole cluster.
    shared: Vec<Value>,
    pub(crate) manifests: Manifests,
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
    let (applied, rendered) = tokio::try_join!(kubectl(kubeconfig, &argo), render(kubeconfig))?;
    drop(applied);
    for object in &rendered.shared {
        // Its plural is not made by a single letter.
        if object["kind"] == "PriorityClass" {
            admin
                .post("/apis/scheduling.k8s.io/v1/priorityclasses", object)
                .await?;
        } else {
            admin.create(object).await?;
        }
    }
    are_served(admin).await?;
    Ok(rendered.manifests)
}

/// Reads `deploy/` as it is shipped, and asks no cluster.
pub(crate) async fn render(kubeconfig: &Path) -> Result<Rendered> {
    let deploy = format!("{DEPLOY}/rbac/release-namespace");
    let rendered = ["kustomize", DEPLOY].map(str::to_owned);
    let granted = ["kustomize", &deploy].map(str::to_owned);
    let (rendered, granted) = tokio::try_join!(
        kubectl(kubeconfig, &rendered),
        kubectl(kubeconfig, &granted)
    )?;
    let (shared, mut home): (Vec<_>, Vec<_>) = documents(&rendered)?
        .into_iter()
        .partition(|it| SHARED.iter().any(|kind| it["kind"] == *kind));
    home.retain(|it| !PROCESSES.iter().any(|kind| it["kind"] == *kind));
    let release = documents(&granted)?;
    Ok(Rendered {
        shared,
        manifests: Manifests { home, release },
    })
}

/// Waits until the API server serves all kinds that the scenarios use.
pub(crate) async fn are_served(admin: &Admin) -> Result<()> {
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
    Ok(())
}

/// Lets the API server judge what is shipped, as it is applied by those who install it. It is judged in a namespace of this
/// run's: the one that it is shipped for may be somebody's.
pub(crate) async fn dry_run(kubeconfig: &Path, folder: &Path, namespace: &str) -> Result<()> {
    let rendered = kubectl(kubeconfig, &["kustomize", DEPLOY].map(str::to_owned)).await?;
    let items: Vec<_> = documents(&rendered)?
        .iter()
        .map(|it| match it["kind"].as_str() {
            Some(kind) if SHARED.contains(&kind) => it.clone(),
            _ => moved(it, namespace, namespace),
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let path = folder.join("deploy.json");
    fs::write(&path, list.to_string())?;
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "-f",
        path.to_str().context("the path is UTF-8")?,
    ]
    .map(str::to_owned);
    kubectl(kubeconfig, &apply).await?;
    Ok(())
}

// === impl Rendered ===

impl Rendered {
    /// Ripcord's custom resource definitions.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &Value> {
        let all = self.shared.iter();
        all.filter(|it| it["kind"] == "CustomResourceDefinition")
    }
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
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        subject["namespace"] = json!(home);
    }
    object
}

async fn kubectl(kubeconfig: &Path, arguments: &[String]) -> Result<String> {
    let mut command = Command::new(build::bin().join("kubectl"));
    // What a person's own settings of kubectl say must not matter; what logs them in may need their environment.
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    command.env("KUBERC", "off");
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
