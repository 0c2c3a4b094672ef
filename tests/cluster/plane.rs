//! The real Kubernetes with Argo Rollouts that the scenarios share: one of this run's own, from processes alone, or
//! somebody's, by their kubeconfig. One for each run.
//!
//! On somebody's cluster it makes nothing but namespaces of its own, and the custom resource definitions where there are none.

pub(crate) mod admin;
pub(crate) mod audit;
mod files;
pub(crate) mod foreign;
mod install;
mod own;
mod parts;
mod preflight;
mod probe;
mod process;
pub(crate) mod witness;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use self::admin::Admin;
use self::audit::Audited;
use self::foreign::{Foreign, Run};
use self::own::Own;
use self::witness::Witness;
use crate::need::Lacks;

/// How long a part may take to be there on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A running cluster.
pub(crate) struct Plane {
    pub(crate) admin: Admin,
    pub(crate) lacks: Lacks,
    form: Form,
    folder: PathBuf,
    manifests: install::Manifests,
    numbers: AtomicUsize,
}

/// Whose it is.
enum Form {
    Own(Own),
    Foreign(Foreign),
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
    own: &'a Own,
}

// === impl Plane ===

impl Plane {
    /// Starts a cluster in this folder and waits until it works.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        // Another part of this process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (own, admin, manifests) = Own::start(folder).await?;
        Ok(Self {
            admin,
            lacks: Lacks::default(),
            form: Form::Own(own),
            folder: folder.to_owned(),
            manifests,
            numbers: AtomicUsize::new(1),
        })
    }

    /// Looks at somebody's cluster, and finds out what can be played there.
    pub(crate) async fn foreign(run: Run) -> Result<Self> {
        let manifests = preflight::check(&run).await?;
        let lacks = probe::find_out(&run).await?;
        Ok(Self {
            admin: run.admin.clone(),
            lacks,
            folder: run.folder().to_owned(),
            form: Form::Foreign(Foreign::start(run).await?),
            manifests,
            numbers: AtomicUsize::new(1),
        })
    }

    /// Where the data of this run is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of whoever runs the tests.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match &self.form {
            Form::Own(own) => own.files.path("admin.kubeconfig"),
            Form::Foreign(foreign) => foreign.run.kubeconfig(),
        }
    }

    /// A kubeconfig for a `ServiceAccount`, with a token as its pods get it.
    pub(crate) async fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<String> {
        let token = self.token(namespace, name).await?;
        Ok(match &self.form {
            Form::Own(own) => own.files.kubeconfig(&token, namespace),
            Form::Foreign(foreign) => foreign.witness.kubeconfig(&token, namespace, name),
        })
    }

    /// The same, by way of a witness.
    pub(crate) async fn witnessed_kubeconfig(
        &self,
        witness: &Witness,
        namespace: &str,
        name: &str,
    ) -> Result<String> {
        let token = self.token(namespace, name).await?;
        Ok(witness.kubeconfig(&token, namespace, name))
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": 7200 } });
        let answer = self.admin.post(&path, &request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.context("a token")?.to_owned())
    }

    /// Fresh namespaces, with what `deploy/` puts into them.
    pub(crate) async fn release_namespace(&self) -> Result<Namespaces> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (prefix, label) = match &self.form {
            Form::Own(_) => (String::new(), None),
            Form::Foreign(Foreign { run, .. }) => {
                run.may_make()?;
                (run.prefix(), Some(run.label()))
            }
        };
        let namespaces = Namespaces {
            release: format!("{prefix}release-{number}"),
            ripcord: format!("{prefix}ripcord-{number}"),
        };
        if let Form::Own(own) = &self.form {
            own.mark(&namespaces)?;
        }
        for mut object in self.manifests.within(&namespaces) {
            if let (Some((key, value)), "Namespace") =
                (&label, object["kind"].as_str().unwrap_or_default())
            {
                object["metadata"]["labels"][key] = json!(value);
            }
            self.admin.create(&object).await?;
        }
        Ok(namespaces)
    }

    /// Says that nobody needs these namespaces any more. What this run owns altogether goes with it.
    pub(crate) fn give_back(&self, namespaces: &Namespaces) {
        if let Form::Foreign(foreign) = &self.form {
            let run = foreign.run.clone();
            let Namespaces { release, ripcord } = namespaces.clone();
            // Whoever ends the run waits for what is left.
            tokio::spawn(async move { run.remove(&[release, ripcord]).await });
        }
    }

    /// Lets the API server judge all of `deploy/`, and changes nothing.
    pub(crate) async fn dry_run(&self, folder: &Path, namespace: &str) -> Result<()> {
        install::dry_run(&self.kubeconfig(), folder, namespace).await
    }

    /// The requests to the API server in a namespace, oldest first: of whoever the API server itself saw, or, on somebody's
    /// cluster, of Ripcord alone.
    pub(crate) fn audit(&self, namespace: &str) -> Result<Vec<Audited>> {
        let foreign = match &self.form {
            Form::Own(own) => return own.audit(namespace),
            Form::Foreign(foreign) => foreign,
        };
        let mut all = foreign.witness.seen();
        all.retain(|it| it.namespace == namespace);
        Ok(all)
    }

    /// Lets the Rollouts controller stand still.
    pub(crate) fn freeze(&self) -> Result<Frozen<'_>> {
        let own = self.own("stop its Rollouts controller")?;
        own.signal_controller("STOP")?;
        Ok(Frozen { own })
    }

    /// Puts a label on the node, or takes it off.
    pub(crate) async fn label_node(&self, key: &str, value: Option<&str>) -> Result<()> {
        let own = self.own("label its nodes")?;
        own.label_node(&self.admin, key, value).await
    }

    /// What Argo Rollouts' plugin for kubectl says to a person's command; its words are no proof of anything.
    pub(crate) fn plugin(&self, words: &[&str]) -> Result<String> {
        let (content, said) = self.person("kubectl-argo-rollouts", words)?;
        ensure!(content, "{words:?}: {said}");
        Ok(said)
    }

    /// Whether a program of the control plane was content with a person's command, and what it said.
    pub(crate) fn person(&self, program: &str, words: &[&str]) -> Result<(bool, String)> {
        let mut command = Command::new(crate::build::bin().join(program));
        command.args(words).env("KUBECONFIG", self.kubeconfig());
        let output = command.output()?;
        let [said, complaint] =
            [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        Ok((output.status.success(), format!("{said}{complaint}")))
    }

    /// What the processes said last about something; nothing where they are not ours.
    pub(crate) fn tails(&self, about: &str) -> String {
        match &self.form {
            Form::Own(own) => own.tails(about),
            Form::Foreign(_) => String::new(),
        }
    }

    fn own(&self, what: &str) -> Result<&Own> {
        match &self.form {
            Form::Own(own) => Ok(own),
            Form::Foreign(_) => bail!(
                "a scenario wants to {what}, and the cluster is somebody's: it must say so among its needs"
            ),
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Should it have ended, what waits for it says so.
        drop(self.own.signal_controller("CONT"));
    }
}
