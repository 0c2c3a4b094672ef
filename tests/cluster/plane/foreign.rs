//! Somebody's cluster, as this run uses it: one context of a kubeconfig that was asked for by name, kept as it was at the
//! start, and namespaces of this run's own, which go away with it. It refuses to guess a kubeconfig, and deletes nothing
//! that does not carry this run's label.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::LIMIT;
use super::admin::Admin;
use super::witness::Witness;

/// The label of all namespaces of all such runs; its value is the run.
const LABEL: &str = "ripcord.dev/test-run";
const PAUSE: Duration = Duration::from_millis(250);

/// One run on somebody's cluster.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) admin: Admin,
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    folder: TempDir,
    context: String,
    server: String,
    /// There may be namespaces of it.
    made: AtomicBool,
    /// It ends: nothing is made any more.
    closing: AtomicBool,
}

/// The cluster, once it is known to be of use.
pub(super) struct Foreign {
    pub(super) run: Run,
    pub(super) witness: Witness,
}

// === impl Run ===

impl Run {
    /// Reads the kubeconfig that the environment names, and connects. Nothing is made yet.
    pub(crate) async fn begin(image: Option<String>) -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut kubeconfig = Kubeconfig::from_env()
            .context("KUBECONFIG cannot be read")?
            .context("KUBECONFIG is not set: `--foreign` uses the cluster that it names, and guesses none")?;
        let context = kubeconfig.current_context.clone().unwrap_or_default();
        kubeconfig.contexts.retain(|it| it.name == context);
        let Some(details) = kubeconfig
            .contexts
            .first()
            .and_then(|it| it.context.clone())
        else {
            bail!(
                "KUBECONFIG has no current context: choose one with `kubectl config use-context`"
            );
        };
        kubeconfig.clusters.retain(|it| it.name == details.cluster);
        let user = details.user.unwrap_or_default();
        kubeconfig.auth_infos.retain(|it| it.name == user);
        let server = kubeconfig.clusters.first();
        let server = server.and_then(|it| it.cluster.as_ref()?.server.clone());
        let server = server.with_context(|| {
            format!("the context `{context}` of KUBECONFIG names no cluster with a server")
        })?;
        let folder = tempfile::Builder::new()
            .prefix("ripcord-tests-")
            .tempdir()?;
        let path = folder.path().join("kubeconfig");
        // JSON is YAML.
        fs::write(&path, serde_json::to_string(&kubeconfig)?)?;
        let admin = Admin::connect(&path).await?.with_images(image);
        // A number that nobody else has at the same time.
        let id = format!(
            "{:06x}",
            RandomState::new().build_hasher().finish() & 0xff_ffff
        );
        let inner = Inner {
            id,
            folder,
            context,
            server,
            made: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        };
        Ok(Self {
            admin,
            inner: Arc::new(inner),
        })
    }

    /// Whose cluster it is, for a person who reads the first line.
    pub(super) fn place(&self) -> String {
        format!("context {} ({})", self.inner.context, self.inner.server)
    }

    /// Its files; they hold the kubeconfig's secrets, and go away with the run.
    pub(super) fn folder(&self) -> &Path {
        self.inner.folder.path()
    }

    /// The one context, whatever becomes of the person's own file meanwhile.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// What the names of its namespaces begin with.
    pub(super) fn prefix(&self) -> String {
        format!("ripcord-tests-{}-", self.inner.id)
    }

    /// Asked before each namespace that is made: there are none any more once the run ends.
    pub(super) fn may_make(&self) -> Result<()> {
        self.inner.made.store(true, Ordering::SeqCst);
        let closing = self.inner.closing.load(Ordering::SeqCst);
        ensure!(!closing, "the run was interrupted");
        Ok(())
    }

    /// The label of its namespaces.
    pub(super) fn label(&self) -> (&'static str, String) {
        (LABEL, self.inner.id.clone())
    }

    /// The namespaces of earlier runs, or of others that go on now.
    pub(super) async fn others(&self) -> Vec<String> {
        self.labelled(LABEL).await.unwrap_or_default()
    }

    /// Makes a namespace of its own.
    pub(super) async fn namespace(&self, name: &str) -> Result<String> {
        self.may_make()?;
        let name = self.prefix() + name;
        let (key, value) = self.label();
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": { key: value } },
        });
        self.admin.create(&namespace).await?;
        Ok(name)
    }

    /// Deletes these namespaces, and waits until they are gone.
    pub(super) async fn remove(&self, names: &[String]) {
        for name in names {
            // What is gone already is as wanted; what is left is told at the end.
            drop(self.admin.delete(&namespace(name)).await);
        }
        let gone = async {
            while self.some_are_left(names).await {
                tokio::time::sleep(PAUSE).await;
            }
        };
        // The same goes for what takes too long.
        drop(timeout(LIMIT, gone).await);
    }

    /// Deletes all that this run has made, and says what it could not.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.inner.closing.store(true, Ordering::SeqCst);
        if !self.inner.made.load(Ordering::SeqCst) {
            return self.forget();
        }
        let mine = format!("{LABEL}={}", self.inner.id);
        let gone = async {
            loop {
                // One that was on its way when the run ended comes a moment later.
                tokio::time::sleep(PAUSE).await;
                match self.labelled(&mine).await {
                    Some(left) if left.is_empty() => return,
                    left => self.remove(&left.unwrap_or_default()).await,
                }
            }
        };
        let gone = timeout(LIMIT, gone).await;
        self.forget()?;
        gone.with_context(|| {
            format!("not everything went away: kubectl delete namespace --selector {mine}")
        })
    }

    /// Removes its files, which are secrets.
    fn forget(&self) -> Result<()> {
        match fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether any of these is there; what keeps it from going is let go.
    async fn some_are_left(&self, names: &[String]) -> bool {
        let mut left = false;
        for name in names {
            if self.admin.get(&namespace(name)).await.is_some() {
                left = true;
                self.release(name).await;
            }
        }
        left
    }

    /// Nobody is left to finish a rollback that was interrupted: it would keep its namespace for ever.
    async fn release(&self, name: &str) {
        let path = format!("/apis/ripcord.dev/v1alpha1/namespaces/{name}/rollbacks");
        let rollbacks = self.admin.get(&path).await.unwrap_or_default();
        for rollback in rollbacks["items"].as_array().into_iter().flatten() {
            let name = rollback["metadata"]["name"].as_str().unwrap_or_default();
            let released = json!({ "metadata": { "finalizers": null } });
            // It may have gone meanwhile.
            drop(self.admin.patch(&format!("{path}/{name}"), &released).await);
        }
    }

    async fn labelled(&self, selector: &str) -> Option<Vec<String>> {
        let path = format!("/api/v1/namespaces?labelSelector={selector}");
        let list = self.admin.get(&path).await?;
        let name = |it: &Value| Some(it["metadata"]["name"].as_str()?.to_owned());
        Some(list["items"].as_array()?.iter().filter_map(name).collect())
    }
}

// === impl Foreign ===

impl Foreign {
    /// Puts a witness between Ripcord and the API server.
    pub(super) async fn start(run: Run) -> Result<Self> {
        let witness = Witness::start(&run.kubeconfig()).await?;
        Ok(Self { run, witness })
    }
}

fn namespace(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}
