//! Intake's two writes: creating a rollback, which is the lock, and keeping its alerts.

use json_patch::{
    AddOperation, Patch as JsonPatch, PatchOperation, ReplaceOperation, TestOperation,
};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::error_boundary::DeserializeGuard;
use serde_json::{Value, json};

use super::client::MANAGER;
use super::{Cluster, Error};
use crate::rollback::Rollback;
use crate::rollback::object::Alerts;

/// What became of a claim.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours: the object did not exist.
    New(Box<Rollback>),
    /// Somebody else holds the name.
    Taken(Box<Rollback>),
}

impl Cluster {
    /// Creates a rollback. Its name is the lock: of several that create it, one does.
    ///
    /// # Errors
    /// Where it is not certain that the object exists.
    pub async fn claim(&self, rollback: &Rollback) -> Result<Claimed, Error> {
        let api = self.api::<Rollback>(rollback.namespace());
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            dry_run: false,
        };
        match self.call(api.create(&params, rollback)).await {
            Ok(created) => Ok(Claimed::New(Box::new(created))),
            Err(Error::Exists(_)) => Ok(Claimed::Taken(Box::new(
                self.call(api.get(rollback.name())).await?,
            ))),
            // The answer was lost: what exists now tells whether it was made, and by whom.
            Err(Error::Unavailable(said)) => match self.call(api.get(rollback.name())).await {
                Ok(found) if found.spec == rollback.spec => Ok(Claimed::New(Box::new(found))),
                Ok(found) => Ok(Claimed::Taken(Box::new(found))),
                Err(_) => Err(Error::Unavailable(said)),
            },
            Err(error) => Err(error),
        }
    }

    /// Reads a rollback, fresh.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rollback(&self, namespace: &str, name: &str) -> Result<Rollback, Error> {
        self.call(self.api::<Rollback>(namespace).get(name)).await
    }

    /// Reads every rollback of a namespace that can be read, fresh.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rollbacks(&self, namespace: &str) -> Result<Vec<Rollback>, Error> {
        let api = self.api::<DeserializeGuard<Rollback>>(namespace);
        let all = self.call(api.list(&ListParams::default())).await?;
        Ok(all.items.into_iter().filter_map(|it| it.0.ok()).collect())
    }

    /// Writes the alerts of a rollback, if nobody else has since `seq` and, where `phase_holds`, its phase is the same.
    ///
    /// # Errors
    /// [`Error::Precondition`] where somebody has: read again.
    pub async fn keep_alerts(
        &self,
        rollback: &Rollback,
        seq: i64,
        alerts: &Alerts,
        phase_holds: bool,
    ) -> Result<Rollback, Error> {
        let mut operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            test("/status/alerts/seq", json!(seq)),
        ];
        if phase_holds {
            operations.push(test("/status/phase", json!(rollback.phase())));
        }
        operations.push(replace("/status/alerts", json!(alerts)));
        let patch = patch(operations);
        let api = self.api::<Rollback>(rollback.namespace());
        self.call(api.patch_status(rollback.name(), &PatchParams::apply(MANAGER), &patch))
            .await
    }
}

/// A JSON patch of these operations.
pub(super) fn patch(operations: Vec<PatchOperation>) -> Patch<()> {
    Patch::Json(JsonPatch(operations))
}

/// The write has no effect unless `path` holds `value`.
pub(super) fn test(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: pointer(path),
        value,
    })
}

/// Puts `value` in place of what is there, which must exist.
pub(super) fn replace(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation {
        path: pointer(path),
        value,
    })
}

/// Puts `value` there, whether or not something is.
pub(super) fn add(path: &str, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    })
}

fn pointer(path: &str) -> json_patch::jsonptr::PointerBuf {
    json_patch::jsonptr::PointerBuf::parse(path).unwrap_or_default()
}
