//! What people do to the workload before Ripcord is asked: deploy it, break it, promote it.

use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use super::ground::{BAD, Ground, NAME, containers, pausing};
use super::judge::Judge;

/// The deeds, on every ground.
pub(crate) trait Deeds: Ground {
    /// A first release with this strategy, Healthy behind a Service, with users, and known to a leader as good.
    async fn good(&mut self, strategy: &Value) -> Self::Replica {
        self.first(self.good_image(), &json!({ "strategy": strategy }))
            .await;
        let replica = self.ripcord().await;
        self.soaked().await;
        replica
    }

    /// A first release, Healthy behind a Service, and its users. `spec` replaces what a usual Rollout has.
    async fn first(&mut self, image: &str, spec: &Value) {
        let address = self.opens().await;
        let mut rollout = fixture::rollout(self.namespace(), NAME, image, &json!([]));
        rollout["spec"]["strategy"] = Value::Null;
        json_patch::merge(&mut rollout["spec"], spec);
        self.create(&rollout).await;
        self.rollout_is("Healthy").await;
        self.users_are(Client::start(address.parse().unwrap(), self.rate()));
        if image == self.good_image() {
            self.users_are_served().await;
        } else {
            self.users_are_hurt().await;
        }
    }

    /// A bad canary that waits at its first pause, behind a good release. The leader knows both; the users notice.
    async fn bad_canary(&mut self) -> (Self::Replica, String) {
        let replica = self.good(&pausing()).await;
        self.deploy(BAD).await;
        self.rollout_is("Paused").await;
        let hash = self.is_known().await;
        self.users_are_hurt().await;
        (replica, hash)
    }

    /// The same, after a person has promoted it past all its steps.
    async fn bad_promoted(&mut self, strategy: &Value) -> (Self::Replica, String) {
        let replica = self.good(strategy).await;
        self.deploy(BAD).await;
        let hash = self.promoted_by_hand().await;
        self.users_are_hurt().await;
        (replica, hash)
    }

    /// A person promotes what is live past all its steps; the leader knows it by this hash.
    async fn promoted_by_hand(&self) -> String {
        self.argo(&["promote", NAME, "--full"]).await;
        self.is_promoted().await;
        self.is_known().await
    }

    /// Changes the image, as a deployment does, and waits until the controller works on it.
    async fn deploy(&self, image: &str) {
        let before = self.live().await;
        self.push(image).await;
        self.is_taken_up(&before, image).await;
    }

    /// Waits until the controller works on a change of the template, away from the release with this hash.
    async fn is_taken_up(&self, before: &str, what: &str) {
        let taken_up = |status: &Value| {
            let live = &status["currentPodHash"];
            live.is_string() && live != before
        };
        self.status_is(&format!("{what} is taken up"), taken_up)
            .await;
    }

    /// Changes the image, and waits for nothing.
    async fn push(&self, image: &str) {
        self.template(&json!({ "containers": containers(image) }))
            .await;
    }

    /// Changes the pod's spec in the template.
    async fn template(&self, pod: &Value) {
        self.edit(&json!({ "spec": { "template": { "spec": pod } } }))
            .await;
    }

    /// Touches the workload, as a person does when the controller has missed a change: it looks at it again.
    async fn looks_again(&self, why: &str) {
        let touch = json!({ "metadata": { "annotations": { "looked-at-again": why } } });
        self.edit(&touch).await;
    }

    /// A person's merge patch of the workload.
    async fn edit(&self, patch: &Value) {
        self.patch(&self.rollout_path(), patch).await;
    }
}

impl<G: Ground> Deeds for G {}
