//! Which kinds the API server knows: a fixed list of built-in ones, and those of the stored CRDs.
//!
//! A kind that is on neither list does not exist here, as on a real server.

use serde_json::{Value, json};

/// What the server has to know about a kind to store it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
    /// `.status` is written through `/status` only.
    pub(super) status: bool,
    /// `metadata.generation` counts the changes of what is asked for.
    pub(super) generation: bool,
    /// A replace must name the version that it replaces.
    pub(super) versioned_replace: bool,
    /// The structural schema, for kinds from a CRD.
    pub(super) schema: Option<Value>,
}

/// Group, version, plural, kind; then namespaced, status, generation, versioned replace as letters `nsgv`.
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
    ("argoproj.io", "v1alpha1", "rollouts", "Rollout", "nsgv"),
    ("coordination.k8s.io", "v1", "leases", "Lease", "nv"),
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
            .map(|(group, version, plural, kind, flags)| Self {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                plural: (*plural).to_owned(),
                kind: (*kind).to_owned(),
                namespaced: flags.contains('n'),
                status: flags.contains('s'),
                generation: flags.contains('g'),
                versioned_replace: flags.contains('v'),
                schema: None,
            })
    }

    /// The kind that a CRD defines, in the first version that it stores.
    pub(super) fn from_crd(crd: &Value) -> Option<Self> {
        let spec = &crd["spec"];
        let versions = spec["versions"].as_array()?;
        let version = versions
            .iter()
            .find(|v| v["storage"] == true)
            .or(versions.first())?;
        Some(Self {
            group: spec["group"].as_str()?.to_owned(),
            version: version["name"].as_str()?.to_owned(),
            plural: spec["names"]["plural"].as_str()?.to_owned(),
            kind: spec["names"]["kind"].as_str()?.to_owned(),
            namespaced: spec["scope"] != "Cluster",
            status: version["subresources"]["status"].is_object(),
            generation: true,
            versioned_replace: true,
            schema: version["schema"].get("openAPIV3Schema").cloned(),
        })
    }

    /// `apiVersion` as objects of this kind carry it.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `plural.group`, as error messages write it.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// One line of the server's discovery answer.
    pub(super) fn discovery(&self) -> Value {
        json!({
            "name": self.plural, "singularName": self.kind.to_lowercase(), "namespaced": self.namespaced, "kind": self.kind,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        })
    }
}
