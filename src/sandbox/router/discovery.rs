//! What the server says about itself: enough for `kubectl get`.

use serde_json::{Value, json};

use super::super::driver::State as Cluster;
use super::super::kind::Kind;

/// The answer, if the path is one of discovery.
pub(super) fn answer(state: &Cluster, path: &str) -> Option<Value> {
    let kinds: Vec<Kind> = state.store.kinds().collect();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let group = |kind: &Kind| {
        let version = json!({ "groupVersion": kind.api_version(), "version": kind.version });
        json!({ "name": kind.group, "versions": [version], "preferredVersion": version })
    };
    let resources = |group: &str, version: &str| {
        let kinds: Vec<&Kind> = kinds
            .iter()
            .filter(|kind| kind.group == group && kind.version == version)
            .collect();
        let first = kinds.first()?;
        let list: Vec<Value> = kinds.iter().map(|kind| kind.discovery()).collect();
        Some(
            json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": list }),
        )
    };
    match parts.as_slice() {
        ["version"] => Some(
            json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.1+sandbox", "platform": "sandbox" }),
        ),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => {
            let mut named: Vec<&Kind> =
                kinds.iter().filter(|kind| !kind.group.is_empty()).collect();
            named.dedup_by_key(|kind| &kind.group);
            let groups: Vec<Value> = named.into_iter().map(group).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => resources("", version),
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}
