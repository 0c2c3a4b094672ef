//! A rule of the cluster's owners about what may be written, one at a time for a scenario.

use serde_json::{Value, json};

use super::Scene;

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

impl Scene {
    /// Lets nothing be written to these resources in this scenario's namespace but what the expression allows; the API server
    /// gives this reason. It takes a while until it heeds it.
    pub(crate) async fn keep_out(&self, resources: &Value, but: &str, reason: &str) {
        let (_, mut policy) = self.gate(POLICY);
        policy["spec"] = json!({
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [resources] },
            "validations": [{ "expression": but, "message": "this is kept out", "reason": reason }],
        });
        let (_, mut binding) = self.gate(BINDING);
        binding["spec"] = json!({
            "policyName": policy["metadata"]["name"], "validationActions": ["Deny"],
            "matchResources": { "namespaceSelector": { "matchLabels": {
                "kubernetes.io/metadata.name": self.namespaces.release,
            } } },
        });
        for object in [policy, binding] {
            self.plane.admin.create(&object).await.unwrap();
        }
    }

    /// Takes the rule away.
    pub(crate) async fn let_in(&self) {
        for kind in [BINDING, POLICY] {
            let (path, _) = self.gate(kind);
            self.plane.admin.delete(&path).await.unwrap();
        }
    }

    fn gate(&self, kind: &str) -> (String, Value) {
        let name = format!("gate-{}", self.namespaces.release);
        let plural = if kind == BINDING {
            "validatingadmissionpolicybindings"
        } else {
            "validatingadmissionpolicies"
        };
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}/{name}");
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name },
        });
        (path, object)
    }
}
