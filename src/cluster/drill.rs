//! Puts a drill's mark on a workload's template, with a person's own rights, and for nothing else: the way back is the
//! service's.

use kube::Api;
use kube::api::{DynamicObject, PatchParams};
use serde_json::{Value, json};

use super::caches::resource;
use super::claims::{add, patch, test};
use super::{Cluster, Error};
use crate::target::Workload;
use crate::target::drill::{self, MARK};
use crate::target::workload::Rollout;

/// Who a drill is in managed fields.
const MANAGER: &str = "ripcord-drill";
/// How often the race with the controller, which writes the status all the time, may be lost.
const RACES: usize = 5;

impl Cluster {
    /// Puts the mark of this drill on the template of a workload that still is what was judged: the same uid and generation, and
    /// what was read of it just now. With `dry_run`, only whether that could be done.
    ///
    /// # Errors
    /// [`Error::Precondition`] where the workload is another one by now, or the race with other writers was lost.
    pub async fn mark(
        &self,
        workload: &Workload,
        judged: &Rollout,
        id: &str,
        dry_run: bool,
    ) -> Result<(), Error> {
        let mut lost = None;
        for _ in 0..RACES {
            match self.mark_once(workload, judged, id, dry_run).await {
                Err(Error::Precondition(said)) => lost = Some(said),
                marked => return marked,
            }
        }
        Err(Error::Precondition(lost.unwrap_or_default()))
    }

    async fn mark_once(
        &self,
        workload: &Workload,
        judged: &Rollout,
        id: &str,
        dry_run: bool,
    ) -> Result<(), Error> {
        let object = self.workload(workload).await?;
        let metadata = &object["metadata"];
        if metadata["uid"] != json!(judged.uid)
            || metadata["generation"] != json!(judged.generation)
        {
            let said = format!("{workload} was changed since it was looked at");
            return Err(Error::Precondition(said));
        }
        let mut operations = vec![
            test("/metadata/uid", metadata["uid"].clone()),
            test("/metadata/generation", metadata["generation"].clone()),
            test(
                "/metadata/resourceVersion",
                metadata["resourceVersion"].clone(),
            ),
        ];
        for path in [
            "/spec/template/metadata",
            "/spec/template/metadata/annotations",
        ] {
            if !object.pointer(path).is_some_and(Value::is_object) {
                operations.push(add(path, json!({})));
            }
        }
        let name = MARK.replace('/', "~1");
        let path = format!("/spec/template/metadata/annotations/{name}");
        operations.push(add(&path, json!(id)));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            dry_run,
            ..PatchParams::default()
        };
        let api = self.of_kind(workload);
        self.call(api.patch(&workload.name, &params, &patch(operations)))
            .await?;
        Ok(())
    }

    /// The id of the drill whose mark the template in the spec bears now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn marked(&self, workload: &Workload) -> Result<Option<String>, Error> {
        let object = self.workload(workload).await?;
        let template = object.pointer("/spec/template");
        Ok(template.and_then(drill::mark).map(str::to_owned))
    }

    async fn workload(&self, workload: &Workload) -> Result<Value, Error> {
        let object = self
            .call(self.of_kind(workload).get(&workload.name))
            .await?;
        Ok(serde_json::to_value(object).unwrap_or_default())
    }

    fn of_kind(&self, workload: &Workload) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), &workload.namespace, &resource(workload.kind))
    }
}
