//! Asks the API server whether the service account may do what a plan needs, before anything is touched; the service asks
//! for itself, and a person for the service.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::{Cluster, Error};
use crate::rollback::GROUP;
use crate::rollback::object::Mode;
use crate::target::effect::EffectKind;
use crate::target::{Kind, Workload};

/// Verb, group, resource, subresource.
type Right = (&'static str, &'static str, &'static str, &'static str);

/// What a rollback needs in a target's namespace besides its rights on the workload, also where it only watches.
const NEEDED: [Right; 5] = [
    ("list", "apps", "replicasets", ""),
    ("list", "", "pods", ""),
    ("list", "discovery.k8s.io", "endpointslices", ""),
    ("patch", GROUP, "rollbacks", "status"),
    ("update", GROUP, "targets", "status"),
];

/// What a rollback of a workload of this kind needs: only a Rollout takes requests in its status, and what only watches
/// neither changes a workload nor pins its own record. Behind a Service, Deployments are scaled, and nothing else of them is
/// written.
fn needed(kind: Kind, mode: Mode) -> Vec<Right> {
    let mut rights = vec![("get", kind.group(), kind.plural(), "")];
    if kind == Kind::Service {
        rights.push(("get", "apps", "deployments", ""));
    }
    if mode == Mode::Act {
        rights.push(patch(kind, ""));
        if kind == Kind::Rollout {
            rights.push(patch(kind, "status"));
        }
        if kind == Kind::Service {
            rights.push(patch(Kind::Deployment, "scale"));
        }
        rights.push(("patch", GROUP, "rollbacks", ""));
    }
    rights.extend(NEEDED);
    rights
}

/// What a change of a workload of this kind needs; nothing where it is no change of the workload.
fn needed_for(kind: Kind, effect: EffectKind) -> Option<Right> {
    match effect {
        EffectKind::RestoreTemplate
        | EffectKind::SetImage
        | EffectKind::Nudge
        | EffectKind::Restart
        | EffectKind::SwitchService => Some(patch(kind, "")),
        EffectKind::PromoteFull | EffectKind::Abort => Some(patch(kind, "status")),
        EffectKind::Scale => Some(patch(Kind::Deployment, "scale")),
        EffectKind::Flush | EffectKind::Call | EffectKind::Exec => None,
    }
}

const fn patch(kind: Kind, subresource: &'static str) -> Right {
    ("patch", kind.group(), kind.plural(), subresource)
}

/// What running a command in a pod needs. The connection is opened with GET: before Kubernetes 1.35 that asks for `get` alone,
/// since then for `create` too.
const EXEC: [Right; 2] = [("get", "", "pods", "exec"), ("create", "", "pods", "exec")];

/// What the service needs in a target's namespace besides what a rollback does: to hear of changes, to claim, to remember, and
/// to tell.
const STANDING: [Right; 10] = [
    ("get", GROUP, "rollbacks", ""),
    ("list", GROUP, "rollbacks", ""),
    ("watch", GROUP, "rollbacks", ""),
    ("create", GROUP, "rollbacks", ""),
    ("delete", GROUP, "rollbacks", ""),
    ("get", GROUP, "targets", ""),
    ("list", GROUP, "targets", ""),
    ("watch", GROUP, "targets", ""),
    ("create", GROUP, "targets", ""),
    ("create", "events.k8s.io", "events", ""),
];

/// What the service needs in its own namespace.
const AT_HOME: [Right; 13] = [
    ("get", "coordination.k8s.io", "leases", ""),
    ("create", "coordination.k8s.io", "leases", ""),
    ("update", "coordination.k8s.io", "leases", ""),
    ("get", "", HOLDS, ""),
    ("list", "", HOLDS, ""),
    ("watch", "", HOLDS, ""),
    ("get", GROUP, "rollbacks", ""),
    ("list", GROUP, "rollbacks", ""),
    ("watch", GROUP, "rollbacks", ""),
    ("create", GROUP, "rollbacks", ""),
    ("delete", GROUP, "rollbacks", ""),
    ("patch", GROUP, "rollbacks", "status"),
    ("create", "events.k8s.io", "events", ""),
];

/// The kind of the off switch, whose right is for the one object.
const HOLDS: &str = "configmaps";

/// Everything that the service needs for a workload of this kind.
fn everything(kind: Kind, mode: Mode) -> Vec<Right> {
    let mut rights = needed(kind, mode);
    rights.extend(besides(kind, mode));
    rights
}

/// What the service needs for a workload of this kind besides what a rollback of it does.
fn besides(kind: Kind, mode: Mode) -> Vec<Right> {
    let (group, resource) = (kind.group(), kind.plural());
    let mut rights = vec![
        ("list", group, resource, ""),
        ("watch", group, resource, ""),
    ];
    if kind == Kind::Service {
        // Which release is live is told by the Deployments.
        rights.extend([
            ("list", "apps", "deployments", ""),
            ("watch", "apps", "deployments", ""),
        ]);
    }
    if kind != Kind::Rollout {
        // Which release of a Deployment is live is told by its replica sets.
        rights.push(("watch", "apps", "replicasets", ""));
    }
    if mode == Mode::Act {
        rights.push(("patch", "events.k8s.io", "events", ""));
    }
    rights.extend(STANDING);
    rights
}

/// A service account whose permissions are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// The permissions that a rollback of this workload in this mode lacks, each as `verb resource.group in namespace`.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn missing_permissions(
        &self,
        workload: &Workload,
        mode: Mode,
    ) -> Result<Vec<String>, Error> {
        let rights = needed(workload.kind, mode);
        self.lacking(&workload.namespace, &rights, None, None).await
    }

    /// The permissions that a rollback of this workload by `account` lacks.
    ///
    /// # Errors
    /// Where the API server does not answer; [`Error::Forbidden`] where whoever asks may not ask for others.
    pub async fn missing_permissions_of(
        &self,
        account: &Account,
        workload: &Workload,
        mode: Mode,
    ) -> Result<Vec<String>, Error> {
        let rights = needed(workload.kind, mode);
        self.lacking(&workload.namespace, &rights, None, Some(account))
            .await
    }

    /// The permissions that whoever asks lacks to make such a change of this workload. The API server forbids it in the same
    /// way where somebody's rule of admission keeps it out: then nothing is missing.
    ///
    /// # Errors
    /// As [`Cluster::missing_permissions_of`].
    pub async fn missing_to_change(
        &self,
        workload: &Workload,
        effect: EffectKind,
    ) -> Result<Vec<String>, Error> {
        let rights = Vec::from_iter(needed_for(workload.kind, effect));
        self.lacking(&workload.namespace, &rights, None, None).await
    }

    /// The permissions that running commands in the pods of a namespace lacks. `account` is the service's, where it is not the
    /// one that asks.
    ///
    /// # Errors
    /// As [`Cluster::missing_permissions_of`].
    pub async fn missing_to_exec(
        &self,
        account: Option<&Account>,
        namespace: &str,
    ) -> Result<Vec<String>, Error> {
        self.lacking(namespace, &EXEC, None, account).await
    }

    /// What the service may not do in the namespace of this workload besides what a rollback does, and needs all the same: to hear
    /// of changes, to claim, to remember and to tell.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn missing_besides(
        &self,
        workload: &Workload,
        mode: Mode,
    ) -> Result<Vec<String>, Error> {
        let rights = besides(workload.kind, mode);
        self.lacking(&workload.namespace, &rights, None, None).await
    }

    /// Everything that the service may not do in the namespace of this workload: to hear, to claim, to act and to remember.
    /// `account` is the service's, where it is not the one that asks.
    ///
    /// # Errors
    /// As [`Cluster::missing_permissions_of`].
    pub async fn missing_rights(
        &self,
        account: Option<&Account>,
        workload: &Workload,
        mode: Mode,
    ) -> Result<Vec<String>, Error> {
        let rights = everything(workload.kind, mode);
        self.lacking(&workload.namespace, &rights, None, account)
            .await
    }

    /// Everything that the service may not do in its own namespace, where the off switch is the `ConfigMap` `hold`.
    ///
    /// # Errors
    /// As [`Cluster::missing_permissions_of`].
    pub async fn missing_at_home(
        &self,
        account: Option<&Account>,
        namespace: &str,
        hold: &str,
    ) -> Result<Vec<String>, Error> {
        self.lacking(namespace, &AT_HOME, Some(hold), account).await
    }

    async fn lacking(
        &self,
        namespace: &str,
        rights: &[Right],
        hold: Option<&str>,
        account: Option<&Account>,
    ) -> Result<Vec<String>, Error> {
        let answers = join_all(rights.iter().map(|right| async move {
            let mut attributes = attributes(namespace, *right);
            if right.2 == HOLDS {
                attributes.name = hold.map(str::to_owned);
            }
            let allowed = match account {
                None => self.may(attributes).await?,
                Some(account) => self.may_as(account, attributes).await?,
            };
            let (verb, group, resource, subresource) = *right;
            let slash = if subresource.is_empty() { "" } else { "/" };
            let dot = if group.is_empty() { "" } else { "." };
            Ok((!allowed).then(|| {
                format!("{verb} {resource}{dot}{group}{slash}{subresource} in {namespace}")
            }))
        }))
        .await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }

    async fn may(&self, attributes: ResourceAttributes) -> Result<bool, Error> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let answer = self.call(api.create(&PostParams::default(), &review)).await;
        Ok(answer?.status.is_some_and(|status| status.allowed))
    }

    async fn may_as(
        &self,
        account: &Account,
        attributes: ResourceAttributes,
    ) -> Result<bool, Error> {
        let Account { namespace, name } = account;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ]),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client());
        let answer = self.call(api.create(&PostParams::default(), &review)).await;
        Ok(answer?.status.is_some_and(|status| status.allowed))
    }
}

fn attributes(namespace: &str, right: Right) -> ResourceAttributes {
    let (verb, group, resource, subresource) = right;
    ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|sub| !sub.is_empty()),
        ..ResourceAttributes::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// What the roles in these manifests grant.
    fn granted(manifests: &[&str]) -> BTreeSet<String> {
        let documents = manifests.iter().flat_map(|text| text.split("\n---\n"));
        let roles = documents
            .map(|text| serde_saphyr::from_str::<Value>(text).unwrap())
            .filter(|document| document["kind"] == "Role");
        let mut granted = BTreeSet::new();
        for role in roles {
            for rule in role["rules"].as_array().unwrap() {
                let words = |key: &str| -> Vec<String> {
                    serde_json::from_value(rule[key].clone()).unwrap()
                };
                for resource in words("resources") {
                    for verb in words("verbs") {
                        granted.insert(format!("{verb} {} {resource}", words("apiGroups")[0]));
                    }
                }
            }
        }
        granted
    }

    fn asked(rights: &[Right]) -> BTreeSet<String> {
        let text = |(verb, group, resource, subresource): &Right| {
            let slash = if subresource.is_empty() { "" } else { "/" };
            format!("{verb} {group} {resource}{slash}{subresource}")
        };
        rights.iter().map(text).collect()
    }

    #[test]
    fn what_is_asked_for_is_what_the_shipped_roles_grant() {
        let act = include_str!("../../deploy/rbac/release-namespace/role.yaml");
        let deployments = include_str!("../../deploy/rbac/deployment-targets/role.yaml");
        let shadow = include_str!("../../deploy/rbac/shadow-namespace/role.yaml");
        let watched = include_str!("../../deploy/rbac/shadow-deployment-targets/role.yaml");
        let home = include_str!("../../deploy/rbac/own-namespace.yaml");
        let services = include_str!("../../deploy/rbac/service-targets/role.yaml");
        let watched_services = include_str!("../../deploy/rbac/shadow-service-targets/role.yaml");
        for (mode, rollouts, both, with_services) in [
            (
                Mode::Act,
                [act].as_slice(),
                [act, deployments],
                [act, services],
            ),
            (
                Mode::Shadow,
                &[shadow],
                [shadow, watched],
                [shadow, watched_services],
            ),
        ] {
            let of_rollouts = everything(Kind::Rollout, mode);
            assert_eq!(asked(&of_rollouts), granted(rollouts));
            let mut of_both = everything(Kind::Deployment, mode);
            of_both.extend(of_rollouts.clone());
            assert_eq!(asked(&of_both), granted(&both));
            let mut of_services = everything(Kind::Service, mode);
            of_services.extend(of_rollouts);
            assert_eq!(asked(&of_services), granted(&with_services));
        }
        assert_eq!(asked(&AT_HOME), granted(&[home]));
        let exec = include_str!("../../deploy/rbac/exec-targets/role.yaml");
        assert_eq!(asked(&EXEC), granted(&[exec]));
    }

    #[test]
    fn what_one_change_needs_is_among_what_a_rollback_needs() {
        use EffectKind as It;
        let of_all = [It::RestoreTemplate, It::SetImage, It::Nudge, It::Restart];
        let of_rollouts = [It::PromoteFull, It::Abort];
        let of_services = [It::SwitchService, It::Scale];
        for (kind, effects, right) in [
            (Kind::Rollout, &of_all[..], "patch argoproj.io rollouts"),
            (
                Kind::Rollout,
                &of_rollouts,
                "patch argoproj.io rollouts/status",
            ),
            (Kind::Deployment, &of_all, "patch apps deployments"),
            (Kind::Service, &of_services[..1], "patch  services"),
            (
                Kind::Service,
                &of_services[1..],
                "patch apps deployments/scale",
            ),
        ] {
            assert!(asked(&needed(kind, Mode::Act)).contains(right), "{right}");
            assert!(!asked(&needed(kind, Mode::Shadow)).contains(right));
            for effect in effects {
                let of_effect = Vec::from_iter(needed_for(kind, *effect));
                assert_eq!(asked(&of_effect), BTreeSet::from([right.to_owned()]));
            }
        }
        for effect in [It::Flush, It::Call, It::Exec] {
            assert_eq!(needed_for(Kind::Rollout, effect), None);
        }
    }
}
