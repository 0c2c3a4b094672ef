//! What the demo is played with: a release on a cluster, the real service before it, and a client of the release.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Client;
use super::fixture;
use super::ground::Ground;
use crate::alert::{Alert, Labels, Status};
use crate::cli::service::{Parts, Service};
use crate::cluster::{Clock, clock};
use crate::config::{Settings, Source, read_policy};
use crate::policy::Policy;
use crate::rollback::Rollback;

/// The namespace of the release.
pub(super) const NAMESPACE: &str = "options-production";
/// Ripcord's own namespace.
pub(super) const OWN: &str = "ripcord";
/// The Rollout.
pub(super) const ROLLOUT: &str = "options-api-pinn-fixes";
/// Requests a second that the client sends.
pub(super) const RATE: u32 = 100;
/// How long anything may take before the demo fails.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// How often the cluster is looked at while something is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// How long nothing may happen before the controller is made to look again.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What the demo writes to make it look; it changes nothing that anybody asks for.
const TOUCHED: &str = "ripcord.dev/demo-touched";
/// Why a release may not come up on somebody's cluster.
const PODS: &str = "its pods run an image that only demo clusters have: `bash tests/cluster/up` starts one, and the demo is \
     run where its Services can be reached";

/// The demo's stage.
pub(super) struct Stage {
    pub(super) ground: Arc<Ground>,
    pub(super) service: Service,
    pub(super) policy: Policy,
    pub(super) client: Client,
    pub(super) clock: Clock,
    http: reqwest::Client,
}

impl Stage {
    /// Starts the service, and releases a good version.
    pub(super) async fn set(ground: Arc<Ground>, listen: SocketAddr) -> anyhow::Result<Self> {
        ground.furnish().await?;
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
        settings.engine.namespace = Some(OWN.to_owned());
        let parts = Parts {
            settings,
            policy: policy.clone(),
            policy_path: None,
            cluster: ground.cluster.clone(),
            clock: Arc::clone(&clock),
        };
        let service = Service::start(parts)?;
        let front = release_good(&ground).await?;
        let client = Client::start(format!("http://{front}/").parse()?, RATE);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .build()?;
        let stage = Self {
            ground,
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
        stage
            .until("the release answers", |stage| stage.client.tally().good > 0)
            .await
            .context(PODS)?;
        Ok(stage)
    }

    /// Changes the image, as a pipeline does, and waits until the canary stands at its first pause.
    pub(super) async fn deploy(&self, image: &str) -> anyhow::Result<()> {
        let path = "/spec/template/spec/containers/0/image";
        let patch = json!([{"op": "replace", "path": path, "value": image}]);
        let media = "application/json-patch+json";
        self.ground.patch(&rollout_path(), media, &patch).await?;
        self.until_rollout("the canary stands at its first pause", is_paused)
            .await
    }

    /// Sends a status request, as the plugin's `abort` and `promote --full` do.
    pub(super) async fn request(&self, status: Value) -> anyhow::Result<()> {
        let path = format!("{}/status", rollout_path());
        let patch = json!({"status": status});
        let media = "application/merge-patch+json";
        self.ground.patch(&path, media, &patch).await
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
    pub(super) async fn rollout(&self) -> anyhow::Result<Value> {
        self.ground.get(&rollout_path()).await
    }

    /// Makes the controller look at the Rollout.
    pub(super) async fn touch(&self) -> anyhow::Result<()> {
        touch(&self.ground).await
    }

    /// Waits until the Rollout satisfies a condition.
    pub(super) async fn until_rollout(
        &self,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        until_rollout(&self.ground, what, holds).await
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
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
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
    }
}

/// Version 0.9.0 goes out, and is good; where its Service is.
async fn release_good(ground: &Ground) -> anyhow::Result<SocketAddr> {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut service = fixture::service(NAMESPACE, "options-api", 8000);
    service["spec"]["selector"] = json!({"app": ROLLOUT});
    let services = format!("/api/v1/namespaces/{NAMESPACE}/services");
    ground.create(&services, &service).await?;
    let rollout = fixture::rollout(NAMESPACE, ROLLOUT, "options-optimizer:v0.9.0", &steps);
    let rollouts = format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts");
    ground.create(&rollouts, &rollout).await?;
    until_rollout(ground, "the good release is healthy", |rollout| {
        phase(rollout) == "Healthy"
    })
    .await
    .context(PODS)?;
    ground.front("options-api").await
}

/// What the controller says of an older generation does not count.
///
/// A change that comes within an instant of the controller's own write can be missed by it until the object changes once
/// more (Argo Rollouts 1.9.1 puts what it wrote over what it has heard of since), so that it is touched where nothing happens.
async fn until_rollout(
    ground: &Ground,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let path = rollout_path();
    let wait = async {
        let mut touched = Instant::now();
        loop {
            let rollout = ground.get(&path).await?;
            if is_observed(&rollout) && holds(&rollout) {
                return anyhow::Ok(());
            }
            if touched.elapsed() >= PATIENCE {
                touch(ground).await?;
                touched = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let met = tokio::time::timeout(LIMIT, wait).await;
    met.with_context(|| format!("{what}: not within {LIMIT:?}"))?
}

/// Changes the Rollout in a way that only makes its controller look at it.
async fn touch(ground: &Ground) -> anyhow::Result<()> {
    // Whatever was there, a time is something else.
    let now = clock::system()().to_string();
    let patch = json!({ "metadata": { "annotations": { TOUCHED: now } } });
    let media = "application/merge-patch+json";
    ground.patch(&rollout_path(), media, &patch).await
}

/// Whether the controller has seen the latest spec.
fn is_observed(rollout: &Value) -> bool {
    let observed = rollout.pointer("/status/observedGeneration");
    let observed = observed.and_then(Value::as_str);
    observed == Some(&rollout["metadata"]["generation"].to_string())
}

/// Whether it is paused, and the controller has written all that it writes about that: Argo Rollouts notes the condition
/// in a write of its own, and may lose a request that comes before it. The simulated controller has none.
fn is_paused(rollout: &Value) -> bool {
    let conditions = rollout.pointer("/status/conditions");
    let noted = conditions.and_then(Value::as_array).is_none_or(|all| {
        let mut all = all.iter();
        all.any(|it| it["type"] == "Paused" && it["status"] == "True")
    });
    noted && phase(rollout) == "Paused"
}

fn rollout_path() -> String {
    format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{ROLLOUT}")
}

/// The phase of a Rollout.
pub(super) fn phase(rollout: &Value) -> &str {
    let phase = rollout.pointer("/status/phase").and_then(Value::as_str);
    phase.unwrap_or_default()
}
