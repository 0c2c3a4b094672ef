//! The run's own cluster, from processes alone: etcd, the API server, the controllers, a simulated kubelet, the routing of
//! Services, and the application that answers for every pod. It lacks nothing that a scenario needs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use serde_json::json;

use super::Namespaces;
use super::admin::{self, Admin};
use super::audit::{self, Audited};
use super::files::Files;
use super::install::{self, Manifests};
use super::parts::{self, CONTROLLER, NODE, Started};
use super::process::Process;
use crate::app;
use crate::enter::NODE_IP;

/// The processes and their files.
pub(super) struct Own {
    pub(super) files: Files,
    processes: Mutex<Vec<Process>>,
    /// How long the audit log was when a namespace was made.
    marks: Mutex<HashMap<String, u64>>,
}

// === impl Own ===

impl Own {
    /// Starts everything and waits until it works.
    pub(super) async fn start(folder: &Path) -> Result<(Self, Admin, Manifests)> {
        let files = Files::write(folder)?;
        let mut started = Started::new(folder, &files);
        started.etcd()?;
        started.api_server()?;
        let kubeconfig = files.path("admin.kubeconfig");
        let admin = Admin::connect(&kubeconfig).await?;
        started
            .wait("the API server", async || admin.says("/readyz", "ok").await)
            .await?;
        started.controllers()?;
        admin.create(&parts::node()).await?;
        let manifests = install::install(&admin, &kubeconfig).await?;
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
        let own = Self {
            files,
            processes,
            marks: Mutex::default(),
        };
        Ok((own, admin, manifests))
    }

    /// Notes where these namespaces begin in the audit log: nothing before is about them.
    pub(super) fn mark(&self, namespaces: &Namespaces) -> Result<()> {
        let mark = self.files.path("audit.log").metadata()?.len();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in [&namespaces.release, &namespaces.ripcord] {
            marks.insert(namespace.clone(), mark);
        }
        Ok(())
    }

    /// The requests to the API server in a namespace, oldest first.
    pub(super) fn audit(&self, namespace: &str) -> Result<Vec<Audited>> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = marks.get(namespace).copied().unwrap_or_default();
        drop(marks);
        let mut log = File::open(self.files.path("audit.log"))?;
        log.seek(SeekFrom::Start(mark))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        Ok(audit::read(&text, namespace))
    }

    /// Puts a label on the node, or takes it off.
    pub(super) async fn label_node(
        &self,
        admin: &Admin,
        key: &str,
        value: Option<&str>,
    ) -> Result<()> {
        let patch = json!({ "metadata": { "labels": { key: value } } });
        let node = format!("/api/v1/nodes/{NODE}");
        admin.patch(&node, &patch).await.map(drop)
    }

    /// What the processes said last about something.
    pub(super) fn tails(&self, about: &str) -> String {
        let processes = self.processes();
        let tails = processes.iter().map(|it| (it.name(), it.tail(about)));
        let tails = tails.filter(|(_, tail)| !tail.is_empty());
        let tails: Vec<_> = tails
            .map(|(name, tail)| format!("--- {name} about {about}:\n{tail}"))
            .collect();
        tails.join("\n")
    }

    /// Sends the Rollouts controller a signal by name.
    pub(super) fn signal_controller(&self, signal: &str) -> Result<()> {
        self.processes()
            .iter()
            .find(|it| it.name() == CONTROLLER)
            .context("a process of this name")?
            .signal(signal)
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
