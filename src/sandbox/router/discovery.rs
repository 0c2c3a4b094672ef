//! What the server says about itself: enough for kubectl to find a kind.

use serde_json::{Value, json};

use super::super::kind::CRDS;
use super::super::store::Store;

/// The answer, if the path is one of discovery.
pub(super) fn answer(store: &Store, path: &str) -> Option<Value> {
    let mut groups = Vec::new();
    let mut resources = Vec::new();
    let asked = path
        .strip_prefix("/apis/")
        .or_else(|| path.strip_prefix("/api/"));
    for kind in store.kinds() {
        let (group, version) = kind.api_version.split_once('/').unwrap_or_default();
        let version = json!({ "groupVersion": kind.api_version, "version": version });
        groups.push(json!({ "name": group, "versions": [version], "preferredVersion": version }));
        if asked == Some(kind.api_version.as_str()) {
            resources.push(json!({
                "name": kind.plural, "singularName": kind.name.to_lowercase(), "kind": kind.name,
                "namespaced": kind.plural != CRDS, "shortNames": kind.short_names,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            }));
        }
    }
    groups.retain(|group| group["name"] != "");
    groups.dedup();
    match path {
        "/version" => Some(json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.1" })),
        "/api" => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })),
        _ if resources.is_empty() => None,
        _ => Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": asked, "resources": resources,
        })),
    }
}
