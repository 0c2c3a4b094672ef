//! The sandbox through the real Kubernetes client: what the API answers, and what the canary controller does.

mod api;
mod app;
mod canary;

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, Config};
use ripcord::cli::demo::fixture;
use ripcord::sandbox::{Sandbox, Store};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const NS: &str = "shop";
const APP: &str = "api";
const GOOD: &str = "demo:v1";
const BAD: &str = "demo:v2-half500";

struct Cluster {
    sandbox: Sandbox,
    client: Client,
    rollouts: Api<DynamicObject>,
}

impl Cluster {
    async fn empty() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let mut config = Config::new(sandbox.url().parse().unwrap());
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let rollouts = api(&client, "argoproj.io", "v1alpha1", "Rollout");
        Self {
            sandbox,
            client,
            rollouts,
        }
    }

    /// The demo application, deployed and healthy.
    async fn deployed() -> Self {
        let cluster = Self::empty().await;
        let steps =
            json!([{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 75 }, { "pause": {} }]);
        let rollout = fixture::rollout(NS, APP, GOOD, &steps);
        cluster
            .sandbox
            .apply(fixture::service(NS, APP, 8000))
            .unwrap();
        cluster.sandbox.apply(rollout).unwrap();
        cluster.reaches("Healthy").await;
        cluster
    }

    /// The bad release, stopped at its first pause.
    async fn paused() -> Self {
        let cluster = Self::deployed().await;
        cluster.sandbox.deploy(NS, APP, BAD).unwrap();
        cluster.reaches("Paused").await;
        assert_eq!(cluster.pods(BAD), 1);
        cluster
    }

    /// The bad release, everywhere.
    async fn promoted() -> Self {
        let cluster = Self::paused().await;
        cluster.ask(json!({ "promoteFull": true })).await;
        cluster.reaches("Healthy").await;
        assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (0, 4));
        cluster
    }

    /// A merge patch of the status; what the server said.
    async fn ask(&self, status: Value) -> Value {
        let patch = Patch::Merge(json!({ "status": status }));
        let answer = self
            .rollouts
            .patch_status(APP, &PatchParams::default(), &patch)
            .await;
        answer.unwrap().data["status"].clone()
    }

    fn status(&self) -> Value {
        self.sandbox.object("rollouts", NS, APP).unwrap()["status"].clone()
    }

    fn pods(&self, image: &str) -> usize {
        self.sandbox
            .objects("pods")
            .iter()
            .filter(|pod| runs(pod, image))
            .count()
    }

    async fn holds(&self, what: impl Fn(&Store) -> bool) {
        assert!(self.sandbox.wait(what, LIMIT).await, "{:#}", self.status());
    }

    /// Waits for a phase that speaks of the present spec.
    async fn reaches(&self, phase: &str) {
        self.holds(|view| {
            let rollout = view.object("rollouts", NS, APP).unwrap();
            rollout["status"]["phase"] == phase && observed(rollout)
        })
        .await;
    }

    /// Puts the template of the good release back, as a rollback does.
    fn restore(&self) {
        self.sandbox.deploy(NS, APP, GOOD).unwrap();
    }
}

fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), NS, &resource)
}

fn runs(pod: &Value, image: &str) -> bool {
    pod["spec"]["containers"][0]["image"] == image && pod["metadata"]["deletionTimestamp"].is_null()
}

fn observed(rollout: &Value) -> bool {
    let generation = rollout["metadata"]["generation"].to_string();
    rollout["status"]["observedGeneration"] == generation.as_str()
}
