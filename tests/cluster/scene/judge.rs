//! What became of a scenario, as the API, the ready endpoints, the users and the audit log see it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{LIMIT, NAME, Scene};
use crate::plane::audit::Audited;
use crate::plane::witness::Witness;
use crate::support::replica::{Replica, until};
use crate::times::Times;

impl Scene {
    /// Sends the alert, and sees the second release pulled back for it; its rollback.
    pub(crate) async fn is_pulled_back(&self, ripcord: &Replica, bad: &str) -> Value {
        let posted = self.alert(ripcord).await;
        let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
        self.is_mended().await;
        self.times(posted, &rollback);
        rollback
    }

    /// What must be true at the end: the good release is live, stable and alone, after one change of the template.
    pub(crate) async fn is_mended(&self) {
        self.is_mended_by(1).await;
    }

    /// The same after so many rollbacks.
    pub(crate) async fn is_mended_by(&self, rollbacks: usize) {
        self.rollout_is("Healthy").await;
        self.users_are_served().await;
        let rollout = self.rollout().await;
        assert_eq!(
            rollout
                .pointer("/spec/template/spec/containers/0/image")
                .unwrap(),
            self.good
        );
        assert_eq!(
            rollout["status"]["currentPodHash"],
            rollout["status"]["stableRS"]
        );
        assert_eq!(self.served_by().await, [self.good; 4]);
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
        assert!(
            refused.is_empty(),
            "`deploy/` grants all that is asked for: {refused:#?}"
        );
        let mut mutations = self.mutations();
        mutations.retain(|it| it.subresource.is_empty());
        assert_eq!(
            mutations.len(),
            rollbacks,
            "the template is restored once: {mutations:#?}"
        );
    }

    /// The replica set of the good release was used again under a new revision, and none was made.
    pub(crate) async fn serves_again(&self, rollback: &Value, good: &str, revisions: [&str; 2]) {
        assert_eq!(rollback["status"]["plan"]["to"]["hash"], good);
        assert_eq!(self.live().await, good, "no new replica set");
        let annotations = self.replica_set(good).await["metadata"]["annotations"].clone();
        let [before, now] = ["revision-history", "revision"]
            .map(|it| annotations[format!("rollout.argoproj.io/{it}")].clone());
        assert_eq!([before, now], revisions);
    }

    pub(crate) async fn replica_set(&self, hash: &str) -> Value {
        let namespace = &self.namespaces.release;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets/{NAME}-{hash}");
        self.plane.admin.get(&path).await.expect("a replica set")
    }

    /// Waits until Ripcord has changed the workload.
    pub(crate) async fn is_restored(&self) {
        let restored = async || self.mutations().first().cloned();
        until(restored, LIMIT)
            .await
            .expect("the template is restored");
    }

    /// What must be true where a person is needed: nothing was touched, and a person was told.
    pub(crate) fn is_let_be(&self, rollback: &Value, reason: &str) {
        assert_eq!(
            rollback["status"]["reason"]["reason"], reason,
            "{rollback:#}"
        );
        let mutations = self.mutations();
        assert!(mutations.is_empty(), "nothing is touched: {mutations:#?}");
        let messages = self.slack.messages();
        assert_eq!(messages.len(), 1, "it is told once: {messages:#?}");
        assert!(messages[0].text.contains("NOT acted on"), "{messages:#?}");
    }

    /// The images of the ready endpoints of the Service.
    pub(crate) async fn served_by(&self) -> Vec<String> {
        let namespace = &self.namespaces.release;
        let list = async |what: &str| {
            let list = self.plane.admin.get(what).await.expect("a list");
            list["items"].as_array().cloned().unwrap_or_default()
        };
        let selector = format!("labelSelector=kubernetes.io/service-name={}", self.front);
        let slices = list(&format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{selector}"
        ))
        .await;
        let pods = list(&format!("/api/v1/namespaces/{namespace}/pods")).await;
        let endpoints = slices
            .iter()
            .flat_map(|it| it["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
        let image = |endpoint: &Value| {
            let pod = pods
                .iter()
                .find(|pod| pod["metadata"]["name"] == endpoint["targetRef"]["name"])?;
            Some(
                pod.pointer("/spec/containers/0/image")?
                    .as_str()?
                    .to_owned(),
            )
        };
        ready.filter_map(image).collect()
    }

    /// Does something, and says how few ready endpoints the Service had at any look meanwhile.
    pub(crate) async fn fewest_endpoints<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let mut fewest = usize::MAX;
        let looking = async {
            loop {
                fewest = fewest.min(self.served_by().await.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = looking => unreachable!("it looks for ever"),
        };
        (fewest, done)
    }

    /// Ripcord's changes of the workload that had an effect, oldest first.
    pub(crate) fn mutations(&self) -> Vec<Audited> {
        let mut all = self.requests();
        let workload = |it: &Audited| ["rollouts", "deployments"].contains(&it.resource.as_str());
        let made = |it: &Audited| it.is_write() && workload(it) && it.code < 300;
        all.retain(|it| made(it) && !it.is_nudge());
        all
    }

    /// Ripcord's requests in both namespaces, as the API server saw them.
    pub(crate) fn requests(&self) -> Vec<Audited> {
        let namespaces = [&self.namespaces.release, &self.namespaces.ripcord];
        let all = namespaces.map(|it| self.plane.audit(it).unwrap());
        self.of_ripcord(all.concat())
    }

    /// The same, as this scenario's witness saw them.
    pub(crate) fn witnessed(&self) -> Vec<Audited> {
        let mut all = self.witness.as_ref().map(Witness::seen).unwrap_or_default();
        let namespaces = [&self.namespaces.release, &self.namespaces.ripcord];
        all.retain(|it| namespaces.contains(&&it.namespace));
        self.of_ripcord(all)
    }

    fn of_ripcord(&self, mut all: Vec<Audited>) -> Vec<Audited> {
        let user = format!("system:serviceaccount:{}:ripcord", self.namespaces.ripcord);
        all.retain(|it| it.user == user);
        all
    }

    /// Puts the times of this scenario into the table.
    pub(crate) fn times(&self, posted: Timestamp, rollback: &Value) {
        let healthy = rollback
            .pointer("/status/run/healthy")
            .and_then(Value::as_str);
        let times = Times {
            scenario: self.name,
            posted,
            first_mutation: {
                let mut all = self.mutations().into_iter().map(|it| it.received);
                all.find(|at| *at >= posted)
            },
            last_bad: self.users.as_ref().and_then(|it| it.tally().last_bad),
            healthy: healthy.and_then(|at| at.parse().ok()),
        };
        times.note();
    }
}
