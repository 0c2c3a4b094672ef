//! One scenario's part of the cluster: namespaces of its own, a release behind a Service with steady users, a Slack, and
//! replicas of the service with the rights that `deploy/` gives them.

mod judge;
mod mishap;
mod monitoring;
pub(crate) mod release;

use std::time::Duration;

use jiff::Timestamp;
use ripcord::cli::demo::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::plane::{Namespaces, Plane, Turn};
use crate::support::replica::{Replica, Setup, TOKEN, client, until};
use crate::support::slack::{self, FakeSlack};

/// The workload and the target of the shipped policy.
pub(crate) const NAME: &str = "options-api-pinn-fixes";
pub(crate) const TARGET: &str = "options-api";
const CHANNEL: &str = "#pinn-deployment";
/// How long a condition may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// All that a scenario plays with.
pub(crate) struct Scene {
    pub(crate) plane: &'static Plane,
    pub(crate) namespaces: Namespaces,
    pub(crate) slack: FakeSlack,
    pub(crate) users: Option<Client>,
    /// The Service that takes the traffic.
    pub(crate) front: String,
    /// The image of the release that is good.
    pub(crate) good: &'static str,
    pub(crate) name: &'static str,
    pub(crate) folder: TempDir,
    /// Whether the replicas may do anything: `act` or `shadow`.
    pub(crate) mode: &'static str,
    pub(crate) policy: String,
    _turn: Turn<'static>,
}

// === impl Scene ===

impl Scene {
    /// Fresh namespaces, and nothing in them.
    pub(crate) async fn start(name: &'static str) -> Self {
        let turn = crate::plane().shared().await;
        Self::begin(name, turn).await
    }

    /// The same with nobody else in the cluster, for a scenario that stops the Rollouts controller.
    pub(crate) async fn alone(name: &'static str) -> Self {
        let turn = crate::plane().alone().await;
        Self::begin(name, turn).await
    }

    async fn begin(name: &'static str, turn: Turn<'static>) -> Self {
        let plane = crate::plane();
        let namespaces = plane.release_namespace().await.unwrap();
        let slack = FakeSlack::start().await;
        slack.channel(CHANNEL.trim_start_matches('#'), "C1");
        slack.channel("releases", "C2");
        let shipped = include_str!("../../config/rollbacks.yaml");
        let policy = shipped.replace("min_soak: 10m", "min_soak: 1s");
        assert!(policy != shipped && policy.contains(CHANNEL));
        let policy = policy.replace("options-production", &namespaces.release);
        let folder = tempfile::tempdir_in(plane.folder()).unwrap();
        Self {
            plane,
            namespaces,
            slack,
            users: None,
            front: NAME.to_owned(),
            good: release::GOOD,
            name,
            folder,
            mode: "act",
            policy,
            _turn: turn,
        }
    }

    /// Lets the policy give up after this time.
    pub(crate) fn gives_up_after(&mut self, time: &str) {
        self.policy_says("give_up: 15m", &format!("give_up: {time}"));
    }

    /// Puts this into the policy in place of what the shipped one says.
    pub(crate) fn policy_says(&mut self, shipped: &str, instead: &str) {
        let policy = self.policy.replacen(shipped, instead, 1);
        assert!(policy != self.policy, "{policy}");
        self.policy = policy;
    }

    /// Adds a line to what the policy says of the target.
    pub(crate) fn target_has(&mut self, line: &str) {
        let channel = format!("    channel: \"{CHANNEL}\"\n");
        self.policy_says(&channel, &format!("{channel}    {line}\n"));
    }

    /// Starts a replica, and waits until it leads.
    pub(crate) async fn ripcord(&self) -> Replica {
        let replica = self.replica("ripcord").await;
        let namespace = &self.namespaces.ripcord;
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ripcord");
        let leads = async || {
            let lease = self.plane.admin.get(&lease).await?;
            lease["spec"]["holderIdentity"]
                .as_str()?
                .starts_with("ripcord-")
                .then_some(())
        };
        until(leads, LIMIT).await.expect("it leads");
        replica
    }

    /// Starts a replica with the token of its `ServiceAccount`, and waits until it is ready.
    pub(crate) async fn replica(&self, name: &str) -> Replica {
        let namespace = &self.namespaces.ripcord;
        let kubeconfig = self
            .plane
            .service_account_kubeconfig(namespace, "ripcord")
            .await
            .unwrap();
        let setup = Setup {
            folder: self.folder.path(),
            name,
            kubeconfig,
            namespace,
            mode: self.mode,
            policy: &self.policy,
            slack: self.slack.url(),
            slack_token: slack::TOKEN,
        };
        let replica = Replica::start(&setup).await;
        replica.ready().await;
        replica
    }

    /// Waits until the leader has known the release that is live now as good for as long as the policy asks.
    pub(crate) async fn soaked(&self) {
        let hash = self.rollout().await["status"]["stableRS"].clone();
        let since = async || {
            let memory = self.memory().await?;
            let newest = memory["status"]["history"].as_array()?.last()?;
            let since: Timestamp = newest["since"].as_str()?.parse().ok()?;
            (newest["hash"] == hash).then_some(since)
        };
        let since = until(since, LIMIT).await.expect("it is remembered");
        let soaked = async || (now().duration_since(since).as_secs() >= 1).then_some(());
        until(soaked, LIMIT).await.expect("time passes");
    }

    /// Sends a firing alert, and says when.
    pub(crate) async fn alert(&self, replica: &Replica) -> Timestamp {
        let posted = now();
        let body = self.notification(posted);
        let answer = self.post(replica, body).await;
        assert_eq!(answer, 200);
        posted
    }

    /// Sends a notification, and says how it was answered.
    pub(crate) async fn post(&self, replica: &Replica, body: String) -> u16 {
        let request = client()
            .post(replica.url())
            .bearer_auth(TOKEN)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Waits until a rollback ended in this phase and Slack was told.
    pub(crate) async fn ended(&self, name: &str, phase: &str) -> Value {
        let mut seen = Value::Null;
        let ended = async || {
            seen = self.rollback(name).await?;
            let slack = seen.pointer("/status/report/slack")?;
            let told = slack["told"].as_array();
            let told = told.is_some_and(|all| all.iter().any(|it| *it == format!("end/{phase}")));
            // A refusal is one message without a thread.
            let told = told || (phase == "Declined" && slack["ts"].is_string());
            (told
                && seen["status"]["phase"] == phase
                && seen.pointer("/metadata/finalizers/0").is_none())
            .then_some(())
        };
        let ended = until(ended, LIMIT).await;
        assert!(ended.is_some(), "{phase}, told and let go: {seen:#}");
        seen
    }

    /// Waits until this holds of the status of a workload whose controller has looked at its latest change.
    pub(crate) async fn status_is(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let holds = async || {
            let rollout = self.plane.admin.get(&self.rollout_path()).await?;
            let observed = rollout["status"]["observedGeneration"].as_str()?;
            let observed: i64 = observed.parse().ok()?;
            let current = rollout["metadata"]["generation"] == observed;
            (current && is(&rollout["status"])).then_some(())
        };
        let held = until(holds, LIMIT).await;
        assert!(held.is_some(), "{what}: {:#}", self.rollout().await);
    }

    /// Waits until the workload is in this phase.
    pub(crate) async fn rollout_is(&self, phase: &str) {
        let mut seen = Value::Null;
        let is = async || {
            seen = self.plane.admin.get(&self.rollout_path()).await?;
            // What is said of an earlier generation says nothing.
            let observed: i64 = seen["status"]["observedGeneration"]
                .as_str()?
                .parse()
                .ok()?;
            let current = seen["metadata"]["generation"] == observed;
            // The controller notes a pause in a write of its own.
            let conditions = seen["status"]["conditions"].as_array()?;
            let noted = phase != "Paused"
                || conditions
                    .iter()
                    .any(|it| it["type"] == "Paused" && it["status"] == "True");
            (current && noted && seen["status"]["phase"] == phase).then_some(())
        };
        let came = until(is, LIMIT).await;
        assert!(came.is_some(), "{phase}: {seen:#}");
    }

    /// Waits until the users' latest answers are all good.
    pub(crate) async fn users_are_served(&self) {
        let served = async || {
            let tally = self.users.as_ref()?.tally();
            (tally.recent.len() > 20 && tally.recent.iter().all(|good| *good)).then_some(())
        };
        let served = until(served, LIMIT).await;
        assert!(
            served.is_some(),
            "{:?}",
            self.users.as_ref().map(Client::tally)
        );
    }

    pub(crate) async fn rollout(&self) -> Value {
        self.plane.admin.get(&self.rollout_path()).await.unwrap()
    }

    /// A rollback, if there is one of this name.
    pub(crate) async fn rollback(&self, name: &str) -> Option<Value> {
        let namespace = &self.namespaces.release;
        self.plane
            .admin
            .get(&format!(
                "/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/rollbacks/{name}"
            ))
            .await
    }

    pub(crate) async fn memory(&self) -> Option<Value> {
        let namespace = &self.namespaces.release;
        self.plane
            .admin
            .get(&format!(
                "/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/targets/{TARGET}"
            ))
            .await
    }

    pub(crate) fn rollout_path(&self) -> String {
        format!(
            "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts/{NAME}",
            self.namespaces.release
        )
    }

    /// One firing alert, and when it began.
    pub(crate) fn notification(&self, began: Timestamp) -> String {
        let labels = json!({
            "alertname": "PinnLatencyP95High", "namespace": self.namespaces.release, "rollout": NAME, "severity": "critical",
        });
        let alert = json!({
            "status": "firing", "labels": labels, "annotations": {"summary": "P95 412 ms > 260 ms"},
            "startsAt": began.to_string(), "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "9bd61e0bb2b54c7c",
        });
        json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "receiver": "ripcord", "status": "firing",
            "alerts": [alert], "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        })
        .to_string()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.plane.tails(&self.namespaces.release));
            eprintln!("Ripcord's writes to the workload: {:#?}", self.mutations());
        }
    }
}

/// The time of day, as the replicas read it.
pub(crate) fn now() -> Timestamp {
    ripcord::cluster::clock::system()()
}
