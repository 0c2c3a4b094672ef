//! Reads a workload fresh, and makes the few changes of it that exist.

use std::collections::BTreeSet;

use jiff::Timestamp;
use json_patch::PatchOperation;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::caches::resource;
use super::claims::{add, patch, replace, test};
use super::client::MANAGER;
use super::{Clock, Cluster, Error};
use crate::target::restart::RESTARTED_ANNOTATION;
use crate::target::snapshot::{Endpoint, Pod, ReplicaSet};
use crate::target::workload::{
    NUDGE_ANNOTATION, OPERATION_ANNOTATION, Rollout, Strategy, selector_text,
};
use crate::target::{Effect, Image, Kind, Snapshot, Workload, template};

/// How what is around a workload is read. The workload itself is a quorum read either way.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// As the API server has it at hand, in its watch cache, which answers at once: a list that must be as new as etcd waits
    /// there up to 100 ms for etcd to say how new it is. It is for before anything was done, since every change is
    /// conditional on the workload; it proves nothing that was done.
    AtHand,
    /// As new as etcd: without a resourceVersion every read is a quorum read.
    Quorum,
}

/// What there is of a workload besides itself.
struct Parts {
    sets: Vec<Value>,
    pods: Vec<Value>,
    slices: Vec<Value>,
}

impl Cluster {
    /// What the cluster says of a workload now. No cache answers.
    ///
    /// # Errors
    /// See [`Error`]; a workload that does not exist is a snapshot without one.
    pub async fn snapshot(&self, workload: &Workload, clock: &Clock) -> Result<Snapshot, Error> {
        self.snapshot_again(workload, None, Look::Quorum, clock)
            .await
    }

    /// The same of a workload that may have been seen before: by the labels that it selected then all is read at once, and
    /// once more if it selects by others now.
    ///
    /// # Errors
    /// As [`Cluster::snapshot`].
    pub async fn snapshot_again(
        &self,
        workload: &Workload,
        seen: Option<&Rollout>,
        look: Look,
        clock: &Clock,
    ) -> Result<Snapshot, Error> {
        if workload.kind == Kind::Service {
            return self.snapshot_of_service(workload, clock).await;
        }
        let lists = match look {
            Look::AtHand => ListParams::default().match_any(),
            Look::Quorum => ListParams::default(),
        };
        let object = self.find(workload, workload.kind, &workload.name);
        let (object, early) = match seen {
            Some(seen) => {
                let (object, parts) =
                    tokio::join!(object, self.parts(workload, &seen.selector, &lists));
                (object, Some((&seen.selector, parts)))
            }
            None => (object.await, None),
        };
        let Some(object) = object? else {
            return Ok(nothing(clock()));
        };
        let selector = selector_text(object.pointer("/spec/selector"));
        let parts = match early {
            Some((expected, parts)) if *expected == selector => parts?,
            _ => self.parts(workload, &selector, &lists).await?,
        };
        let Parts { sets, pods, slices } = parts;
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        let replica_sets: Vec<_> = sets
            .iter()
            .filter(|set| ReplicaSet::owner(set) == uid)
            .filter_map(|set| ReplicaSet::read(set, workload.kind))
            .collect();
        let rollout = match workload.kind {
            Kind::Rollout => Rollout::read(&object),
            Kind::Deployment | Kind::Service => Rollout::of_deployment(&object, &replica_sets),
        };
        let Some(rollout) = rollout else {
            return Ok(nothing(clock()));
        };
        let pods = pods_of(workload.kind, &workload.name, &replica_sets, &pods);
        Ok(everything(clock(), rollout, replica_sets, pods, &slices))
    }

    /// The workload alone, fresh: what it and its replica sets say of its releases, and nothing of its pods.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rollout(&self, workload: &Workload) -> Result<Option<Rollout>, Error> {
        match workload.kind {
            Kind::Rollout => {
                let found = self.find(workload, Kind::Rollout, &workload.name).await?;
                Ok(found.as_ref().and_then(Rollout::read))
            }
            Kind::Deployment => {
                let owning = self.owning(workload, &workload.name).await?;
                Ok(owning.and_then(|(object, sets)| Rollout::of_deployment(&object, &sets)))
            }
            Kind::Service => self.rollout_of_service(workload).await,
        }
    }

    /// A Deployment with the replica sets that it owns.
    pub(super) async fn owning(
        &self,
        workload: &Workload,
        name: &str,
    ) -> Result<Option<(Value, Vec<ReplicaSet>)>, Error> {
        let Some(object) = self.find(workload, Kind::Deployment, name).await? else {
            return Ok(None);
        };
        let sets = self.sets_of(workload, &object).await?;
        Ok(Some((object, sets)))
    }

    /// The replica sets that a Deployment owns.
    pub(super) async fn sets_of(
        &self,
        workload: &Workload,
        deployment: &Value,
    ) -> Result<Vec<ReplicaSet>, Error> {
        let selected =
            ListParams::default().labels(&selector_text(deployment.pointer("/spec/selector")));
        let sets = self.list(
            "apps",
            "v1",
            "ReplicaSet",
            "replicasets",
            workload,
            &selected,
        );
        let uid = deployment.pointer("/metadata/uid").and_then(Value::as_str);
        let sets = sets.await?;
        let sets = sets.iter().filter(|set| ReplicaSet::owner(set) == uid);
        Ok(sets
            .filter_map(|set| ReplicaSet::read(set, Kind::Deployment))
            .collect())
    }

    /// Makes a change, on the condition that the workload still is what the snapshot showed: its uid, its generation and,
    /// for a status request, the hash that the controller reconciled and the stable one. Not its resourceVersion, which the controller
    /// moves all the time.
    ///
    /// # Errors
    /// [`Error::Precondition`] where it is not: read again.
    pub async fn apply(
        &self,
        workload: &Workload,
        at: &Snapshot,
        effect: &Effect,
        operation: &str,
    ) -> Result<(), Error> {
        let params = PatchParams::apply(MANAGER);
        self.change(workload, at, effect, operation, &params).await
    }

    /// Tries the same change: the API server asks everybody who could refuse it, and takes it back.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn rehearse(
        &self,
        workload: &Workload,
        at: &Snapshot,
        effect: &Effect,
        operation: &str,
    ) -> Result<(), Error> {
        let params = PatchParams::apply(MANAGER).dry_run();
        self.change(workload, at, effect, operation, &params).await
    }

    async fn change(
        &self,
        workload: &Workload,
        at: &Snapshot,
        effect: &Effect,
        operation: &str,
        params: &PatchParams,
    ) -> Result<(), Error> {
        if workload.kind == Kind::Service {
            return self
                .change_service(workload, at, effect, operation, params)
                .await;
        }
        let gone = || Error::NotFound(workload.to_string());
        let rollout = at.rollout.as_ref().ok_or_else(gone)?;
        let mut operations = vec![
            test("/metadata/uid", json!(rollout.uid)),
            test("/metadata/generation", json!(rollout.generation)),
        ];
        let api = self.workloads(workload);
        match effect {
            Effect::RestoreTemplate { hash, unpause, .. } => {
                let set = at.replica_set(hash).ok_or_else(gone)?;
                operations.extend(annotate(rollout, OPERATION_ANNOTATION, json!(operation)));
                operations.push(replace("/spec/template", set.template.clone()));
                if *unpause {
                    operations.push(add("/spec/paused", json!(false)));
                }
                self.call(api.patch(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::SetImage { image, unpause } => {
                operations.extend(annotate(rollout, OPERATION_ANNOTATION, json!(operation)));
                operations.extend(set_image(at, rollout, image)?);
                if *unpause {
                    operations.push(add("/spec/paused", json!(false)));
                }
                self.call(api.patch(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::PromoteFull { hash } => {
                operations.extend(reconciled(rollout, hash));
                operations.push(add("/status/promoteFull", json!(true)));
                self.call(api.patch_status(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::Nudge => {
                operations.extend(annotate(rollout, NUDGE_ANNOTATION, json!(at.taken)));
                self.call(api.patch(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::Restart { at: moment } => {
                operations.extend(self::restart(
                    workload.kind,
                    at,
                    rollout,
                    *moment,
                    operation,
                )?);
                self.call(api.patch(&workload.name, params, &patch(operations)))
                    .await?;
            }
            Effect::Flush(_)
            | Effect::Call(_)
            | Effect::Exec(_)
            | Effect::SwitchService { .. }
            | Effect::Scale { .. } => {
                return Err(Error::Rejected(
                    "this is no change of a workload".to_owned(),
                ));
            }
            Effect::Abort { hash } => {
                operations.extend(reconciled(rollout, hash));
                // Past the switch an abort can leave no endpoint at all.
                if let Strategy::BlueGreen { active, .. } = &rollout.strategy {
                    operations.push(test("/status/blueGreen/activeSelector", json!(active)));
                }
                operations.push(add("/status/abort", json!(true)));
                operations.push(add("/status/promoteFull", json!(false)));
                self.call(api.patch_status(&workload.name, params, &patch(operations)))
                    .await?;
            }
        }
        Ok(())
    }

    /// What there is of a workload that selects by these labels.
    async fn parts(
        &self,
        workload: &Workload,
        selector: &str,
        everything: &ListParams,
    ) -> Result<Parts, Error> {
        let selected = everything.clone().labels(selector);
        let (sets, pods, slices) = tokio::try_join!(
            self.list(
                "apps",
                "v1",
                "ReplicaSet",
                "replicasets",
                workload,
                &selected
            ),
            self.list("", "v1", "Pod", "pods", workload, &selected),
            self.list(
                "discovery.k8s.io",
                "v1",
                "EndpointSlice",
                "endpointslices",
                workload,
                everything
            ),
        )?;
        Ok(Parts { sets, pods, slices })
    }

    fn workloads(&self, workload: &Workload) -> Api<DynamicObject> {
        self.objects(workload, workload.kind)
    }

    /// The objects of a kind beside a workload.
    pub(super) fn objects(&self, workload: &Workload, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), &workload.namespace, &resource(kind))
    }

    /// An object of a kind beside a workload, if there is one of this name.
    pub(super) async fn find(
        &self,
        workload: &Workload,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Value>, Error> {
        match self.call(self.objects(workload, kind).get(name)).await {
            Ok(object) => Ok(Some(value(&object))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        plural: &str,
        workload: &Workload,
        params: &ListParams,
    ) -> Result<Vec<Value>, Error> {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client(), &workload.namespace, &resource);
        Ok(self
            .call(api.list(params))
            .await?
            .items
            .iter()
            .map(value)
            .collect())
    }
}

/// What the cluster says of a workload that does not exist.
pub(super) const fn nothing(taken: Timestamp) -> Snapshot {
    Snapshot {
        taken,
        rollout: None,
        replica_sets: vec![],
        pods: vec![],
        endpoints: vec![],
    }
}

/// What the cluster says of a workload with these replica sets and pods. Of what the slices list, only its own pods count.
pub(super) fn everything(
    taken: Timestamp,
    rollout: Rollout,
    replica_sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
    slices: &[Value],
) -> Snapshot {
    let names: BTreeSet<_> = pods.iter().map(|pod| pod.name.clone()).collect();
    let endpoints = slices
        .iter()
        .flat_map(|slice| Endpoint::read(slice, &names))
        .collect();
    Snapshot {
        taken,
        rollout: Some(rollout),
        replica_sets,
        pods,
        endpoints,
    }
}

/// The pods among these that belong to the workload of this name with these replica sets. A pod can outlive its replica set
/// for as long as it takes to stop.
pub(super) fn pods_of(kind: Kind, name: &str, sets: &[ReplicaSet], pods: &[Value]) -> Vec<Pod> {
    let hashes: BTreeSet<_> = sets.iter().map(|set| set.hash.as_str()).collect();
    let belongs = |object: &Value, pod: &Pod| {
        let set = format!("{name}-{}", pod.hash);
        hashes.contains(pod.hash.as_str()) || Pod::replica_set(object) == Some(set.as_str())
    };
    pods.iter()
        .filter_map(|object| Some((object, Pod::read(object, kind)?)))
        .filter(|(object, pod)| belongs(object, pod))
        .map(|(_, pod)| pod)
        .collect()
}

/// What a status request is conditional on besides the generation. One that comes late, from a leader that was frozen, must
/// not linger on what is promoted by now.
fn reconciled(rollout: &Rollout, hash: &str) -> Vec<PatchOperation> {
    let mut tests = vec![test("/status/currentPodHash", json!(hash))];
    if !rollout.stable.is_empty() {
        tests.push(test("/status/stableRS", json!(rollout.stable)));
    }
    tests
}

/// An image in the place of the one that its container has: both are tested, so that no other container gets it.
fn set_image(
    at: &Snapshot,
    rollout: &Rollout,
    image: &Image,
) -> Result<Vec<PatchOperation>, Error> {
    let set = at.replica_set(&rollout.current);
    let found = set.and_then(|set| template::container(&set.template, &image.container));
    let Some((place, before)) = found else {
        let said = format!("the live template has no container {}", image.container);
        return Err(Error::Precondition(said));
    };
    let container = format!("/spec/template/spec/containers/{place}");
    Ok(vec![
        test(&format!("{container}/name"), json!(image.container)),
        test(&format!("{container}/image"), json!(before)),
        replace(&format!("{container}/image"), json!(image.reference)),
    ])
}

/// A restart in the workload's own way. That of a Deployment goes with the operation's id, by which the release under its new
/// hash is known.
fn restart(
    kind: Kind,
    at: &Snapshot,
    rollout: &Rollout,
    moment: Timestamp,
    operation: &str,
) -> Result<Vec<PatchOperation>, Error> {
    if kind == Kind::Rollout {
        return Ok(vec![add("/spec/restartAt", json!(moment))]);
    }
    // The template in the spec, as long as the generation is the one that was read.
    let Some(set) = at.replica_set(&rollout.current) else {
        let said = "the Deployment's template has no replica set yet".to_owned();
        return Err(Error::Precondition(said));
    };
    let mut operations = annotate(rollout, OPERATION_ANNOTATION, json!(operation));
    let annotations = "/spec/template/metadata/annotations";
    if set.template.pointer("/metadata/annotations").is_none() {
        operations.push(add(annotations, json!({})));
    }
    let name = RESTARTED_ANNOTATION.replace('/', "~1");
    operations.push(add(&format!("{annotations}/{name}"), json!(moment)));
    Ok(operations)
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// Sets an annotation, also of what has none.
pub(super) fn annotate(rollout: &Rollout, name: &str, value: Value) -> Vec<PatchOperation> {
    let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
    let first = (!rollout.annotated).then(|| add("/metadata/annotations", json!({})));
    first.into_iter().chain([add(&path, value)]).collect()
}
