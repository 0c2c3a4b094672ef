//! What people do to a scenario's workload before Ripcord is asked: deploy it, break it, promote it.

use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use super::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};

/// How often the users of a test ask, in a second.
pub(super) const RATE: u32 = 20;
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

impl Scene {
    /// A first release with this strategy, Healthy behind a Service, with users, and known to a leader as good.
    pub(crate) async fn good(&mut self, strategy: &Value) -> Replica {
        self.first(self.good, &json!({ "strategy": strategy }))
            .await;
        let replica = self.ripcord().await;
        self.soaked().await;
        replica
    }

    /// A first release, Healthy behind a Service, and its users. `spec` replaces what a usual Rollout has.
    pub(crate) async fn first(&mut self, image: &str, spec: &Value) {
        let service = self.service(&self.front).await;
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let namespace = &self.namespaces.release;
        let mut rollout = fixture::rollout(namespace, NAME, image, &json!([]));
        rollout["spec"]["strategy"] = Value::Null;
        json_patch::merge(&mut rollout["spec"], spec);
        self.plane.admin.create(&rollout).await.unwrap();
        self.rollout_is("Healthy").await;
        let users = Client::start(
            format!("http://{address}/price").parse().unwrap(),
            self.rate,
        );
        self.users = Some(users);
        self.users_are_served_or_hurt(image).await;
    }

    /// A Service over all pods of the workload, as its owner writes it.
    pub(crate) async fn service(&self, name: &str) -> Value {
        let mut service = fixture::service(&self.namespaces.release, name, 80);
        service["spec"]["selector"]["app"] = NAME.into();
        self.plane.admin.create(&service).await.unwrap()
    }

    /// A bad canary that waits at its first pause, behind a good release. The leader knows both; the users notice.
    pub(crate) async fn bad_canary(&mut self) -> (Replica, String) {
        let replica = self.good(&pausing()).await;
        self.deploy(BAD).await;
        self.rollout_is("Paused").await;
        let hash = self.is_known().await;
        self.users_are_hurt().await;
        (replica, hash)
    }

    /// The same, after a person has promoted it past all its steps.
    pub(crate) async fn bad_promoted(&mut self, strategy: &Value) -> (Replica, String) {
        let replica = self.good(strategy).await;
        self.deploy(BAD).await;
        let hash = self.promoted_by_hand().await;
        self.users_are_hurt().await;
        (replica, hash)
    }

    /// A person promotes what is live past all its steps; the leader knows it by this hash.
    pub(crate) async fn promoted_by_hand(&self) -> String {
        self.argo(&["promote", NAME, "--full"]);
        self.is_promoted().await;
        self.is_known().await
    }

    /// Changes the image, as a deployment does, and waits until the controller works on it.
    pub(crate) async fn deploy(&self, image: &str) {
        let before = self.live().await;
        self.push(image).await;
        let taken_up = async || (self.live().await != before).then_some(());
        let taken_up = until(taken_up, LIMIT).await;
        assert!(taken_up.is_some(), "{image}: {:#}", self.rollout().await);
    }

    /// Changes the image, and waits for nothing.
    pub(crate) async fn push(&self, image: &str) {
        self.template(&json!({ "containers": containers(image) }))
            .await;
    }

    /// Changes the pod's spec in the template.
    pub(crate) async fn template(&self, pod: &Value) {
        self.edit(&json!({ "spec": { "template": { "spec": pod } } }))
            .await;
    }

    /// A person's merge patch of the workload.
    pub(crate) async fn edit(&self, patch: &Value) {
        let path = self.rollout_path();
        self.plane.admin.patch(&path, patch).await.unwrap();
    }

    /// What Argo CD leaves on what it tracks.
    pub(crate) async fn is_tracked_by(&self, application: &str) {
        let id = format!(
            "{application}:argoproj.io/Rollout:{}/{NAME}",
            self.namespaces.release
        );
        let annotations = json!({ "argocd.argoproj.io/tracking-id": id });
        self.edit(&json!({ "metadata": { "annotations": annotations } }))
            .await;
    }

    /// What a person's plugin of Argo Rollouts says to a command, in the release's namespace.
    pub(crate) fn argo(&self, words: &[&str]) -> String {
        let words = [words, &["-n", &self.namespaces.release]].concat();
        self.plane.plugin(&words).unwrap()
    }

    /// The hash that the controller last looked at.
    pub(crate) async fn live(&self) -> String {
        let hash = self.rollout().await["status"]["currentPodHash"].clone();
        hash.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until what is live is the stable release, and Healthy.
    pub(crate) async fn is_promoted(&self) {
        let promoted = async || {
            let status = self.rollout().await["status"].clone();
            let same = status["currentPodHash"] == status["stableRS"];
            (same && status["phase"] == "Healthy").then_some(())
        };
        // The controller can miss a person's request; a person would ask again, and make it look.
        for again in 0..6 {
            if until(promoted, LIMIT / 6).await.is_some() {
                return;
            }
            self.edit(
                &json!({ "metadata": { "annotations": { "asked-again": again.to_string() } } }),
            )
            .await;
            self.argo(&["promote", NAME, "--full"]);
        }
        panic!("it is promoted: {:#}", self.rollout().await);
    }

    /// Waits until the leader knows which release is live and which is stable; returns the live one's hash.
    pub(crate) async fn is_known(&self) -> String {
        let known = async || {
            let status = self.rollout().await["status"].clone();
            let memory = self.memory().await?["status"].clone();
            let live = status["currentPodHash"].as_str()?;
            let stable = memory["history"].as_array()?.last()?["hash"].clone();
            (memory["live"]["hash"] == live && stable == status["stableRS"])
                .then(|| live.to_owned())
        };
        until(known, LIMIT).await.expect("the leader knows it")
    }

    /// Waits until the users get bad answers.
    pub(crate) async fn users_are_hurt(&self) {
        let hurt = async || (self.users.as_ref()?.tally().bad > 0).then_some(());
        until(hurt, LIMIT).await.expect("the users notice");
    }

    async fn users_are_served_or_hurt(&self, image: &str) {
        if image == self.good {
            self.users_are_served().await;
        } else {
            self.users_are_hurt().await;
        }
    }
}
