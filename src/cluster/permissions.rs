//! Asks the API server whether the service account may do what a plan needs, before anything is touched.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::{Cluster, Error};
use crate::rollback::GROUP;
use crate::target::{Kind, Workload};

/// Verb, group, resource, subresource.
type Right = (&'static str, &'static str, &'static str, &'static str);

/// What a rollback needs in a target's namespace besides its rights on the workload.
const NEEDED: [Right; 6] = [
    ("list", "apps", "replicasets", ""),
    ("list", "", "pods", ""),
    ("list", "discovery.k8s.io", "endpointslices", ""),
    ("patch", GROUP, "rollbacks", ""),
    ("patch", GROUP, "rollbacks", "status"),
    ("update", GROUP, "targets", "status"),
];

/// What a rollback needs on a workload of this kind: only a Rollout takes requests in its status.
fn on(kind: Kind) -> Vec<Right> {
    let (group, resource) = (kind.group(), kind.plural());
    let mut rights = vec![("get", group, resource, ""), ("patch", group, resource, "")];
    if kind == Kind::Rollout {
        rights.push(("patch", group, resource, "status"));
    }
    rights
}

impl Cluster {
    /// The permissions that a rollback of this workload lacks, each as `verb resource.group in namespace`.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn missing_permissions(&self, workload: &Workload) -> Result<Vec<String>, Error> {
        let namespace = workload.namespace.as_str();
        let needed = on(workload.kind).into_iter().chain(NEEDED);
        let answers = join_all(
            needed.map(|(verb, group, resource, subresource)| async move {
                let attributes = ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: Some(subresource.to_owned()).filter(|sub| !sub.is_empty()),
                    ..ResourceAttributes::default()
                };
                let review = SelfSubjectAccessReview {
                    spec: SelfSubjectAccessReviewSpec {
                        resource_attributes: Some(attributes),
                        ..Default::default()
                    },
                    ..Default::default()
                };
                let api: Api<SelfSubjectAccessReview> = Api::all(self.client());
                let answer = self
                    .call(api.create(&PostParams::default(), &review))
                    .await?;
                let allowed = answer.status.is_some_and(|status| status.allowed);
                let slash = if subresource.is_empty() { "" } else { "/" };
                let dot = if group.is_empty() { "" } else { "." };
                Ok((!allowed).then(|| {
                    format!("{verb} {resource}{dot}{group}{slash}{subresource} in {namespace}")
                }))
            }),
        )
        .await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }
}
