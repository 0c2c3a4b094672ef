//! One scenario's part of the cluster: namespaces of its own, a release behind a Service with steady users, a Slack, and
//! replicas of the service with the rights that `deploy/` gives them.

pub(crate) mod blue_green;
pub(crate) mod cache;
pub(crate) mod complete;
mod gate;
mod ground;
mod judge;
mod mishap;
pub(crate) mod monitoring;
pub(crate) mod release;
pub(crate) mod router;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ripcord::cli::demo::client::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::plane::witness::Witness;
use crate::plane::{Namespaces, Plane};
use crate::support::replica::{Replica, Setup, TOKEN, client};
use crate::support::shipped;
use crate::support::slack::{self, FakeSlack};
use crate::support::story::ground::Ground as _;

pub(crate) use crate::support::story::ground::{LIMIT, NAME, now};

const CHANNEL: &str = "#pinn-deployment";

/// All that a scenario plays with.
pub(crate) struct Scene {
    pub(crate) plane: &'static Plane,
    pub(crate) namespaces: Namespaces,
    pub(crate) slack: FakeSlack,
    pub(crate) users: Option<Client>,
    /// The Service that takes the traffic.
    pub(crate) front: String,
    /// How often the users ask, in a second.
    pub(crate) rate: u32,
    /// The image of the release that is good.
    pub(crate) good: &'static str,
    pub(crate) name: &'static str,
    pub(crate) folder: TempDir,
    /// Stands between the replicas and the API server, where a scenario wants one.
    pub(crate) witness: Option<Witness>,
    /// Where the replicas find Prometheus.
    pub(crate) prometheus: Option<String>,
    /// Where the replicas find PagerDuty.
    pub(crate) pager: Option<String>,
    /// Whether the replicas may do anything: `act` or `shadow`.
    pub(crate) mode: &'static str,
    pub(crate) policy: String,
    /// The last rollback that ended, while nobody has noted its times.
    ended: Mutex<Option<Value>>,
}

// === impl Scene ===

impl Scene {
    /// Fresh namespaces, and nothing in them.
    pub(crate) async fn start(name: &'static str) -> Self {
        let plane = crate::plane();
        let namespaces = plane.release_namespace().await.unwrap();
        let slack = FakeSlack::start().await;
        slack.channel(CHANNEL.trim_start_matches('#'), "C1");
        slack.channel("releases", "C2");
        let shipped = shipped::without_looks();
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
            rate: release::RATE,
            good: release::GOOD,
            name,
            folder,
            witness: None,
            prometheus: None,
            pager: None,
            mode: "act",
            policy,
            ended: Mutex::default(),
        }
    }

    /// The rollback whose times are still to be noted.
    fn unnoted(&self) -> MutexGuard<'_, Option<Value>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Starts a replica with the token of its `ServiceAccount`, and waits until it is ready.
    pub(crate) async fn replica(&self, name: &str) -> Replica {
        let namespace = &self.namespaces.ripcord;
        let (plane, account) = (self.plane, "ripcord");
        let kubeconfig = match &self.witness {
            Some(witness) => {
                plane
                    .witnessed_kubeconfig(witness, namespace, account)
                    .await
            }
            None => plane.service_account_kubeconfig(namespace, account).await,
        };
        let setup = Setup {
            folder: self.folder.path(),
            name,
            kubeconfig: kubeconfig.unwrap(),
            namespace,
            mode: self.mode,
            policy: &self.policy,
            slack: self.slack.url(),
            slack_token: slack::TOKEN,
            prometheus: self.prometheus.clone(),
            pager: self.pager.clone(),
        };
        let replica = Replica::start(&setup).await;
        replica.ready().await;
        replica
    }

    /// Sends a notification, and says how it was answered.
    pub(crate) async fn answer(&self, replica: &Replica, body: String) -> (u16, Value) {
        let request = client()
            .post(replica.url())
            .bearer_auth(TOKEN)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.plane.tails(&self.namespaces.release));
            eprintln!("Ripcord's writes to the workload: {:#?}", self.mutations());
        }
        let unnoted = self.unnoted().take();
        if let Some(rollback) = unnoted.filter(|_| !std::thread::panicking()) {
            // A person's request was received by nobody.
            let began = [
                &rollback["spec"]["received"],
                &rollback["metadata"]["creationTimestamp"],
            ];
            let began = began.iter().find_map(|at| at.as_str());
            self.times(began.unwrap().parse().unwrap(), &rollback);
        }
        self.plane.give_back(&self.namespaces);
    }
}
