//! The engine's writes of a rollback's status. Every one tests the epoch, so that a leader that was frozen cannot write.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::claims::{add, patch, replace, test};
use super::client::MANAGER;
use super::{Cluster, Error};
use crate::reason::Finding;
use crate::rollback::after::After;
use crate::rollback::object::{Plan, Run};
use crate::rollback::{FINALIZER, Phase, Rollback};

/// What the engine owns of a rollback's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// How far it is.
    pub phase: Phase,
    /// Why.
    pub reason: Option<Finding>,
    /// The frozen plan.
    pub plan: Option<Plan>,
    /// The journal.
    pub run: Run,
}

impl Cluster {
    /// Writes what the engine owns, if `epoch` is still the object's and, where `alerts_seq` is given, no alert joined since.
    ///
    /// # Errors
    /// [`Error::Precondition`] where another leader took over, or an alert joined.
    pub async fn write_page(
        &self,
        rollback: &Rollback,
        epoch: i64,
        page: &Page,
        alerts_seq: Option<i64>,
    ) -> Result<Rollback, Error> {
        let mut operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            test("/status/run/epoch", json!(epoch)),
        ];
        if let Some(seq) = alerts_seq {
            operations.push(test("/status/alerts/seq", json!(seq)));
        }
        operations.push(add("/status/phase", json!(page.phase)));
        if let Some(reason) = &page.reason {
            operations.push(add("/status/reason", json!(reason)));
        }
        if let Some(plan) = &page.plan {
            operations.push(add("/status/plan", json!(plan)));
        }
        operations.push(replace("/status/run", json!(page.run)));
        let api = self.api::<Rollback>(rollback.namespace());
        self.call(api.patch_status(
            rollback.name(),
            &PatchParams::apply(MANAGER),
            &patch(operations),
        ))
        .await
    }

    /// Adds or removes the finalizer that keeps a running rollback's object.
    ///
    /// # Errors
    /// See [`Error`]; an object that is gone already counts as done.
    pub async fn pin(&self, rollback: &Rollback, pinned: bool) -> Result<(), Error> {
        let api = self.api::<Rollback>(rollback.namespace());
        for _ in 0..5 {
            let current = match self.call(api.get(rollback.name())).await {
                Ok(current) => current,
                Err(Error::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut finalizers = current.finalizers().to_vec();
            let has = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
            if current.metadata.uid != rollback.metadata.uid
                || has == pinned
                || (pinned && current.metadata.deletion_timestamp.is_some())
            {
                return Ok(());
            }
            if pinned {
                finalizers.push(FINALIZER.to_owned());
            } else {
                finalizers.retain(|finalizer| finalizer != FINALIZER);
            }
            let body = json!({"metadata": {
                "resourceVersion": current.metadata.resource_version,
                "finalizers": finalizers,
            }});
            match self
                .call(api.patch_metadata(
                    rollback.name(),
                    &PatchParams::apply(MANAGER),
                    &Patch::Merge(body),
                ))
                .await
            {
                Ok(_) | Err(Error::NotFound(_)) => return Ok(()),
                Err(Error::Precondition(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Precondition(
            "the finalizer lost every race".to_owned(),
        ))
    }

    /// Removes an old rollback.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn forget(&self, rollback: &Rollback) -> Result<(), Error> {
        let api = self.api::<Rollback>(rollback.namespace());
        let only = Preconditions {
            uid: rollback.metadata.uid.clone(),
            resource_version: rollback.metadata.resource_version.clone(),
        };
        let params = kube::api::DeleteParams {
            preconditions: Some(only),
            ..kube::api::DeleteParams::default()
        };
        match self.call(api.delete(rollback.name(), &params)).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes what was seen after the end, if nobody else has meanwhile.
    ///
    /// # Errors
    /// [`Error::Precondition`] where somebody has.
    pub async fn write_after(&self, rollback: &Rollback, after: &After) -> Result<(), Error> {
        let before = rollback.state().after.seq;
        let operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            test("/status/after/seq", json!(before)),
            replace("/status/after", json!(after)),
        ];
        let api = self.api::<Rollback>(rollback.namespace());
        self.call(api.patch_status(
            rollback.name(),
            &PatchParams::apply(MANAGER),
            &patch(operations),
        ))
        .await
        .map(drop)
    }

    /// Writes what people were told through one reporter, under its key of the report.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write_report(
        &self,
        rollback: &Rollback,
        key: &'static str,
        record: Value,
    ) -> Result<(), Error> {
        let operations = vec![
            test("/metadata/uid", json!(rollback.metadata.uid)),
            add(&format!("/status/report/{key}"), record),
        ];
        let api = self.api::<Rollback>(rollback.namespace());
        self.call(api.patch_status(
            rollback.name(),
            &PatchParams::apply(MANAGER),
            &patch(operations),
        ))
        .await
        .map(drop)
    }
}
