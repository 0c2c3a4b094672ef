//! What only the real cluster shows: its replica sets, and the audit log.

use jiff::Timestamp;
use serde_json::Value;

use super::{LIMIT, NAME, Scene};
use crate::plane::audit::Audited;
use crate::plane::witness::Witness;
use crate::support::replica::until;
use crate::support::story::prelude::*;

impl Scene {
    /// The replica set of the good release was used again under a new revision, and none was made.
    pub(crate) async fn serves_again(&self, rollback: &Value, good: &str, revisions: [&str; 2]) {
        assert_eq!(rollback["status"]["plan"]["to"]["hash"], good);
        assert_eq!(self.live().await, good, "no new replica set");
        let annotations = self.replica_set(good).await["metadata"]["annotations"].clone();
        let [before, now] = ["revision-history", "revision"]
            .map(|it| annotations[format!("rollout.argoproj.io/{it}")].clone());
        assert_eq!([before, now], revisions);
    }

    /// The first message says that nothing was done. Where the right was there a moment ago, a start was told already, and
    /// that message is put right.
    pub(crate) async fn is_put_right(&self) {
        let put_right = async || {
            let messages = self.slack.messages();
            let first = messages.first()?;
            first.text.contains("NOT acted on").then_some(())
        };
        until(put_right, LIMIT).await.expect("it is put right");
    }

    /// Waits until Slack was told all of this.
    pub(crate) async fn tells_all(&self, said: &[&str]) {
        let told = async || {
            let messages = self.slack.messages();
            let texts = messages
                .iter()
                .map(|it| format!("{} {:?}", it.text, it.blocks));
            let text = texts.collect::<Vec<_>>().concat();
            said.iter().all(|it| text.contains(it)).then_some(())
        };
        let told = until(told, LIMIT).await;
        assert!(told.is_some(), "{said:?}: {:#?}", self.slack.messages());
    }

    pub(crate) async fn replica_set(&self, hash: &str) -> Value {
        let namespace = &self.namespaces.release;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets/{NAME}-{hash}");
        self.plane.admin.get(&path).await.expect("a replica set")
    }

    /// Ripcord's changes of the workload that had an effect, oldest first.
    pub(crate) fn mutations(&self) -> Vec<Audited> {
        let mut all = self.requests();
        let workload =
            |it: &Audited| ["rollouts", "deployments", "services"].contains(&it.resource.as_str());
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

    /// The write with which the controller took away the request for a promotion, after this time, and promoted nothing.
    pub(crate) fn promotion_lost(&self, since: Timestamp) -> Option<Audited> {
        let writes = self.plane.audit(&self.namespaces.release).unwrap();
        let mut writes = writes.into_iter().filter(|it| it.user == "argo-rollouts");
        writes.find(|it| {
            let status = &it.body["status"];
            it.received > since
                && status.get("promoteFull").is_some_and(Value::is_null)
                && status.get("stableRS").is_none()
        })
    }
}
