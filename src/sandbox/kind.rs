//! Which kinds the API server knows: a fixed list, and those of the stored CRDs. All but CRDs live in namespaces.
//!
//! Of a CRD's schema only pruning and defaults are done. Nothing is validated, and CEL rules are not evaluated.

use serde_json::{Value, json};

use super::object::{items, text};

/// The plural of the one kind that is not in a namespace.
pub(super) const CRDS: &str = "customresourcedefinitions";

/// `apiVersion`, plural and kind.
const BUILTIN: [[&str; 3]; 9] = [
    ["v1", "configmaps", "ConfigMap"],
    ["v1", "pods", "Pod"],
    ["v1", "services", "Service"],
    ["apiextensions.k8s.io/v1", CRDS, "CustomResourceDefinition"],
    ["apps/v1", "replicasets", "ReplicaSet"],
    ["argoproj.io/v1alpha1", "rollouts", "Rollout"],
    ["coordination.k8s.io/v1", "leases", "Lease"],
    ["discovery.k8s.io/v1", "endpointslices", "EndpointSlice"],
    ["events.k8s.io/v1", "events", "Event"],
];

/// What the server has to know about a kind to store it.
pub(super) struct Kind {
    pub(super) api_version: String,
    pub(super) plural: String,
    pub(super) name: String,
    /// The structural schema, or null.
    pub(super) schema: Value,
}

impl Kind {
    pub(super) fn builtin() -> impl Iterator<Item = Self> {
        BUILTIN.into_iter().map(|kind| {
            let [api_version, plural, name] = kind.map(str::to_owned);
            Self {
                api_version,
                plural,
                name,
                schema: Value::Null,
            }
        })
    }

    /// The kind that a CRD defines, in the version that it stores.
    pub(super) fn from_crd(crd: &Value) -> Option<Self> {
        let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
        let mut versions = items(&spec["versions"]).iter();
        let version = versions.find(|version| version["storage"] == true)?;
        Some(Self {
            api_version: format!("{}/{}", text(&spec["group"]), text(&version["name"])),
            plural: text(&names["plural"]).to_owned(),
            name: text(&names["kind"]).to_owned(),
            schema: version["schema"]["openAPIV3Schema"].clone(),
        })
    }

    pub(super) fn group(&self) -> &str {
        let parts = self.api_version.split_once('/');
        parts.map_or("", |(group, _)| group)
    }

    pub(super) fn is_of(&self, object: &Value) -> bool {
        object["apiVersion"] == self.api_version && object["kind"] == self.name
    }

    /// Makes an object one of this kind: unknown fields go, defaults come.
    pub(super) fn admit(&self, object: &mut Value) {
        let metadata = object["metadata"].take();
        shape(object, &self.schema);
        object["metadata"] = metadata;
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.name);
    }
}

fn shape(value: &mut Value, schema: &Value) {
    let (known, extra) = (&schema["properties"], &schema["additionalProperties"]);
    match value {
        _ if schema.is_null() => {}
        Value::Array(items) => {
            for item in items {
                shape(item, &schema["items"]);
            }
        }
        Value::Object(fields) => {
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true || !extra.is_null();
            // A null where none is allowed counts as absent, so that the default can come.
            fields.retain(|name, value| match known.get(name) {
                Some(field) => !value.is_null() || field["nullable"] == true,
                None => open,
            });
            for (name, field) in known.as_object().into_iter().flatten() {
                if let Some(default) = field.get("default") {
                    fields.entry(name).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in fields {
                shape(value, known.get(name).unwrap_or(extra));
            }
        }
        _ => {}
    }
}
