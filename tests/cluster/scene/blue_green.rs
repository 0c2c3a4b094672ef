//! A blue-green release, and a bad one that was switched to and is looked at.

use serde_json::{Value, json};

use super::release::BAD;
use super::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// Blue-green behind the usual Service, with a preview Service.
pub(crate) fn strategy(more: &Value) -> Value {
    let mut strategy =
        json!({ "activeService": NAME, "previewService": format!("{NAME}-preview") });
    json_patch::merge(&mut strategy, more);
    json!({ "blueGreen": strategy })
}

impl Scene {
    /// The active Service was switched, and an analysis that takes an hour has begun.
    pub(crate) async fn bad_switched(&mut self) -> (Replica, String) {
        self.bad_switched_with(&json!({})).await
    }

    /// The same with more of a strategy.
    pub(crate) async fn bad_switched_with(&mut self, more: &Value) -> (Replica, String) {
        let metric = json!({
            "name": "always", "interval": "1h", "count": 2, "successCondition": "result == 'healthy'",
            "provider": { "web": { "url": format!("http://{NAME}.{}.svc/health/pinn", self.namespaces.release), "jsonPath": "{$.overall_status}" } },
            "consecutiveErrorLimit": 1000,
        });
        let analysis = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": { "name": "long", "namespace": self.namespaces.release }, "spec": { "metrics": [metric] },
        });
        self.plane.admin.create(&analysis).await.unwrap();
        let long = json!({ "templates": [{ "templateName": "long" }] });
        let mut with = json!({ "postPromotionAnalysis": long });
        json_patch::merge(&mut with, more);
        let ripcord = self.good(&strategy(&with)).await;
        self.deploy(BAD).await;
        let switched = async || {
            let status = self.rollout().await["status"].clone();
            let active = status["blueGreen"]["activeSelector"] == status["currentPodHash"];
            (active && status["currentPodHash"] != status["stableRS"]).then_some(())
        };
        until(switched, LIMIT).await.expect("it is switched");
        let bad = self.is_known().await;
        self.users_are_hurt().await;
        (ripcord, bad)
    }
}
