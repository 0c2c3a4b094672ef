//! A real Kubernetes with Argo Rollouts, from processes alone: etcd, the API server, the controllers, a simulated kubelet,
//! the routing of Services, and the application that answers for every pod. One for each run.

pub(crate) mod admin;
pub(crate) mod audit;
mod files;
mod install;
mod parts;
mod process;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::admin::Admin;
use self::audit::Audited;
use self::files::Files;
use self::parts::{CONTROLLER, NODE, Started};
use self::process::Process;
use crate::app;
use crate::enter::NODE_IP;

/// How long a part may take to be there on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A running cluster.
pub(crate) struct Plane {
    pub(crate) admin: Admin,
    files: Files,
    folder: PathBuf,
    processes: Mutex<Vec<Process>>,
    manifests: install::Manifests,
    numbers: AtomicUsize,
    /// How long the audit log was when a namespace was made.
    marks: Mutex<HashMap<String, u64>>,
    /// Scenarios share the controller; one that stops it has it to itself.
    turns: RwLock<()>,
}

/// The namespaces of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// With the release, and Ripcord's rights to it.
    pub(crate) release: String,
    /// Ripcord's own.
    pub(crate) ripcord: String,
}

/// The Rollouts controller stands still until this is dropped.
pub(crate) struct Frozen<'a> {
    plane: &'a Plane,
}

/// The right to use the cluster.
#[expect(dead_code, reason = "held, not looked at")]
pub(crate) enum Turn<'a> {
    Shared(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

// === impl Plane ===

impl Plane {
    /// Starts everything and waits until it works.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        // Another part of this process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let files = Files::write(folder)?;
        let mut started = Started::new(folder, &files);
        started.etcd()?;
        started.api_server()?;
        let admin = Admin::connect(&files.path("admin.kubeconfig")).await?;
        started
            .wait("the API server", async || admin.says("/readyz", "ok").await)
            .await?;
        started.controllers()?;
        admin.create(&parts::node()).await?;
        let manifests = install::install(&admin, &files.path("admin.kubeconfig")).await?;
        started.rollouts_controller()?;
        let node = format!("/api/v1/nodes/{NODE}");
        let ready = async || {
            let node = admin.get(&node).await?;
            let mut conditions = node["status"]["conditions"].as_array()?.iter();
            conditions
                .any(|it| it["type"] == "Ready" && it["status"] == "True")
                .then_some(())
        };
        started.wait("the node", ready).await?;
        started.kube_proxy()?;
        app::serve(admin.client()).await?;
        let account = async || {
            admin
                .get("/api/v1/namespaces/default/serviceaccounts/default")
                .await
        };
        started.wait("the controller manager", account).await?;
        let health = "http://127.0.0.1:8080/healthz";
        started
            .wait("the Rollouts controller", async || {
                admin::answers(health).await
            })
            .await?;
        let health = format!("http://{NODE_IP}:10256/healthz");
        started
            .wait("kube-proxy", async || admin::answers(&health).await)
            .await?;
        let processes = Mutex::new(started.all());
        let (folder, numbers, turns) = (folder.to_owned(), AtomicUsize::new(1), RwLock::new(()));
        let marks = Mutex::default();
        Ok(Self {
            admin,
            files,
            folder,
            processes,
            manifests,
            numbers,
            marks,
            turns,
        })
    }

    /// Where the data of this run is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.files.path("admin.kubeconfig")
    }

    /// A kubeconfig for a `ServiceAccount`, with a token as its pods get it.
    pub(crate) async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 7200 } });
        let answer = self.admin.post(&path, &request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(self.files.kubeconfig(token.context("a token")?, namespace))
    }

    /// Fresh namespaces, with what `deploy/` puts into them.
    pub(crate) async fn release_namespace(&self) -> Result<Namespaces> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let namespaces = Namespaces {
            release: format!("release-{number}"),
            ripcord: format!("ripcord-{number}"),
        };
        let mark = self.files.path("audit.log").metadata()?.len();
        self.mark(&namespaces, mark);
        for object in self.manifests.within(&namespaces) {
            self.admin.create(&object).await?;
        }
        Ok(namespaces)
    }

    fn mark(&self, namespaces: &Namespaces, mark: u64) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in [&namespaces.release, &namespaces.ripcord] {
            marks.insert(namespace.clone(), mark);
        }
    }

    /// Lets the API server judge all of `deploy/`, and changes nothing.
    pub(crate) async fn dry_run(&self) -> Result<()> {
        install::dry_run(&self.kubeconfig()).await
    }

    /// The requests to the API server in a namespace, oldest first.
    pub(crate) fn audit(&self, namespace: &str) -> Result<Vec<Audited>> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = marks.get(namespace).copied().unwrap_or_default();
        drop(marks);
        let mut log = File::open(self.files.path("audit.log"))?;
        log.seek(SeekFrom::Start(mark))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        Ok(audit::read(&text, namespace))
    }

    /// Takes part in what goes on.
    pub(crate) async fn shared(&self) -> Turn<'_> {
        Turn::Shared(self.turns.read().await)
    }

    /// Waits until nobody else uses the cluster: for a scenario that stops the controller.
    pub(crate) async fn alone(&self) -> Turn<'_> {
        Turn::Alone(self.turns.write().await)
    }

    /// Lets the Rollouts controller stand still.
    pub(crate) fn freeze(&self) -> Result<Frozen<'_>> {
        self.signal(CONTROLLER, "STOP")?;
        Ok(Frozen { plane: self })
    }

    /// Puts a label on the node, or takes it off.
    pub(crate) async fn label_node(&self, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "labels": { key: value } } });
        let node = format!("/api/v1/nodes/{NODE}");
        self.admin.patch(&node, &patch).await.map(drop)
    }

    /// What Argo Rollouts' plugin for kubectl says to a person's command; its words are no proof of anything.
    pub(crate) fn plugin(&self, words: &[&str]) -> Result<String> {
        let (content, said) = self.person("kubectl-argo-rollouts", words)?;
        anyhow::ensure!(content, "{words:?}: {said}");
        Ok(said)
    }

    /// Whether a program of the control plane was content with a person's command, and what it said.
    pub(crate) fn person(&self, program: &str, words: &[&str]) -> Result<(bool, String)> {
        let mut command = std::process::Command::new(crate::build::bin().join(program));
        command.args(words).env("KUBECONFIG", self.kubeconfig());
        let output = command.output()?;
        let [said, complaint] =
            [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        Ok((output.status.success(), format!("{said}{complaint}")))
    }

    /// What the processes said last about something.
    pub(crate) fn tails(&self, about: &str) -> String {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let tails = processes.iter().map(|it| (it.name(), it.tail(about)));
        let tails = tails.filter(|(_, tail)| !tail.is_empty());
        let tails: Vec<_> = tails
            .map(|(name, tail)| format!("--- {name} about {about}:\n{tail}"))
            .collect();
        tails.join("\n")
    }

    fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes
            .iter()
            .find(|it| it.name() == name)
            .context("a process of this name")?
            .signal(signal)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Should it have ended, what waits for it says so.
        drop(self.plane.signal(CONTROLLER, "CONT"));
    }
}
