//! How two plain Deployments behind one Service are read, in the terms of a [`Rollout`].
//!
//! The Service's selector says which of them is live: the one whose pod template it reaches. The release is that
//! Deployment's. Where it reaches neither or both, nothing is live and nothing can be done; nor where a Rollout leads the
//! Service, whose selector belongs to the controller then.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kind::Kind;
use super::snapshot::ReplicaSet;
use super::workload::{Common, Rollout, Strategy};
use crate::reason::{Finding, Reason};

/// What Argo Rollouts writes to a Service that it leads.
const MANAGED: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";

/// Two Deployments, and the Service that selects one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Colours {
    /// The Service.
    pub service: String,
    /// Its selector.
    pub selector: BTreeMap<String, String>,
    /// The Deployments that exist.
    pub all: Vec<Colour>,
}

/// One of the Deployments.
#[derive(Clone, Debug, PartialEq)]
pub struct Colour {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// The labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// How many pods it asks for.
    pub replicas: i32,
    /// The pod-template hash of its own release; empty until that has a replica set.
    pub hash: String,
    /// Whether its controller has observed its spec.
    pub observed: bool,
}

/// A Deployment with the replica sets that it owns.
pub type Owning<'a> = (&'a Value, &'a [ReplicaSet]);

// === impl Colours ===

impl Colours {
    /// The Deployment whose own release has this hash.
    #[must_use]
    pub fn of(&self, hash: &str) -> Option<&Colour> {
        self.all.iter().find(|it| it.hash == hash)
    }

    /// The Deployment of this name and uid.
    #[must_use]
    pub fn named(&self, name: &str, uid: &str) -> Option<&Colour> {
        let mut all = self.all.iter();
        all.find(|it| it.name == name && it.uid == uid)
    }

    /// The keys of the selector whose values have to be others for it to lead to this Deployment, with those values. No key
    /// is added or taken away: all of them must hold, so that one more can leave nothing selected.
    ///
    /// # Errors
    /// That its pods lack a label which the Service selects by.
    pub fn leading_to(&self, colour: &Colour) -> Result<BTreeMap<String, String>, Finding> {
        let mut keys = BTreeMap::new();
        for (key, value) in &self.selector {
            match colour.labels.get(key) {
                Some(same) if same == value => {}
                Some(other) => {
                    keys.insert(key.clone(), other.clone());
                }
                None => {
                    return Err(Reason::SelectorUnclear.because(format!(
                        "Service {} selects by `{key}`, a label that the pods of Deployment {} do not have",
                        self.service, colour.name
                    )));
                }
            }
        }
        Ok(keys)
    }

    fn reaches(&self, colour: &Colour) -> bool {
        let mut wanted = self.selector.iter();
        !self.selector.is_empty()
            && wanted.all(|(key, value)| colour.labels.get(key) == Some(value))
    }
}

// === impl Rollout ===

impl Rollout {
    /// Reads a Service with those of its Deployments that exist; `None` if it has no uid, which no stored object lacks.
    #[must_use]
    pub fn of_service(object: &Value, deployments: &[Owning<'_>]) -> Option<Self> {
        let common = Common::read(object, Kind::Service)?;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (all, own): (Vec<_>, Vec<_>) = deployments
            .iter()
            .filter_map(|(deployment, sets)| read(deployment, sets))
            .unzip();
        let colours = Colours {
            service: text("/metadata/name").unwrap_or_default().to_owned(),
            selector: labels(object.pointer("/spec/selector")),
            all,
        };
        let selector: Vec<_> = colours.selector.iter().collect();
        let selector: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let live = live(object, &colours);
        let nothing = Self {
            uid: common.uid,
            generation: text("/metadata/resourceVersion")
                .and_then(|version| version.parse().ok())
                .unwrap_or(0),
            observed: false,
            revision: 0,
            current: String::new(),
            stable: String::new(),
            phase: String::new(),
            message: String::new(),
            aborted: false,
            aborted_at: None,
            annotated: common.annotated,
            promote_full: false,
            paused: false,
            replicas: 0,
            strategy: Strategy::Deployment,
            images: Vec::new(),
            workload_ref: false,
            owner: common.owner,
            invalid: None,
            operation: common.operation,
            drill: None,
            deleting: common.deleting,
            selector: selector.join(","),
            created: common.created,
            restart_at: None,
            restarted_at: None,
        };
        let it = match live.map(|at| own.get(at)) {
            Ok(Some(live)) => Self {
                observed: live.observed,
                revision: live.revision,
                current: live.current.clone(),
                stable: live.stable.clone(),
                phase: live.phase.clone(),
                message: live.message.clone(),
                paused: live.paused,
                replicas: live.replicas,
                images: live.images.clone(),
                ..nothing
            },
            Ok(None) => nothing,
            Err(finding) => Self {
                invalid: Some(finding.reason),
                message: finding.said,
                ..nothing
            },
        };
        Some(Self {
            strategy: Strategy::Colours(colours),
            ..it
        })
    }
}

/// The replica sets of the Deployments' own releases: what can be switched to. How old one is says nothing about when it
/// went live, since it is made and looked at before the Service leads there.
#[must_use]
pub fn own_sets(deployments: &[Owning<'_>]) -> Vec<ReplicaSet> {
    let own = deployments.iter().filter_map(|(deployment, sets)| {
        let (colour, _) = read(deployment, sets)?;
        let set = sets.iter().find(|set| set.hash == colour.hash)?;
        Some(ReplicaSet {
            created: None,
            ..set.clone()
        })
    });
    own.collect()
}

/// The place of the one Deployment that is live.
fn live(object: &Value, colours: &Colours) -> Result<usize, Finding> {
    let service = &colours.service;
    let rollout = object["metadata"]["annotations"][MANAGED].as_str();
    if rollout.is_some() || colours.selector.contains_key(Kind::Rollout.hash_label()) {
        let rollout = rollout.map_or_else(|| "a Rollout".to_owned(), |it| format!("Rollout {it}"));
        let said = format!("{rollout} leads Service {service}");
        return Err(Reason::ServiceOfRollout.because(said));
    }
    let all = colours.all.iter().enumerate();
    let reached: Vec<_> = all.filter(|(_, it)| colours.reaches(it)).collect();
    match reached.as_slice() {
        [(at, _)] => Ok(*at),
        [] => {
            let names: Vec<_> = colours.all.iter().map(|it| it.name.as_str()).collect();
            let said = if names.is_empty() {
                format!("none of the Deployments behind Service {service} exists")
            } else {
                let names = names.join(", ");
                format!("Service {service} does not select the pods of Deployment {names}")
            };
            Err(Reason::SelectorUnclear.because(said))
        }
        _ => Err(Reason::SelectorUnclear.because(format!(
            "Service {service} selects the pods of both Deployments"
        ))),
    }
}

/// A Deployment, as what a Service may select and in its own terms.
fn read(deployment: &Value, sets: &[ReplicaSet]) -> Option<(Colour, Rollout)> {
    let own = Rollout::of_deployment(deployment, sets)?;
    let text = |key: &str| deployment["metadata"][key].as_str().unwrap_or_default();
    let colour = Colour {
        name: text("name").to_owned(),
        uid: own.uid.clone(),
        version: text("resourceVersion").to_owned(),
        labels: labels(deployment.pointer("/spec/template/metadata/labels")),
        replicas: own.replicas,
        hash: own.current.clone(),
        observed: own.observed,
    };
    Some((colour, own))
}

fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
#[path = "colours/tests.rs"]
pub(crate) mod tests;
