//! The real control plane as the ground of a story. What Ripcord did is read from the audit log.

use jiff::Timestamp;
use ripcord::cli::demo::client::Client;
use serde_json::Value;

use super::Scene;
use crate::plane::Frozen;
use crate::plane::audit::Audited;
use crate::support::replica::Replica;
use crate::support::slack::FakeSlack;
use crate::support::story::ground::{Change, Ground};
use crate::times::Times;

impl Ground for Scene {
    type Replica = Replica;
    type Asleep = Frozen<'static>;

    async fn start(name: &'static str) -> Self {
        Self::start(name).await
    }

    fn namespace(&self) -> &str {
        &self.namespaces.release
    }

    fn home(&self) -> &str {
        &self.namespaces.ripcord
    }

    fn policy_says(&mut self, shipped: &str, instead: &str) {
        Self::policy_says(self, shipped, instead);
    }

    async fn get(&self, path: &str) -> Option<Value> {
        self.plane.admin.get(path).await
    }

    async fn create(&self, object: &Value) {
        self.plane.admin.create(object).await.unwrap();
    }

    async fn patch(&self, path: &str, patch: &Value) {
        self.plane.admin.patch(path, patch).await.unwrap();
    }

    async fn opens(&self) -> String {
        let service = self.service(&self.front).await;
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        format!("http://{address}/price")
    }

    fn front(&self) -> &str {
        &self.front
    }

    fn rate(&self) -> u32 {
        self.rate
    }

    fn users(&self) -> &Client {
        self.users.as_ref().unwrap()
    }

    fn users_are(&mut self, users: Client) {
        self.users = Some(users);
    }

    fn good_image(&self) -> &'static str {
        self.good
    }

    fn good_is(&mut self, image: &'static str) {
        self.good = image;
    }

    async fn argo(&self, words: &[&str]) -> String {
        Self::argo(self, words)
    }

    fn controller_sleeps(&self) -> Self::Asleep {
        self.plane.freeze().unwrap()
    }

    async fn replica(&self, name: &str) -> Replica {
        Self::replica(self, name).await
    }

    async fn post(&self, replica: &Replica, body: String) -> u16 {
        self.answer(replica, body).await.0
    }

    fn slack(&self) -> &FakeSlack {
        &self.slack
    }

    fn changes(&self) -> Vec<Change> {
        let change = |it: Audited| Change {
            part: it.subresource,
            body: it.body,
        };
        self.mutations().into_iter().map(change).collect()
    }

    fn nudges(&self) -> usize {
        let mut all = self.requests();
        all.retain(|it| it.is_nudge() && it.code < 300);
        all.len()
    }

    fn forbidden(&self) -> Vec<String> {
        let all = self.requests().into_iter().filter(|it| it.code == 403);
        all.map(|it| format!("{it:?}")).collect()
    }

    fn has_ended(&self, rollback: &Value) {
        *self.unnoted() = Some(rollback.clone());
    }

    fn times(&self, posted: Timestamp, rollback: &Value) {
        *self.unnoted() = None;
        let healthy = rollback
            .pointer("/status/run/healthy")
            .and_then(Value::as_str);
        let mutations = self.mutations().into_iter().map(|it| it.received);
        let first_mutation = mutations.filter(|at| *at >= posted).min();
        let last_bad = self.users.as_ref().and_then(|it| it.tally().last_bad);
        let told = self.slack.messages().into_iter().map(|it| it.at);
        let times = Times {
            scenario: self.name,
            posted,
            first_mutation,
            // Where nothing was changed, the bad answers go on.
            last_bad: last_bad.filter(|at| first_mutation.is_some() && *at >= posted),
            healthy: healthy.and_then(|at| at.parse().ok()),
            told: told.filter(|at| *at >= posted).min(),
        };
        times.note();
    }
}
