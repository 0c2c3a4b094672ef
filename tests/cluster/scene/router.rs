//! A release whose traffic is split by a router: nginx, as far as the Rollouts controller is concerned. No router runs.

use serde_json::{Value, json};

use super::release::BAD;
use super::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// What an Ingress sends to the canary, in per cent.
pub(crate) fn weight_of(ingress: &Value) -> Option<&str> {
    let annotations = &ingress["metadata"]["annotations"];
    annotations["nginx.ingress.kubernetes.io/canary-weight"].as_str()
}

/// Where the Rollouts controller tells the router of its weights.
pub(crate) fn canary_ingress() -> String {
    format!("{NAME}-front-canary")
}

impl Scene {
    /// A bad canary that waits in a pause, and that a router sends 60 % of the traffic to.
    pub(crate) async fn bad_split(&mut self, more: &Value) -> (Replica, String) {
        self.bad_split_at(60, more).await
    }

    /// The same with this weight, in per cent.
    pub(crate) async fn bad_split_at(&mut self, weight: u8, more: &Value) -> (Replica, String) {
        let steps = json!([{ "setWeight": weight }, { "pause": {} }]);
        let mut strategy = json!({ "steps": steps });
        json_patch::merge(&mut strategy, more);
        let ripcord = self.good_behind_a_router(&strategy).await;
        self.deploy(BAD).await;
        let bad = self.is_split_at(weight).await;
        (ripcord, bad)
    }

    /// A good release whose canaries a router sends traffic to.
    pub(crate) async fn good_behind_a_router(&mut self, more: &Value) -> Replica {
        let [stable, canary] = ["stable", "canary"].map(|role| format!("{NAME}-{role}"));
        self.front.clone_from(&stable);
        self.service(&canary).await;
        let backend = json!({ "service": { "name": stable, "port": { "number": 80 } } });
        let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
        // A host of its own: a router refuses two with the same.
        let host = format!("{}.test", self.namespaces.release);
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": "front", "namespace": self.namespaces.release },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": host, "http": { "paths": [path] } }] },
        });
        let ingresses = self.ingresses();
        self.plane.admin.post(&ingresses, &ingress).await.unwrap();
        let mut strategy = json!({
            "stableService": stable, "canaryService": canary,
            "trafficRouting": { "nginx": { "stableIngress": "front" } },
        });
        json_patch::merge(&mut strategy, more);
        self.good(&json!({ "canary": strategy })).await
    }

    /// Waits until the live release is in a pause, and has this share of the traffic; its hash.
    pub(crate) async fn is_split_at(&self, weight: u8) -> String {
        let weight = weight.to_string();
        let split = async || (self.weight().await? == weight).then_some(());
        until(split, LIMIT).await.expect("the router splits");
        self.rollout_is("Paused").await;
        self.is_known().await
    }

    /// What the router sends to the canary, in per cent.
    pub(crate) async fn weight(&self) -> Option<String> {
        let ingress = self
            .plane
            .admin
            .get(&format!("{}/{}", self.ingresses(), canary_ingress()))
            .await?;
        weight_of(&ingress).map(str::to_owned)
    }

    fn ingresses(&self) -> String {
        format!(
            "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
            self.namespaces.release
        )
    }
}
