//! What people, and other replicas, do to the cluster.

use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;
use crate::support::stage::{NAME, NAMESPACE, hold_config_map};

impl Scene {
    /// Does something with the API as a person does: `path` begins after the namespace of the target.
    pub(crate) async fn person(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!(
            "{}/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/{path}",
            self.sandbox.url()
        );
        self.call(method, url, body).await
    }

    /// A person's merge patch of the workload, or of a part of it such as `/status`.
    pub(crate) async fn patch_workload(&self, part: &str, patch: Value) {
        let url = format!(
            "{}/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{NAME}{part}",
            self.sandbox.url()
        );
        assert_eq!(self.call(Method::PATCH, url, patch).await.0, 200);
    }

    /// A call of the API server by a person, with a merge patch where it is a patch.
    async fn call(&self, method: Method, url: String, body: Value) -> (u16, Value) {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = self
            .http
            .request(method, url)
            .header("user-agent", "person")
            .header("content-type", kind)
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        )
    }

    /// Sets or removes the global hold.
    pub(crate) fn hold(&self, said: Option<&str>) {
        let mut config_map = hold_config_map();
        if let Some(said) = said {
            config_map["metadata"]["annotations"] = json!({"ripcord.dev/hold": said});
        }
        self.sandbox.apply(config_map).unwrap();
    }

    /// Removes the object that the global hold stands on.
    pub(crate) async fn lose_hold(&self) {
        let url = format!(
            "{}/api/v1/namespaces/ripcord/configmaps/ripcord-hold",
            self.sandbox.url()
        );
        assert_eq!(self.call(Method::DELETE, url, json!({})).await.0, 200);
    }

    /// Gives the lease to somebody who never does anything.
    pub(crate) fn nobody_leads(&self) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "ripcord", "namespace": "ripcord"},
            "spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 3600, "leaseTransitions": 0},
        });
        self.sandbox.apply(lease).unwrap();
    }

    /// Takes the lease away from whoever has it.
    pub(crate) async fn somebody_may_lead(&self) {
        let url = format!(
            "{}/apis/coordination.k8s.io/v1/namespaces/ripcord/leases/ripcord",
            self.sandbox.url()
        );
        assert_eq!(self.call(Method::DELETE, url, json!({})).await.0, 200);
    }
}
