//! What a story needs of a cluster, wherever it is played: one workload behind a Service with steady users, the
//! controller, people, Ripcord and Slack. It judges nothing.

use std::time::Duration;

use jiff::Timestamp;
use ripcord::cli::demo::client::Client;
use serde_json::{Value, json};

use crate::support::slack::FakeSlack;
use crate::support::wait::until;

/// The workload and the target of the shipped policy.
pub(crate) const NAME: &str = "options-api-pinn-fixes";
pub(crate) const TARGET: &str = "options-api";
/// How long a condition may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// The releases, by what their pods do.
pub(crate) const GOOD: &str = "demo:v1-good";
pub(crate) const BAD: &str = "demo:v2-half500";

/// A canary that stops twice until a person promotes it.
pub(crate) fn pausing() -> Value {
    json!({ "canary": {
        "steps": [{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 50 }, { "pause": {} }],
    } })
}

/// The one container of the demo application.
pub(crate) fn containers(image: &str) -> Value {
    json!([{ "name": "app", "image": image, "ports": [{ "name": "http", "containerPort": 8000 }] }])
}

/// The time of day, as the replicas read it.
pub(crate) fn now() -> Timestamp {
    ripcord::cluster::clock::system()()
}

/// One of Ripcord's changes of the workload.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The subresource; empty for the spec.
    pub(crate) part: String,
    pub(crate) body: Value,
}

/// A cluster with one workload's part of it.
pub(crate) trait Ground: Sized {
    /// A replica of Ripcord.
    type Replica;
    /// The Rollouts controller stands still until this is dropped.
    type Asleep;

    /// Nothing but what Ripcord expects of a cluster. The name is for tables of times.
    async fn start(name: &'static str) -> Self;
    /// The workload's namespace.
    fn namespace(&self) -> &str;
    /// Ripcord's own.
    fn home(&self) -> &str;
    /// Puts this into the policy in place of what the shipped one says.
    fn policy_says(&mut self, shipped: &str, instead: &str);
    /// What the API server has at a path, for somebody who may see everything.
    async fn get(&self, path: &str) -> Option<Value>;
    /// Creates an object.
    async fn create(&self, object: &Value);
    /// A person's merge patch.
    async fn patch(&self, path: &str, patch: &Value);
    /// A Service over all pods of the workload, as its owner writes it; the address that its users call.
    async fn opens(&self) -> String;
    /// How often the users ask, in a second.
    fn rate(&self) -> u32;
    fn users(&self) -> &Client;
    /// From now on these are the users.
    fn users_are(&mut self, users: Client);
    /// The image of the release that is good.
    fn good_image(&self) -> &'static str;
    /// Says which release is good, where it is another than usual.
    fn good_is(&mut self, image: &'static str);
    /// What a person's plugin of Argo Rollouts says to a command. Its words are no proof of anything.
    async fn argo(&self, words: &[&str]) -> String;
    fn controller_sleeps(&self) -> Self::Asleep;
    /// Starts a replica of Ripcord under this name, and waits until it is ready.
    async fn replica(&self, name: &str) -> Self::Replica;
    /// Sends a notification, and says how it was answered.
    async fn post(&self, replica: &Self::Replica, body: String) -> u16;
    fn slack(&self) -> &FakeSlack;
    /// Ripcord's changes of the workload that had an effect, oldest first.
    fn changes(&self) -> Vec<Change>;
    /// How often Ripcord touched the workload only to make the controller look.
    fn nudges(&self) -> usize;
    /// What Ripcord was refused for want of a right.
    fn forbidden(&self) -> Vec<String>;
    /// Notes how long it took.
    fn times(&self, posted: Timestamp, rollback: &Value);
    /// A rollback has ended. Where times are noted, they are by the end of the story.
    fn has_ended(&self, _rollback: &Value) {}

    /// The Service that takes the traffic.
    fn front(&self) -> &str {
        NAME
    }

    fn rollout_path(&self) -> String {
        let namespace = self.namespace();
        format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/{NAME}")
    }

    async fn rollout(&self) -> Value {
        self.get(&self.rollout_path()).await.expect("a workload")
    }

    /// A rollback, if there is one of this name.
    async fn rollback(&self, name: &str) -> Option<Value> {
        let namespace = self.namespace();
        let all = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/rollbacks");
        self.get(&format!("{all}/{name}")).await
    }

    async fn memory(&self) -> Option<Value> {
        let namespace = self.namespace();
        let all = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/targets");
        self.get(&format!("{all}/{TARGET}")).await
    }

    /// Starts a replica, and waits until it leads.
    async fn ripcord(&self) -> Self::Replica {
        let replica = self.replica("ripcord").await;
        let lease = self.lease();
        let leads = async || {
            let holder = self.get(&lease).await?["spec"]["holderIdentity"].clone();
            holder.as_str()?.starts_with("ripcord").then_some(())
        };
        until(leads, LIMIT).await.expect("it leads");
        replica
    }

    /// Gives the lease to somebody who never does anything.
    async fn nobody_leads(&self) {
        self.create(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "ripcord", "namespace": self.home() },
            "spec": { "holderIdentity": "nobody", "leaseDurationSeconds": 3600, "leaseTransitions": 0 },
        }))
        .await;
    }

    /// Takes the lease away from whoever has it.
    async fn somebody_may_lead(&self) {
        self.patch(&self.lease(), &json!({ "spec": { "holderIdentity": "" } }))
            .await;
    }

    /// Where it stands who leads.
    fn lease(&self) -> String {
        let home = self.home();
        format!("/apis/coordination.k8s.io/v1/namespaces/{home}/leases/ripcord")
    }

    /// One firing alert, and when it began.
    fn notification(&self, began: Timestamp) -> String {
        self.notification_of("firing", began, "0001-01-01T00:00:00Z")
    }

    /// The end of that alert.
    fn resolution(&self, began: Timestamp) -> String {
        self.notification_of("resolved", began, &now().to_string())
    }

    fn notification_of(&self, status: &str, began: Timestamp, ended: &str) -> String {
        let labels = json!({
            "alertname": "PinnLatencyP95High", "namespace": self.namespace(), "rollout": NAME, "severity": "critical",
        });
        let alert = json!({
            "status": status, "labels": labels, "annotations": {"summary": "P95 412 ms > 260 ms"},
            "startsAt": began.to_string(), "endsAt": ended, "generatorURL": "", "fingerprint": "9bd61e0bb2b54c7c",
        });
        json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "receiver": "ripcord", "status": status,
            "alerts": [alert], "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        })
        .to_string()
    }

    /// Sends a firing alert, again after a 503 as Alertmanager does, and says when first.
    async fn alert(&self, replica: &Self::Replica) -> Timestamp {
        let posted = now();
        let taken = async || {
            let answer = self.post(replica, self.notification(posted)).await;
            (answer != 503).then_some(answer)
        };
        assert_eq!(until(taken, LIMIT).await, Some(200));
        posted
    }
}
