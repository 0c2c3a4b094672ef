//! Which kinds the API server knows: a fixed list of built-in ones, and those of the stored CRDs.
//!
//! A kind that is on neither list does not exist here, as on a real server.

use serde_json::{Value, json};

use super::json::items;

/// What the server has to know about a kind to store it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) name: String,
    traits: &'static str,
    /// The structural schema, for kinds from a CRD.
    pub(super) schema: Option<Value>,
}

/// Group, version, plural, kind, and traits: **n**amespaced, `.status` written through `/status` (**s**) only, **g**eneration
/// counted, re**p**lace must name the version that it replaces.
const BUILTIN: &[(&str, &str, &str, &str, &str)] = &[
    ("", "v1", "configmaps", "ConfigMap", "n"),
    ("", "v1", "events", "Event", "n"),
    ("", "v1", "namespaces", "Namespace", "s"),
    ("", "v1", "nodes", "Node", "s"),
    ("", "v1", "pods", "Pod", "ns"),
    ("", "v1", "secrets", "Secret", "n"),
    ("", "v1", "services", "Service", "ns"),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "sg",
    ),
    ("apps", "v1", "deployments", "Deployment", "nsg"),
    ("apps", "v1", "replicasets", "ReplicaSet", "nsg"),
    ("argoproj.io", "v1alpha1", "rollouts", "Rollout", "nsgp"),
    ("coordination.k8s.io", "v1", "leases", "Lease", "np"),
    (
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "EndpointSlice",
        "ng",
    ),
    ("events.k8s.io", "v1", "events", "Event", "n"),
];

// === impl Kind ===

impl Kind {
    /// The built-in kinds.
    pub(super) fn builtin() -> impl Iterator<Item = Self> {
        BUILTIN
            .iter()
            .map(|(group, version, plural, name, traits)| {
                let [group, version, plural, name] =
                    [group, version, plural, name].map(|text| (*text).to_owned());
                Self {
                    group,
                    version,
                    plural,
                    name,
                    traits,
                    schema: None,
                }
            })
    }

    /// The kind that a CRD defines, in the version that it stores.
    pub(super) fn from_crd(crd: &Value) -> Option<Self> {
        let spec = &crd["spec"];
        let versions = items(&spec["versions"]);
        let version = versions.iter().find(|version| version["storage"] == true)?;
        let cluster = spec["scope"] == "Cluster";
        Some(Self {
            group: spec["group"].as_str()?.to_owned(),
            version: version["name"].as_str()?.to_owned(),
            plural: spec["names"]["plural"].as_str()?.to_owned(),
            name: spec["names"]["kind"].as_str()?.to_owned(),
            traits: match (cluster, version["subresources"]["status"].is_object()) {
                (false, true) => "nsgp",
                (false, false) => "ngp",
                (true, true) => "sgp",
                (true, false) => "gp",
            },
            schema: version["schema"].get("openAPIV3Schema").cloned(),
        })
    }

    pub(super) fn namespaced(&self) -> bool {
        self.traits.contains('n')
    }

    pub(super) fn has_status(&self) -> bool {
        self.traits.contains('s')
    }

    pub(super) fn counts_generations(&self) -> bool {
        self.traits.contains('g')
    }

    pub(super) fn replaces_by_version(&self) -> bool {
        self.traits.contains('p')
    }

    /// `apiVersion` as objects of this kind carry it.
    pub(super) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
            .trim_start_matches('/')
            .to_owned()
    }

    /// `plural.group`, as error messages write it.
    pub(super) fn resource(&self) -> String {
        format!("{}.{}", self.plural, self.group)
            .trim_end_matches('.')
            .to_owned()
    }

    /// One line of the server's discovery answer.
    pub(super) fn discovery(&self) -> Value {
        json!({
            "name": self.plural, "singularName": self.name.to_lowercase(), "namespaced": self.namespaced(), "kind": self.name,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    }
}
