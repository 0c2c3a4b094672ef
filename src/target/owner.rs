//! Who owns a workload's spec: a GitOps tool that would undo what anybody else writes there.
//!
//! Only what such a tool itself leaves on the object is evidence. `app.kubernetes.io/instance` is none: charts set it too.
//! Nor does anything on the object tell whether Argo CD heals by itself, or whether a `HelmRelease` detects drift; where
//! they do not, the policy can say that nobody owns the spec.

use serde::Deserialize;
use serde_json::Value;

use super::workload::Rollout;
use super::{Kind, Release, Target};
use crate::reason::{Finding, Reason};

/// How Argo CD marks what it tracks: `application:group/kind:namespace/name`.
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// The field manager of Argo CD.
const ARGO_CD: &str = "argocd-controller";
/// Flux's kinds, each with the group of its labels, its field manager, and what keeps it from correcting one object.
const FLUX: [(&str, &str, &str, Off); 2] = [
    (
        "Kustomization",
        "kustomize.toolkit.fluxcd.io",
        "kustomize-controller",
        &[
            ("reconcile", "disabled"),
            ("ssa", "Ignore"),
            ("ssa", "IfNotPresent"),
        ],
    ),
    (
        "HelmRelease",
        "helm.toolkit.fluxcd.io",
        "helm-controller",
        &[("driftDetection", "disabled")],
    ),
];

/// Labels or annotations of a group, with the values that switch its controller off for one object.
type Off = &'static [(&'static str, &'static str)];

/// What the policy says of who owns the spec.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// What the object shows.
    #[default]
    Auto,
    /// Nobody who would undo a change, whatever the object shows.
    None,
    /// A GitOps tool, whatever the object shows.
    Gitops,
}

/// Who owns a workload's spec, as far as that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// Argo CD, with the application where the object names it.
    ArgoCd(Option<String>),
    /// Flux: the kind, and its namespace and name where the object has them.
    Flux(&'static str, Option<String>),
    /// Nobody but the policy says that there is one.
    Unnamed,
}

// === impl Target ===

impl Target {
    /// Who owns the spec of this target's workload and would undo what is written there.
    #[must_use]
    pub fn owner(&self, rollout: &Rollout) -> Option<Owner> {
        match self.ownership {
            Ownership::Auto => rollout.owner.clone(),
            Ownership::None => None,
            Ownership::Gitops => rollout.owner.clone().or(Some(Owner::Unnamed)),
        }
    }
}

// === impl Owner ===

impl Owner {
    /// What a workload of this kind shows of its owner.
    #[must_use]
    pub fn read(object: &Value, of: Kind) -> Option<Self> {
        let metadata = object.get("metadata")?;
        if let Some(application) = tracked_by(metadata, of) {
            return Some(Self::ArgoCd(Some(application)));
        }
        let flux = FLUX.iter().find_map(|(kind, group, manager, off)| {
            let named = |part: &str| metadata["labels"][format!("{group}/{part}")].as_str();
            let name = named("name").zip(named("namespace"));
            let is_off = off.iter().any(|(key, value)| {
                let key = format!("{group}/{key}");
                ["labels", "annotations"]
                    .map(|of| &metadata[of][&key])
                    .contains(&&Value::from(*value))
            });
            let owns = !is_off && (name.is_some() || manages(metadata, of, manager));
            owns.then(|| {
                Self::Flux(
                    kind,
                    name.map(|(name, namespace)| format!("{namespace}/{name}")),
                )
            })
        });
        flux.or_else(|| manages(metadata, of, ARGO_CD).then_some(Self::ArgoCd(None)))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ArgoCd(Some(application)) => write!(f, "Argo CD application {application}"),
            Self::ArgoCd(None) => f.write_str("Argo CD"),
            Self::Flux(kind, Some(name)) => write!(f, "Flux {kind} {name}"),
            Self::Flux(kind, None) => write!(f, "Flux ({kind})"),
            Self::Unnamed => f.write_str("GitOps"),
        }
    }
}

/// Why a release is left to the owner of its spec. `state` says why an abort of it would not help.
#[must_use]
pub fn left_to(owner: impl std::fmt::Display, release: &Release, state: &str) -> Finding {
    Reason::OwnedElsewhere.because(format!(
        "{owner} owns the spec and would undo a restored template, and an abort does not help: {} {state}",
        release.shown()
    ))
}

/// The application that tracks this very object. One that was copied from another object tells nothing, and Argo CD
/// disregards it too.
fn tracked_by(metadata: &Value, of: Kind) -> Option<String> {
    let mut parts = metadata["annotations"][TRACKING_ID].as_str()?.split(':');
    let (application, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let own = kind == format!("{}/{}", of.group(), of.name())
        && name == format!("{}/{}", text("namespace"), text("name"));
    // An application outside of Argo CD's own namespace is written as `namespace_name`.
    (own && !application.is_empty()).then(|| application.replacen('_', "/", 1))
}

/// Whether this field manager owns anything of what decides the release: the template, or a Service's selector.
fn manages(metadata: &Value, of: Kind, manager: &str) -> bool {
    let part = match of {
        Kind::Rollout | Kind::Deployment => "/fieldsV1/f:spec/f:template",
        Kind::Service => "/fieldsV1/f:spec/f:selector",
    };
    let mut entries = metadata["managedFields"].as_array().into_iter().flatten();
    entries.any(|entry| entry["manager"] == manager && entry.pointer(part).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a Rollout `shop/api` with this metadata shows, in words.
    fn shows(metadata: &Value) -> Option<String> {
        let mut object = json!({"metadata": {"namespace": "shop", "name": "api"}});
        json_patch::merge(&mut object["metadata"], metadata);
        Owner::read(&object, Kind::Rollout).map(|owner| owner.to_string())
    }

    fn managed(manager: &str, fields: &Value) -> Value {
        json!({"managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]})
    }

    #[test]
    fn what_a_gitops_tool_leaves_names_it() {
        let tracked = |id: &str| json!({"annotations": {TRACKING_ID: id}});
        let labelled = |group: &str| json!({"labels": {format!("{group}/name"): "apps", format!("{group}/namespace"): "flux-system"}});
        let template = json!({"f:spec": {"f:template": {"f:spec": {}}}});
        for (metadata, owner) in [
            (
                tracked("shop:argoproj.io/Rollout:shop/api"),
                "Argo CD application shop",
            ),
            (
                tracked("team-a_shop:argoproj.io/Rollout:shop/api"),
                "Argo CD application team-a/shop",
            ),
            (managed("argocd-controller", &template), "Argo CD"),
            (
                labelled("kustomize.toolkit.fluxcd.io"),
                "Flux Kustomization flux-system/apps",
            ),
            (
                labelled("helm.toolkit.fluxcd.io"),
                "Flux HelmRelease flux-system/apps",
            ),
            (
                managed("kustomize-controller", &template),
                "Flux (Kustomization)",
            ),
            (managed("helm-controller", &template), "Flux (HelmRelease)"),
        ] {
            assert_eq!(shows(&metadata).as_deref(), Some(owner), "{metadata}");
        }
    }

    #[test]
    fn what_proves_nothing_names_nobody() {
        let template = json!({"f:spec": {"f:template": {}}});
        for metadata in [
            json!({}),
            json!({"labels": {"app.kubernetes.io/instance": "shop"}}),
            json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}),
            json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}),
            json!({"annotations": {TRACKING_ID: "shop:argoproj.io/Rollout:shop/another"}}),
            json!({"annotations": {TRACKING_ID: "shop:apps/Deployment:shop/api"}}),
            json!({"annotations": {TRACKING_ID: "shop"}}),
            managed(
                "argocd-controller",
                &json!({"f:metadata": {"f:labels": {}}}),
            ),
            managed("kubectl-client-side-apply", &template),
            managed("rollouts-controller", &template),
        ] {
            assert_eq!(shows(&metadata), None, "{metadata}");
        }
    }

    #[test]
    fn a_deployment_is_tracked_under_its_own_kind() {
        let of = |id: &str| {
            let metadata =
                json!({"namespace": "shop", "name": "api", "annotations": {TRACKING_ID: id}});
            Owner::read(&json!({ "metadata": metadata }), Kind::Deployment)
        };
        let owner = Some(Owner::ArgoCd(Some("shop".into())));
        assert_eq!(of("shop:apps/Deployment:shop/api"), owner);
        assert_eq!(of("shop:argoproj.io/Rollout:shop/api"), None);
    }

    #[test]
    fn a_service_is_owned_by_whoever_manages_its_selector() {
        let of = |metadata: &Value| {
            let mut object = json!({"metadata": {"namespace": "shop", "name": "api"}});
            json_patch::merge(&mut object["metadata"], metadata);
            Owner::read(&object, Kind::Service)
        };
        let selector = json!({"f:spec": {"f:selector": {}}});
        let ports = json!({"f:spec": {"f:ports": {}}});
        let argo = managed("argocd-controller", &selector);
        assert_eq!(of(&argo), Some(Owner::ArgoCd(None)));
        assert_eq!(of(&managed("argocd-controller", &ports)), None);
        let tracked = json!({"annotations": {TRACKING_ID: "shop:/Service:shop/api"}});
        assert_eq!(of(&tracked), Some(Owner::ArgoCd(Some("shop".into()))));
    }

    #[test]
    fn an_object_that_its_owner_was_told_to_leave_alone_is_nobodys() {
        for (group, key, value) in [
            ("kustomize", "reconcile", "disabled"),
            ("kustomize", "ssa", "Ignore"),
            ("kustomize", "ssa", "IfNotPresent"),
            ("helm", "driftDetection", "disabled"),
        ] {
            let group = format!("{group}.toolkit.fluxcd.io");
            let mut metadata = json!({"labels": {format!("{group}/name"): "apps", format!("{group}/namespace"): "flux-system"}});
            assert!(shows(&metadata).is_some());
            metadata["annotations"] = json!({format!("{group}/{key}"): value});
            assert_eq!(shows(&metadata), None, "{metadata}");
            metadata["annotations"] = json!({format!("{group}/{key}"): "Merge"});
            assert!(shows(&metadata).is_some());
        }
        // Argo CD knows no such word: what it compares and how it syncs does not keep it from healing.
        let metadata = json!({"annotations": {
            TRACKING_ID: "shop:argoproj.io/Rollout:shop/api",
            "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
            "argocd.argoproj.io/sync-options": "Prune=false",
        }});
        assert!(shows(&metadata).is_some());
    }

    #[test]
    fn the_policy_has_the_last_word() {
        let mut target = crate::rollback::history::tests::target();
        let mut rollout = crate::target::snapshot::tests::in_flight().rollout.unwrap();
        let argo = Some(Owner::ArgoCd(Some("shop".into())));
        let cases = [
            (Ownership::Auto, None, None),
            (Ownership::Auto, argo.clone(), argo.clone()),
            (Ownership::None, argo.clone(), None),
            (Ownership::Gitops, None, Some(Owner::Unnamed)),
            (Ownership::Gitops, argo.clone(), argo),
        ];
        for (ownership, shown, owner) in cases {
            target.ownership = ownership;
            rollout.owner = shown;
            assert_eq!(target.owner(&rollout), owner, "{ownership:?}");
        }
    }
}
