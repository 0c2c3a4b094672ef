//! What befalls a scenario's pods and its node, as the kubelet and the owners of the cluster would bring it about.

use serde_json::{Value, json};

use super::Scene;

impl Scene {
    /// Lets the kubelet say that a pod is ready, or is not.
    pub(crate) async fn set_ready(&self, pod: &Value, ready: bool) {
        let mut conditions = pod["status"]["conditions"].clone();
        for condition in conditions.as_array_mut().unwrap() {
            if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
                condition["status"] = if ready { "True" } else { "False" }.into();
            }
        }
        let namespace = &self.namespaces.release;
        let name = pod["metadata"]["name"].as_str().unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let patch = json!({ "status": { "conditions": conditions } });
        self.plane.admin.patch(&path, &patch).await.unwrap();
    }

    /// Puts the node into a pool of this scenario's own.
    pub(crate) async fn add_pool(&self) -> Value {
        let pool = self.pool();
        self.plane.label_node(&pool, Some("there")).await.unwrap();
        json!({ pool: "there" })
    }

    /// Takes the node out of that pool: pods that ask for it run on, and no other can start.
    pub(crate) async fn remove_pool(&self) {
        self.plane.label_node(&self.pool(), None).await.unwrap();
    }

    fn pool(&self) -> String {
        format!("pool-{}", self.namespaces.release)
    }
}
