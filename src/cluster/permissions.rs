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
/// neither changes a workload nor pins its own record.
fn needed(kind: Kind, mode: Mode) -> Vec<Right> {
    let (group, resource) = (kind.group(), kind.plural());
    let mut rights = vec![("get", group, resource, "")];
    if mode == Mode::Act {
        rights.push(("patch", group, resource, ""));
        if kind == Kind::Rollout {
            rights.push(("patch", group, resource, "status"));
        }
        rights.push(("patch", GROUP, "rollbacks", ""));
    }
    rights.extend(NEEDED);
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
        self.lacking(workload, mode, None).await
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
        self.lacking(workload, mode, Some(account)).await
    }

    async fn lacking(
        &self,
        workload: &Workload,
        mode: Mode,
        account: Option<&Account>,
    ) -> Result<Vec<String>, Error> {
        let namespace = workload.namespace.as_str();
        let needed = needed(workload.kind, mode).into_iter();
        let answers = join_all(needed.map(|right| async move {
            let allowed = match account {
                None => self.may(attributes(namespace, right)).await?,
                Some(account) => self.may_as(account, attributes(namespace, right)).await?,
            };
            let (verb, group, resource, subresource) = right;
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
