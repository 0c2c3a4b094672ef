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
    /// A bad canary that a router sends 60 % of the traffic to.
    pub(crate) async fn bad_split(&mut self, more: &Value) -> (Replica, String) {
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
            "stableService": stable, "canaryService": canary, "steps": [{ "setWeight": 60 }, { "pause": {} }],
            "trafficRouting": { "nginx": { "stableIngress": "front" } },
        });
        json_patch::merge(&mut strategy, more);
        let ripcord = self.good(&json!({ "canary": strategy })).await;
        self.deploy(BAD).await;
        let split = async || (self.weight().await? == "60").then_some(());
        until(split, LIMIT).await.expect("the router splits");
        self.rollout_is("Paused").await;
        let bad = self.is_known().await;
        (ripcord, bad)
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
