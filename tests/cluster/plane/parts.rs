//! The processes of the control plane, and the arguments that each is started with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::LIMIT;
use super::files::Files;
use super::process::Process;
use crate::enter::{NODE_IP, PODS, SERVICES};
use crate::support::replica::until;

/// The name of the one node.
pub(crate) const NODE: &str = "node";
/// The program that is the Rollouts controller.
pub(crate) const CONTROLLER: &str = "rollouts-controller";

/// What runs already.
pub(crate) struct Started<'a> {
    folder: &'a Path,
    files: &'a Files,
    processes: Vec<Process>,
}

// === impl Started ===

impl<'a> Started<'a> {
    /// Nothing yet.
    pub(crate) fn new(folder: &'a Path, files: &'a Files) -> Self {
        Self {
            folder,
            files,
            processes: Vec::new(),
        }
    }

    /// Everything that was started.
    pub(crate) fn all(self) -> Vec<Process> {
        self.processes
    }

    fn run(&mut self, name: &'static str, arguments: &[(&str, &str)]) -> Result<()> {
        let arguments = self.files.arguments(arguments);
        self.processes
            .push(Process::start(name, self.folder, &arguments)?);
        Ok(())
    }

    /// Waits for a part, for as long as everything that was started runs.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        mut there: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let ended = until(
            async || {
                for process in &mut self.processes {
                    if let Err(error) = process.alive() {
                        return Some(Err(error));
                    }
                }
                there().await.map(Ok)
            },
            LIMIT,
        );
        if let Some(there) = ended.await {
            return there.with_context(|| format!("{what} did not come up"));
        }
        let tails = self
            .processes
            .iter()
            .map(|it| format!("--- {}:\n{}", it.name(), it.tail("")));
        let tails: Vec<_> = tails.collect();
        bail!(
            "{what} was not there within {LIMIT:?}\n{}",
            tails.join("\n")
        )
    }

    pub(crate) fn etcd(&mut self) -> Result<()> {
        // The name of the program's folder in its module.
        self.run(
            "server",
            &[
                ("data-dir", "@etcd"),
                ("listen-client-urls", "http://127.0.0.1:2379"),
                ("advertise-client-urls", "http://127.0.0.1:2379"),
                ("listen-peer-urls", "http://127.0.0.1:2380"),
                ("initial-advertise-peer-urls", "http://127.0.0.1:2380"),
                ("initial-cluster", "default=http://127.0.0.1:2380"),
                ("unsafe-no-fsync", "true"),
            ],
        )
    }

    pub(crate) fn api_server(&mut self) -> Result<()> {
        self.run(
            "kube-apiserver",
            &[
                ("etcd-servers", "http://127.0.0.1:2379"),
                // Endpoints of Services may not be loopback addresses.
                ("advertise-address", NODE_IP),
                ("bind-address", "0.0.0.0"),
                ("secure-port", "6443"),
                ("tls-cert-file", "@server.crt"),
                ("tls-private-key-file", "@server.key"),
                ("service-cluster-ip-range", SERVICES),
                ("service-account-issuer", "https://kubernetes.default.svc"),
                ("service-account-key-file", "@accounts.pub"),
                ("service-account-signing-key-file", "@accounts.key"),
                ("authorization-mode", "RBAC"),
                ("token-auth-file", "@tokens.csv"),
                ("audit-policy-file", "@audit.yaml"),
                ("audit-log-path", "@audit.log"),
                // In one file, however long it gets: it is read from where a scenario began. In MiB.
                ("audit-log-maxsize", "100000"),
            ],
        )
    }

    pub(crate) fn controllers(&mut self) -> Result<()> {
        self.run(
            "kube-controller-manager",
            &[
                ("kubeconfig", "@controller-manager.kubeconfig"),
                ("service-account-private-key-file", "@accounts.key"),
                ("root-ca-file", "@ca.crt"),
                ("leader-elect", "false"),
                ("secure-port", "0"),
            ],
        )?;
        self.run(
            "kube-scheduler",
            &[
                ("kubeconfig", "@scheduler.kubeconfig"),
                ("leader-elect", "false"),
                ("secure-port", "0"),
            ],
        )?;
        self.run(
            "kwok",
            &[
                ("kubeconfig", "@kwok.kubeconfig"),
                ("config", "@stages.yaml"),
                ("manage-all-nodes", "true"),
                ("cidr", PODS),
                ("node-ip", NODE_IP),
                ("node-port", "10250"),
                ("tls-cert-file", "@server.crt"),
                ("tls-private-key-file", "@server.key"),
                // Without leases the node is lost after 40 seconds, and with it all pods.
                ("node-lease-duration-seconds", "40"),
            ],
        )
    }

    pub(crate) fn rollouts_controller(&mut self) -> Result<()> {
        self.run(
            CONTROLLER,
            &[
                ("kubeconfig", "@argo-rollouts.kubeconfig"),
                ("leader-elect", "false"),
            ],
        )
    }

    pub(crate) fn kube_proxy(&mut self) -> Result<()> {
        self.run(
            "kube-proxy",
            &[
                ("kubeconfig", "@kube-proxy.kubeconfig"),
                ("proxy-mode", "nftables"),
                ("cluster-cidr", PODS),
                ("hostname-override", NODE),
                // Settings of the whole machine, which are not ours.
                ("conntrack-max-per-core", "0"),
                ("conntrack-min", "0"),
                ("conntrack-tcp-timeout-established", "0"),
                ("conntrack-tcp-timeout-close-wait", "0"),
                ("healthz-bind-address", &format!("{NODE_IP}:10256")),
            ],
        )
    }
}

/// The one node, as the kubelet would register it.
pub(crate) fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": NODE, "labels": { "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux" } },
        "status": { "allocatable": { "cpu": "1k", "memory": "1Ti", "pods": "10k" }, "capacity": { "cpu": "1k", "memory": "1Ti", "pods": "10k" } },
    })
}
