//! A cluster with a release that was good, a Slack, and replicas of the service under the shipped policy.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use ripcord::rollback::crd;
use ripcord::sandbox::{Request, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::replica::{Replica, Setup, TOKEN, client, until};
use crate::support::shipped;
use crate::support::slack::{self, FakeSlack, Recorded};

pub(crate) const NAMESPACE: &str = "options-production";
pub(crate) const NAME: &str = "options-api-pinn-fixes";
pub(crate) const TARGET: &str = "options-api";
/// The channel that the shipped policy names.
const CHANNEL: &str = "#pinn-deployment";
/// How long a condition may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// All that a test plays with.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    pub(crate) slack: FakeSlack,
    pub(crate) folder: TempDir,
    pub(crate) users: Client,
    policy: String,
    began: Instant,
}

/// Which state the bad release is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bad {
    /// At the first pause of its steps.
    Canary,
    /// Past all its steps.
    Promoted,
}

// === impl Scene ===

impl Scene {
    /// A good release behind a Service with steady users, and Ripcord's own objects.
    pub(crate) async fn start() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        for crd in [crd::rollbacks(), crd::targets()] {
            sandbox.apply(serde_json::to_value(crd).unwrap()).unwrap();
        }
        let hold = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ripcord-hold", "namespace": "ripcord"}});
        sandbox.apply(hold).unwrap();
        let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
        let good = fixture::rollout(NAMESPACE, NAME, "demo:v1-good", &steps);
        sandbox
            .apply(fixture::service(NAMESPACE, NAME, 8000))
            .unwrap();
        sandbox.apply(good).unwrap();
        let slack = FakeSlack::start().await;
        slack.channel(CHANNEL.trim_start_matches('#'), "C1");
        let shipped = shipped::without_looks();
        let policy = shipped.replace("min_soak: 10m", "min_soak: 1s");
        assert!(policy != shipped && policy.contains(CHANNEL));
        // As soon as the Service has an address.
        let front = until(async || sandbox.front(NAMESPACE, NAME), LIMIT)
            .await
            .unwrap();
        let users = Client::start(format!("http://{front}/price").parse().unwrap(), 20);
        let scene = Self {
            sandbox,
            slack,
            folder: tempfile::tempdir().unwrap(),
            users,
            policy,
            began: Instant::now(),
        };
        scene.rollout_is("Healthy").await;
        scene
    }

    /// Starts a replica whose API server is at `api`, or the sandbox itself.
    pub(crate) async fn replica(&self, name: &str, api: Option<String>) -> Replica {
        let setup = Setup {
            folder: self.folder.path(),
            name,
            kubeconfig: kubeconfig(&api.unwrap_or_else(|| self.sandbox.url())),
            namespace: "ripcord",
            mode: "act",
            policy: &self.policy,
            slack: self.slack.url(),
            slack_token: slack::TOKEN,
            prometheus: None,
            pager: None,
        };
        Replica::start(&setup).await
    }

    /// Waits until the replica of this name leads and is ready.
    pub(crate) async fn leads(&self, replica: &Replica) {
        replica.ready().await;
        let holds = async || (self.leader()? == replica.name).then_some(());
        until(holds, LIMIT).await.expect("it leads");
    }

    /// The name of the replica that holds the lease.
    pub(crate) fn leader(&self) -> Option<String> {
        let lease = self.sandbox.object("leases", "ripcord", "ripcord")?;
        let holder = lease["spec"]["holderIdentity"].as_str()?;
        // What follows the last hyphen is different for each process.
        holder.rsplit_once('-').map(|(name, _)| name.to_owned())
    }

    /// Waits until the good release has been stable for as long as the policy asks.
    pub(crate) async fn soaked(&self) {
        let stable_since = async || {
            let since = self
                .memory()?
                .pointer("/status/history/0/since")?
                .as_str()?
                .parse();
            Some::<Timestamp>(since.unwrap())
        };
        let since = until(stable_since, LIMIT).await.expect("it is remembered");
        let soaked = async || (now().duration_since(since).as_secs() >= 1).then_some(());
        until(soaked, LIMIT).await.expect("time passes");
    }

    /// Deploys a bad release, and waits until it is where it should be and the leader knows it.
    pub(crate) async fn deploy(&self, bad: Bad) {
        self.sandbox
            .deploy(NAMESPACE, NAME, "demo:v2-half500")
            .unwrap();
        self.rollout_is("Paused").await;
        if bad == Bad::Promoted {
            let promote = json!({"status": {"promoteFull": true}});
            self.patch(&format!("{}/status", rollout_path()), &promote)
                .await;
            let promoted = |o: &Value| {
                o["status"]["currentPodHash"] == o["status"]["stableRS"]
                    && o["status"]["phase"] == "Healthy"
            };
            assert!(
                self.sandbox
                    .wait(
                        |view| view
                            .object("rollouts", NAMESPACE, NAME)
                            .is_some_and(promoted),
                        LIMIT
                    )
                    .await
            );
        }
        let live = self.live_hash();
        let stable = if bad == Bad::Promoted { 2 } else { 1 };
        let known = async || {
            let status = &self.memory()?["status"];
            let here =
                status["live"]["hash"] == live && status["history"].as_array()?.len() == stable;
            (here && status["shown"]["live"] == "r2").then_some(())
        };
        until(known, LIMIT).await.expect("the leader knows it");
    }

    /// The hash of the live release.
    pub(crate) fn live_hash(&self) -> String {
        self.rollout()["status"]["currentPodHash"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The lock of the bad release, which is the second.
    pub(crate) fn lock(&self) -> String {
        format!("{NAME}-r2-{}", self.live_hash())
    }

    /// Sends a firing alert to the replicas in turn until one takes it, as Alertmanager does behind a Service.
    pub(crate) async fn alert(&self, urls: &[String]) {
        let body = notification();
        let http = client();
        let mut turn = urls.iter().cycle();
        let taken = async || {
            let sent = http
                .post(turn.next()?)
                .bearer_auth(TOKEN)
                .header("content-type", "application/json");
            let answer = sent.body(body.clone()).send().await;
            answer
                .is_ok_and(|it| it.status().is_success())
                .then_some(())
        };
        until(taken, LIMIT).await.expect("a replica takes it");
    }

    /// A person's merge patch.
    pub(crate) async fn patch(&self, path: &str, body: &Value) {
        let sent = client()
            .patch(format!("{}{path}", self.sandbox.url()))
            .body(body.to_string());
        let sent = sent
            .header("user-agent", "person")
            .header("content-type", "application/merge-patch+json");
        let answer = sent.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub(crate) fn rollout(&self) -> Value {
        self.sandbox.object("rollouts", NAMESPACE, NAME).unwrap()
    }

    pub(crate) fn memory(&self) -> Option<Value> {
        self.sandbox.object("targets", NAMESPACE, TARGET)
    }

    pub(crate) fn rollback(&self, name: &str) -> Option<Value> {
        self.sandbox.object("rollbacks", NAMESPACE, name)
    }

    /// Waits until the workload is in this phase.
    pub(crate) async fn rollout_is(&self, phase: &str) {
        let is = |o: &Value| o["status"]["phase"] == phase;
        let came = self
            .sandbox
            .wait(
                |view| view.object("rollouts", NAMESPACE, NAME).is_some_and(is),
                LIMIT,
            )
            .await;
        assert!(came, "{phase}: {:#}", self.rollout());
    }

    /// Waits until a rollback ended in this phase, its object was let go and Slack was told.
    pub(crate) async fn ended(&self, name: &str, phase: &str) -> Value {
        let free = |o: &Value| {
            o["status"]["phase"] == phase && o.pointer("/metadata/finalizers/0").is_none()
        };
        let free = |view: &ripcord::sandbox::Store| {
            view.object("rollbacks", NAMESPACE, name).is_some_and(free)
        };
        let came = self.sandbox.wait(free, LIMIT).await;
        assert!(
            came,
            "{phase} and let go: {:#}",
            self.rollback(name).unwrap_or_default()
        );
        let told = |o: &Value| told(o).contains(&format!("end/{phase}"));
        let told = |view: &ripcord::sandbox::Store| {
            view.object("rollbacks", NAMESPACE, name).is_some_and(told)
        };
        assert!(
            self.sandbox.wait(told, LIMIT).await,
            "told: {:#?}",
            self.slack.messages()
        );
        self.rollback(name).unwrap()
    }

    /// The requests to the API server for the workload that changed its template.
    pub(crate) fn restores(&self) -> Vec<Request> {
        self.changes(&rollout_path())
            .into_iter()
            .filter(|it| names(&it.body, "/spec/template"))
            .collect()
    }

    /// Ripcord's patches under this path that had an effect.
    pub(crate) fn changes(&self, path: &str) -> Vec<Request> {
        let all = self.sandbox.requests().into_iter();
        all.filter(|it| {
            it.method == "PATCH" && it.path == path && it.status == 200 && it.user_agent != "person"
        })
        .collect()
    }

    /// The messages at the head of a thread, and all others.
    pub(crate) fn messages(&self) -> (Vec<Recorded>, Vec<Recorded>) {
        self.slack
            .messages()
            .into_iter()
            .partition(|it| it.thread_ts.is_none())
    }

    /// For how long it has gone on.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// A kubeconfig for an API server where nobody has to log in.
fn kubeconfig(api: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": api}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    })
    .to_string()
}

/// The time of day, as the replicas read it.
pub(crate) fn now() -> Timestamp {
    ripcord::cluster::clock::system()()
}

pub(crate) fn rollout_path() -> String {
    format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{NAME}")
}

pub(crate) fn rollback_path(name: &str) -> String {
    format!("/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/rollbacks/{name}")
}

/// Whether a JSON patch writes here.
pub(crate) fn names(patch: &Value, path: &str) -> bool {
    let mut operations = patch.as_array().into_iter().flatten();
    operations.any(|it| it["op"] != "test" && it["path"] == path)
}

/// What a rollback says was told of it.
pub(crate) fn told(rollback: &Value) -> Vec<String> {
    let told = rollback
        .pointer("/status/report/slack/told")
        .and_then(Value::as_array);
    told.into_iter()
        .flatten()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect()
}

/// The labels of the alert that the shipped policy acts on.
pub(crate) fn labels() -> Value {
    json!({"alertname": "PinnLatencyP95High", "namespace": NAMESPACE, "rollout": NAME, "severity": "critical"})
}

fn notification() -> String {
    let alert = json!({
        "status": "firing", "labels": labels(), "annotations": {"summary": "P95 412 ms > 260 ms"},
        "startsAt": now().to_string(), "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "9bd61e0bb2b54c7c",
    });
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "receiver": "ripcord", "status": "firing", "alerts": [alert],
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
    })
    .to_string()
}
