//! Services that select one of two Deployments: what the watches keep of one, a fresh look at all of it, and its changes.
//!
//! Of a Service the values of its selector are changed, and of a Deployment behind it the number of its pods. Nothing else.

use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, PatchParams};
use serde_json::{Value, json};

use super::caches::Seen;
use super::claims::{add, patch, replace, test};
use super::deployments::{Deployed, Owned};
use super::workloads::{annotate, everything, nothing, pods_of};
use super::{Clock, Cluster, Error};
use crate::target::colours::own_sets;
use crate::target::snapshot::{Pod, ReplicaSet};
use crate::target::workload::{OPERATION_ANNOTATION, Rollout, selector_text};
use crate::target::{Effect, Kind, Snapshot, Workload};

/// A Service, and since when this replica has seen it select what it does.
pub struct Served {
    object: Value,
    since: Timestamp,
}

/// A Deployment behind a Service, with the replica sets and pods that it owns.
struct Behind {
    object: Value,
    sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
}

// === impl Served ===

impl Served {
    /// What is kept of a Service.
    pub(super) fn keep(
        object: &DynamicObject,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Option<Self> {
        let object = serde_json::to_value(object).ok()?;
        let same = |before: &&Self| {
            let as_before = |pointer| before.object.pointer(pointer) == object.pointer(pointer);
            as_before("/metadata/uid") && as_before("/spec/selector")
        };
        let since = before.filter(same).map_or(now, |before| before.since);
        Some(Self { object, since })
    }

    /// The Service as a workload, with those of its Deployments that exist and the replica sets that they own.
    pub(super) fn seen(&self, behind: &[(Arc<Deployed>, Vec<Arc<Owned>>)]) -> Option<Seen> {
        let sets: Vec<Vec<_>> = behind
            .iter()
            .map(|(_, owned)| owned.iter().map(|it| it.set().clone()).collect())
            .collect();
        let owning: Vec<_> = behind
            .iter()
            .zip(&sets)
            .map(|((deployed, _), sets)| (deployed.object(), sets.as_slice()))
            .collect();
        let rollout = Rollout::of_service(&self.object, &owning)?;
        let waited = behind.iter().map(|(deployed, _)| deployed.since());
        let since = waited.chain([self.since]).max();
        Some(Seen {
            unobserved_since: since.filter(|_| !rollout.observed),
            rollout,
        })
    }
}

// === impl Cluster ===

impl Cluster {
    /// What the cluster says of a Service and its Deployments now.
    pub(super) async fn snapshot_of_service(
        &self,
        workload: &Workload,
        clock: &Clock,
    ) -> Result<Snapshot, Error> {
        let of_service = format!("kubernetes.io/service-name={}", workload.name);
        let of_service = ListParams::default().labels(&of_service);
        let names = workload.deployments.iter();
        let (service, behind, slices) = tokio::try_join!(
            self.find(workload, Kind::Service, &workload.name),
            try_join_all(names.map(|name| self.behind(workload, name))),
            self.list(
                "discovery.k8s.io",
                "v1",
                "EndpointSlice",
                "endpointslices",
                workload,
                &of_service
            ),
        )?;
        let Some(service) = service else {
            return Ok(nothing(clock()));
        };
        let behind: Vec<_> = behind.into_iter().flatten().collect();
        let owning: Vec<_> = behind
            .iter()
            .map(|it| (&it.object, it.sets.as_slice()))
            .collect();
        let Some(rollout) = Rollout::of_service(&service, &owning) else {
            return Ok(nothing(clock()));
        };
        let replica_sets = own_sets(&owning);
        let pods: Vec<_> = behind.into_iter().flat_map(|it| it.pods).collect();
        Ok(everything(clock(), rollout, replica_sets, pods, &slices))
    }

    /// The Service alone as a workload, fresh, with its Deployments and the replica sets that they own.
    pub(super) async fn rollout_of_service(
        &self,
        workload: &Workload,
    ) -> Result<Option<Rollout>, Error> {
        let names = workload.deployments.iter();
        let (service, owning) = tokio::try_join!(
            self.find(workload, Kind::Service, &workload.name),
            try_join_all(names.map(|name| self.owning(workload, name))),
        )?;
        let owning = owning.iter().flatten();
        let owning: Vec<_> = owning
            .map(|(object, sets)| (object, sets.as_slice()))
            .collect();
        Ok(service.and_then(|service| Rollout::of_service(&service, &owning)))
    }

    /// A Deployment with what it owns, where it exists.
    async fn behind(&self, workload: &Workload, name: &str) -> Result<Option<Behind>, Error> {
        let Some(object) = self.find(workload, Kind::Deployment, name).await? else {
            return Ok(None);
        };
        let selector = selector_text(object.pointer("/spec/selector"));
        let selected = ListParams::default().labels(&selector);
        let (sets, pods) = tokio::try_join!(
            self.sets_of(workload, &object),
            self.list("", "v1", "Pod", "pods", workload, &selected),
        )?;
        let pods = pods_of(Kind::Deployment, name, &sets, &pods);
        Ok(Some(Behind { object, sets, pods }))
    }

    /// Makes a change, on the condition that nobody has written to what it changes since the snapshot: a Service and a
    /// Deployment at rest are left alone by their controllers.
    pub(super) async fn change_service(
        &self,
        workload: &Workload,
        at: &Snapshot,
        effect: &Effect,
        operation: &str,
        params: &PatchParams,
    ) -> Result<(), Error> {
        match effect {
            Effect::SwitchService { selector, keys } => {
                let gone = || Error::NotFound(workload.to_string());
                let rollout = at.rollout.as_ref().ok_or_else(gone)?;
                let mut operations = vec![
                    test("/metadata/uid", json!(rollout.uid)),
                    test(
                        "/metadata/resourceVersion",
                        json!(rollout.generation.to_string()),
                    ),
                    test("/spec/selector", json!(selector)),
                ];
                operations.extend(annotate(rollout, OPERATION_ANNOTATION, json!(operation)));
                operations.extend(keys.iter().map(|(key, value)| {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    replace(&format!("/spec/selector/{key}"), json!(value))
                }));
                let api = self.objects(workload, Kind::Service);
                self.call(api.patch(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::Scale {
                deployment,
                uid,
                version,
                to,
                ..
            } => {
                let operations = vec![
                    test("/metadata/uid", json!(uid)),
                    test("/metadata/resourceVersion", json!(version)),
                    // Not there where it is zero.
                    add("/spec/replicas", json!(to)),
                ];
                let api = self.objects(workload, Kind::Deployment);
                self.call(api.patch_scale(deployment, params, &patch(operations)))
                    .await?;
            }
            _ => {
                let said = "this is no change of a Service or of what is behind it".to_owned();
                return Err(Error::Rejected(said));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::target::deployment::tests::{deployment, replica_set};

    fn dynamic(object: &Value) -> DynamicObject {
        serde_json::from_value(object.clone()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn service(selector: &Value) -> DynamicObject {
        dynamic(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "x", "namespace": "n", "uid": "s", "resourceVersion": "9"},
            "spec": {"selector": selector},
        }))
    }

    #[test]
    fn a_service_is_seen_with_the_deployment_that_it_selects() {
        let deployed = Deployed::keep(&dynamic(&deployment("app:2", 2)), None, at(1)).unwrap();
        let owned = Owned::keep(&dynamic(&replica_set("two", "app:2", 2))).unwrap();
        let behind = [(Arc::new(deployed), vec![Arc::new(owned)])];
        let served = Served::keep(&service(&json!({"app": "x"})), None, at(5)).unwrap();
        let seen = served.seen(&behind).unwrap();
        assert_eq!(
            (seen.rollout.current.as_str(), seen.unobserved_since),
            ("two", None)
        );
        assert_eq!(
            (seen.rollout.uid.as_str(), seen.rollout.generation),
            ("s", 9)
        );
    }

    #[test]
    fn the_time_without_a_release_runs_on_until_the_selector_changes() {
        let nothing = service(&json!({"app": "y"}));
        let first = Served::keep(&nothing, None, at(5)).unwrap();
        let again = Served::keep(&nothing, Some(&first), at(8)).unwrap();
        let seen = again.seen(&[]).unwrap();
        assert_eq!(seen.unobserved_since, Some(at(5)));
        assert_eq!(seen.rollout.invalid, Some(Reason::SelectorUnclear));
        let other = Served::keep(&service(&json!({"app": "z"})), Some(&again), at(9)).unwrap();
        assert_eq!(other.seen(&[]).unwrap().unobserved_since, Some(at(9)));
    }
}
