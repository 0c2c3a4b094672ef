//! A rule of the cluster's owners about what may be written, one at a time for a scenario.

use serde_json::{Value, json};

use super::{LIMIT, Scene};
use crate::support::replica::until;
use crate::support::story::ground::TARGET;

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

    /// Lets no status of a rollback be written in which this is so of a step `it`, and waits until the API server heeds it.
    pub(crate) async fn keep_status_out(&self, so: &str) {
        let written = json!({
            "apiGroups": ["ripcord.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"],
            "resources": ["rollbacks/status", "targets/status"],
        });
        // What no memory has shows when it is heeded.
        let shown = "has(object.status.shown) && has(object.status.shown.last) && object.status.shown.last == 'gate'";
        let steps = "has(object.status.run) && has(object.status.run.steps)";
        let so = format!("{steps} && object.status.run.steps.exists(it, {so})");
        let but = format!("object.kind == 'Target' ? !({shown}) : !({so})");
        // The status that a failed test of a patch has, too: no right is missing.
        self.keep_out(&written, &but, "Invalid").await;
        let namespace = &self.namespaces.release;
        let all = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/targets");
        let path = format!("{all}/{TARGET}/status?dryRun=All");
        let heeded = async || {
            let gate = json!({ "status": { "shown": { "last": "gate" } } });
            self.plane
                .admin
                .patch(&path, &gate)
                .await
                .is_err()
                .then_some(())
        };
        until(heeded, LIMIT).await.expect("it is heeded");
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
