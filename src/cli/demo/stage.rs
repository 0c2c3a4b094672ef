//! What the demo is played on: the simulated cluster, the real service before it, and a client of the release.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::client::Client;
use super::fixture;
use crate::alert::{Alert, Labels, Status};
use crate::cli::service::{Parts, Service};
use crate::cluster::{Clock, Cluster, clock};
use crate::config::{Settings, Source, read_policy};
use crate::policy::Policy;
use crate::rollback::{Rollback, crd};
use crate::sandbox::Sandbox;

/// The namespace of the release.
pub(super) const NAMESPACE: &str = "options-production";
/// The Rollout.
pub(super) const ROLLOUT: &str = "options-api-pinn-fixes";
/// Requests a second that the client sends.
pub(super) const RATE: u32 = 100;
/// How long anything may take before the demo fails.
const LIMIT: Duration = Duration::from_secs(30);

/// The demo's stage.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    pub(super) service: Service,
    pub(super) policy: Policy,
    pub(super) client: Client,
    pub(super) clock: Clock,
    http: reqwest::Client,
}

impl Stage {
    /// Builds the cluster, starts the service, and releases a good version.
    pub(super) async fn set(listen: SocketAddr) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start().await?;
        for definition in [crd::rollbacks(), crd::targets()] {
            sandbox.apply(serde_json::to_value(definition)?)?;
        }
        sandbox.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ripcord-hold", "namespace": "ripcord"}}))?;
        let source = Source {
            path: "the demo's policy".to_owned(),
            text: include_str!("policy.yaml").to_owned(),
        };
        let read = read_policy([source]).into_loaded();
        let policy = read
            .map_err(|faults| {
                anyhow::anyhow!(
                    "{}",
                    faults
                        .iter()
                        .map(crate::config::diagnostic::Diagnostic::one_line)
                        .collect::<String>()
                )
            })?
            .policy;
        let clock = clock::system();
        let mut settings = Settings::default();
        settings.intake.listen = listen;
        settings.intake.drain_delay = Duration::ZERO;
        settings.engine.namespace = Some("ripcord".to_owned());
        let kubeconfig = Kubeconfig::from_yaml(&sandbox.kubeconfig())?;
        let cluster = Cluster::connect_by(kubeconfig, settings.cluster.request_timeout).await?;
        let parts = Parts {
            settings,
            policy: policy.clone(),
            policy_path: None,
            cluster,
            clock: Arc::clone(&clock),
        };
        let service = Service::start(parts)?;
        let front = Self::release_good(&sandbox).await?;
        let client = Client::start(format!("http://{front}/").parse()?, RATE);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()?;
        let stage = Self {
            sandbox,
            service,
            policy,
            client,
            clock,
            http,
        };
        stage
            .until("the service is ready", |stage| {
                stage.service.caches.ready().is_ok()
            })
            .await?;
        Ok(stage)
    }

    /// Version 0.9.0 goes out, and is good.
    async fn release_good(sandbox: &Sandbox) -> anyhow::Result<SocketAddr> {
        let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
        let mut service = fixture::service(NAMESPACE, "options-api", 8000);
        service["spec"]["selector"] = json!({"app": ROLLOUT});
        sandbox.apply(service)?;
        sandbox.apply(fixture::rollout(
            NAMESPACE,
            ROLLOUT,
            "options-optimizer:v0.9.0",
            &steps,
        ))?;
        if !sandbox
            .wait(
                |view| phase(view.object("rollouts", NAMESPACE, ROLLOUT)) == "Healthy",
                LIMIT,
            )
            .await
        {
            bail!("the good release did not get healthy");
        }
        sandbox
            .front(NAMESPACE, "options-api")
            .context("the Service has no address")
    }

    /// Changes the image, as a pipeline does, and waits until the canary stands at its first pause.
    pub(super) async fn deploy(&self, image: &str) -> anyhow::Result<()> {
        self.sandbox.deploy(NAMESPACE, ROLLOUT, image)?;
        self.until_rollout("the canary stands at its first pause", |rollout| {
            phase(Some(rollout)) == "Paused"
        })
        .await
    }

    /// Sends a status request, as the plugin's `abort` and `promote --full` do.
    pub(super) async fn request(&self, status: Value) -> anyhow::Result<()> {
        let path =
            format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{ROLLOUT}/status");
        let request = self.http.patch(format!("{}{path}", self.sandbox.url()));
        let request = request
            .header("content-type", "application/merge-patch+json")
            .header("user-agent", "kubectl-argo-rollouts");
        let answer = request
            .body(json!({"status": status}).to_string())
            .send()
            .await?;
        anyhow::ensure!(
            answer.status().is_success(),
            "the request was answered {}",
            answer.status()
        );
        Ok(())
    }

    /// Posts alerts as Alertmanager writes them; returns the answer.
    pub(super) async fn post(&self, alerts: &[Alert]) -> anyhow::Result<Value> {
        let body = json!({"version": "4", "groupKey": "{}:{}", "receiver": "ripcord", "status": "firing", "alerts": alerts});
        let url = format!("http://{}/api/v1/alerts", self.service.addr);
        let answer = self.http.post(url).json(&body).send().await?;
        anyhow::ensure!(
            answer.status().is_success(),
            "the notification was answered {}",
            answer.status()
        );
        Ok(answer.json().await?)
    }

    /// An alert of the release's namespace.
    pub(super) fn alert(&self, name: &str, summary: &str) -> Alert {
        let pairs = [
            ("alertname", name),
            ("namespace", NAMESPACE),
            ("rollout", ROLLOUT),
            ("severity", "critical"),
        ];
        let labels: Labels = pairs
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Alert {
            status: Status::Firing,
            fingerprint: labels.fingerprint(),
            labels,
            annotations: [("summary".to_owned(), summary.to_owned())].into(),
            starts_at: (self.clock)(),
            ends_at: None,
            generator_url: String::new(),
        }
    }

    /// The Rollout as it is.
    pub(super) fn rollout(&self) -> Value {
        self.sandbox
            .object("rollouts", NAMESPACE, ROLLOUT)
            .unwrap_or_default()
    }

    /// Waits until the Rollout satisfies a condition.
    pub(super) async fn until_rollout(
        &self,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let met = self
            .sandbox
            .wait(
                |view| {
                    view.object("rollouts", NAMESPACE, ROLLOUT)
                        .is_some_and(&holds)
                },
                LIMIT,
            )
            .await;
        anyhow::ensure!(met, "{what}: not within {LIMIT:?}");
        Ok(())
    }

    /// Waits until something is so.
    pub(super) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let mut changes = self.service.caches.changes();
        let wait = async {
            while !holds(self) {
                // Not everything that is waited for is told by a watch.
                let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
            }
        };
        let met = tokio::time::timeout(LIMIT, wait).await;
        met.with_context(|| format!("{what}: not within {LIMIT:?}"))
    }

    /// A rollback as it is.
    pub(super) fn rollback(&self, name: &str) -> Option<Arc<Rollback>> {
        self.service.caches.rollbacks.get(NAMESPACE, name)
    }

    /// Now.
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Takes everything down.
    pub(super) async fn strike(self) {
        self.client.stop().await;
        self.service.stop().await;
        self.sandbox.stop().await;
    }
}

/// The phase of a Rollout.
pub(super) fn phase(rollout: Option<&Value>) -> &str {
    rollout
        .and_then(|rollout| rollout.pointer("/status/phase"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
