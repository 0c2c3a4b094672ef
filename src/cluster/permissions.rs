//! Asks the API server whether the service account may do what a plan needs, before anything is touched; the service asks
//! for itself, and a person for the service.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
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

/// For how long the answer that nothing is missing counts, in a start: as nothing else stands between an alert and the first
/// change, it is asked for ahead. What is taken away meanwhile, the API server refuses.
const COUNTS: SignedDuration = SignedDuration::from_secs(90);

/// Where nothing was missing when it was last asked: by namespace and kind of workload, as rights are granted so.
#[derive(Debug, Default)]
pub struct Rights {
    complete: Mutex<BTreeMap<(String, Kind), Timestamp>>,
}

/// A service account whose permissions are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

// === impl Rights ===

impl Rights {
    /// Notes what was missing at this time.
    pub fn note(&self, workload: &Workload, missing: &[String], at: Timestamp) {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (workload.namespace.clone(), workload.kind);
        if missing.is_empty() {
            complete.insert(key, at);
        } else {
            complete.remove(&key);
        }
    }

    /// Whether it is known that nothing is missing.
    #[must_use]
    pub fn are_complete(&self, workload: &Workload, now: Timestamp) -> bool {
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = complete.get(&(workload.namespace.clone(), workload.kind));
        asked.is_some_and(|asked| now.duration_since(*asked) < COUNTS)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_complete_counts_for_a_while_and_until_something_is_missing() {
        let rights = Rights::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let rollout = |namespace: &str, kind| Workload {
            kind,
            namespace: namespace.to_owned(),
            name: "any".to_owned(),
        };
        let shop = rollout("shop", Kind::Rollout);
        assert!(!rights.are_complete(&shop, at(0)), "nobody has asked");
        rights.note(&shop, &[], at(0));
        assert!(rights.are_complete(&shop, at(89)));
        assert!(!rights.are_complete(&shop, at(90)));
        assert!(!rights.are_complete(&rollout("bank", Kind::Rollout), at(1)));
        assert!(!rights.are_complete(&rollout("shop", Kind::Deployment), at(1)));
        rights.note(&shop, &["patch rollouts".to_owned()], at(2));
        assert!(!rights.are_complete(&shop, at(3)));
    }
}
