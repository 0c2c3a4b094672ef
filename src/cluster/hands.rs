//! What people do with their own rights: look at rollbacks and targets, ask for a rollback, answer for one, stop one.
//!
//! Nothing here changes a workload, and what is written is decided on what was read: the write tests it.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::{ListParams, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::core::error_boundary::DeserializeGuard;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::claims::{add, patch, test};
use super::{Cluster, Error};
use crate::rollback::object::{Approval, Cancel};
use crate::rollback::{Memory, Rollback};

/// Who a person's command is in managed fields.
const MANAGER: &str = "ripcord-hands";

/// All objects of a kind.
#[derive(Clone, Debug)]
pub struct Listed<K> {
    /// Those that can be read.
    pub items: Vec<K>,
    /// How many cannot: they are of newer definitions than this program's.
    pub unreadable: usize,
}

impl Cluster {
    /// Reads every rollback of a namespace, or of all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_rollbacks(&self, namespace: Option<&str>) -> Result<Listed<Rollback>, Error> {
        self.every(namespace).await
    }

    /// Reads the memory of every target of a namespace, or of all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_memories(&self, namespace: Option<&str>) -> Result<Listed<Memory>, Error> {
        self.every(namespace).await
    }

    async fn every<K>(&self, namespace: Option<&str>) -> Result<Listed<K>, Error>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + 'static,
    {
        let api: Api<DeserializeGuard<K>> = match namespace {
            Some(namespace) => Api::namespaced(self.client(), namespace),
            None => Api::all(self.client()),
        };
        let all = self.call(api.list(&ListParams::default())).await?.items;
        let found = all.len();
        let items: Vec<K> = all.into_iter().filter_map(|it| it.0.ok()).collect();
        let unreadable = found - items.len();
        Ok(Listed { items, unreadable })
    }

    /// Reads the memory of a target by its name, where there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_memory(&self, namespace: &str, name: &str) -> Result<Option<Memory>, Error> {
        match self.call(self.api::<Memory>(namespace).get(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a rollback; with `dry_run`, only whether it could be asked for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn request(&self, rollback: &Rollback, dry_run: bool) -> Result<Rollback, Error> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            dry_run,
        };
        let api = self.api::<Rollback>(rollback.namespace());
        self.call(api.create(&params, rollback)).await
    }

    /// Asks a rollback to stop, which is set once.
    ///
    /// # Errors
    /// [`Error::Precondition`] where the object is another one by now, [`Error::Rejected`] where it was asked before.
    pub async fn stop(&self, rollback: &Rollback, cancel: &Cancel) -> Result<Rollback, Error> {
        let operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            add("/spec/cancel", json!(cancel)),
        ];
        self.patch_request(rollback, operations).await
    }

    /// Answers whether a rollback may run, which is set once.
    ///
    /// # Errors
    /// [`Error::Precondition`] where it waits for no answer any more, or its plan is another one by now.
    pub async fn answer(&self, rollback: &Rollback, answer: &Approval) -> Result<Rollback, Error> {
        let mut operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            test("/status/phase", json!(rollback.phase())),
        ];
        if let Some(to) = rollback.to() {
            operations.push(test("/status/plan/to/hash", json!(to.hash)));
        }
        operations.push(add("/spec/approval", json!(answer)));
        self.patch_request(rollback, operations).await
    }

    async fn patch_request(
        &self,
        rollback: &Rollback,
        operations: Vec<json_patch::PatchOperation>,
    ) -> Result<Rollback, Error> {
        let api = self.api::<Rollback>(rollback.namespace());
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.call(api.patch(rollback.name(), &params, &patch(operations)))
            .await
    }

    /// Who this is, as the API server knows it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn who(&self) -> Result<Option<String>, Error> {
        let api: Api<SelfSubjectReview> = Api::all(self.client());
        let asked = SelfSubjectReview::default();
        let answer = self
            .call(api.create(&PostParams::default(), &asked))
            .await?;
        let user = answer.status.and_then(|status| status.user_info);
        Ok(user.and_then(|user| user.username))
    }
}
