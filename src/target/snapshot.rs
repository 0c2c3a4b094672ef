//! What the cluster says of a target at one instant, from reads that no cache answered.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::colours::Colours;
use super::kind::Kind;
use super::release::Release;
use super::template;
use super::workload::{Rollout, Strategy};
use crate::reason::{Finding, Reason};

/// What the cluster says of a target at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When the reads were answered.
    pub taken: Timestamp,
    /// The workload; absent where it does not exist.
    pub rollout: Option<Rollout>,
    /// The replica sets that the workload owns.
    pub replica_sets: Vec<ReplicaSet>,
    /// The pods of those replica sets.
    pub pods: Vec<Pod>,
    /// Where Services send traffic to those pods.
    pub endpoints: Vec<Endpoint>,
}

/// One version's set of pods.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The pod-template hash that it stands for.
    pub hash: String,
    /// The revision that it has now.
    pub revision: i64,
    /// How many of its pods are available.
    pub available: i32,
    /// How many pods it has.
    pub replicas: i32,
    /// Its template, fit to be written back to the workload.
    pub template: Value,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// One pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// The pod-template hash that it belongs to.
    pub hash: String,
    /// Whether its Ready condition holds.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// When it was made, in whole seconds.
    pub created: Option<Timestamp>,
}

/// One pod behind one Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The Service.
    pub service: String,
    /// The pod.
    pub pod: String,
    /// Whether the Service sends traffic there.
    pub ready: bool,
}

// === impl Snapshot ===

impl Snapshot {
    /// The live release, as far as it has an identity.
    #[must_use]
    pub fn live(&self) -> Option<Release> {
        let rollout = self.rollout.as_ref().filter(|rollout| rollout.observed)?;
        Some(self.release(rollout, &rollout.current))
    }

    /// The release with this hash, with the revision and images of its replica set where there is one.
    #[must_use]
    pub fn release(&self, rollout: &Rollout, hash: &str) -> Release {
        let set = self.replica_set(hash);
        let revision = if hash == rollout.current {
            rollout.revision
        } else {
            set.map_or(0, |set| set.revision)
        };
        Release {
            uid: rollout.uid.clone(),
            revision,
            hash: hash.to_owned(),
            images: set
                .map(|set| template::images(&set.template))
                .unwrap_or_default(),
        }
    }

    /// The replica set of a hash.
    #[must_use]
    pub fn replica_set(&self, hash: &str) -> Option<&ReplicaSet> {
        self.replica_sets.iter().find(|set| set.hash == hash)
    }

    /// The pods of a hash that are not being deleted.
    pub fn pods_of<'a>(&'a self, hash: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .filter(move |pod| pod.hash == hash && !pod.deleting)
    }

    /// Whether all traffic goes to `to`: no router weight, active Service or ready endpoint leads to any other release,
    /// and at least one ready endpoint leads to `to`, where the strategy names the Service that takes the traffic or the
    /// workload was `served` by one when the rollback was planned.
    ///
    /// # Errors
    /// What still stands in the way.
    pub fn traffic_on(&self, to: &str, served: bool) -> Result<(), Finding> {
        let Some(rollout) = &self.rollout else {
            return Err(Reason::WorkloadGone.into());
        };
        match &rollout.strategy {
            Strategy::BlueGreen { active, .. } if active != to => {
                return Err(
                    Reason::TrafficMoving.because(format!("the active Service selects {active}"))
                );
            }
            Strategy::Canary {
                routed: true,
                canary_weight: Some(weight),
                ..
            } if *weight > 0 => {
                return Err(Reason::TrafficMoving.because(format!(
                    "the router still sends weight {weight} to the canary"
                )));
            }
            Strategy::Canary {
                routed: true,
                verified: Some(false),
                ..
            } => {
                return Err(
                    Reason::TrafficMoving.because("the router has not confirmed the weights yet")
                );
            }
            Strategy::Colours(colours) if rollout.current != to => {
                return Err(Reason::TrafficMoving.because(format!(
                    "Service {} selects {}",
                    colours.service, rollout.current
                )));
            }
            Strategy::Deployment
            | Strategy::Canary { .. }
            | Strategy::BlueGreen { .. }
            | Strategy::Colours(_) => {}
        }
        let good: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|pod| pod.hash == to)
            .map(|pod| pod.name.as_str())
            .collect();
        let counts = |endpoint: &&Endpoint| match &rollout.strategy {
            Strategy::BlueGreen { service, .. } | Strategy::Colours(Colours { service, .. }) => {
                endpoint.service == *service
            }
            Strategy::Canary {
                routed: true,
                services,
                ..
            } if !services.is_empty() => services.contains(&endpoint.service),
            Strategy::Deployment | Strategy::Canary { .. } => true,
        };
        let watched: Vec<&Endpoint> = self.endpoints.iter().filter(counts).collect();
        let (reached, astray): (Vec<&Endpoint>, Vec<&Endpoint>) = watched
            .iter()
            .copied()
            .filter(|endpoint| endpoint.ready)
            .partition(|endpoint| good.contains(endpoint.pod.as_str()));
        if !astray.is_empty() {
            let pods: BTreeSet<_> = astray.iter().map(|e| e.pod.as_str()).collect();
            let verb = if pods.len() == 1 { "takes" } else { "take" };
            let said = format!(
                "{} of another release still {verb} traffic",
                pods_text(pods.len())
            );
            return Err(Reason::TrafficMoving.because(said));
        }
        let named = match &rollout.strategy {
            Strategy::Deployment => false,
            Strategy::BlueGreen { .. } | Strategy::Colours(_) => true,
            Strategy::Canary {
                routed, services, ..
            } => *routed && !services.is_empty(),
        };
        if reached.is_empty() && rollout.replicas > 0 && (named || served || !watched.is_empty()) {
            return Err(
                Reason::TrafficMoving.because("no pod of the destination takes traffic yet")
            );
        }
        Ok(())
    }

    /// Whether any Service sends traffic to the workload.
    #[must_use]
    pub fn served(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.ready)
    }

    /// In one line what state the release is in: what a person must know before touching it.
    #[must_use]
    pub fn state(&self) -> String {
        let Some(rollout) = &self.rollout else {
            return "the workload does not exist".to_owned();
        };
        let live = self.release(rollout, &rollout.current);
        let mut parts = vec![format!(
            "{live} is {}, phase {}",
            if rollout.is_aborted() {
                "aborted"
            } else {
                "live"
            },
            if rollout.phase.is_empty() {
                "unknown"
            } else {
                &rollout.phase
            }
        )];
        if !rollout.observed {
            parts.push("the controller has not observed the latest change".to_owned());
        }
        if rollout.in_flight() {
            parts.push(format!(
                "stable is {}",
                self.release(rollout, &rollout.stable)
            ));
        }
        for set in self.replica_sets.iter().filter(|set| set.replicas > 0) {
            // Each Deployment behind a Service counts its own revisions.
            let behind = match &rollout.strategy {
                Strategy::Colours(colours) => colours.of(&set.hash),
                _ => None,
            };
            parts.push(format!(
                "{}r{}: {} of {} available",
                behind.map_or_else(String::new, |it| format!("{} ", it.name)),
                set.revision,
                set.available,
                pods_text(usize::try_from(set.replicas).unwrap_or(0))
            ));
        }
        parts.join("; ")
    }
}

// === impl ReplicaSet ===

impl ReplicaSet {
    /// The uid of the workload that owns a `ReplicaSet` object.
    #[must_use]
    pub fn owner(object: &Value) -> Option<&str> {
        let all = object.pointer("/metadata/ownerReferences")?.as_array()?;
        let controller = all
            .iter()
            .find(|reference| reference["controller"] == true)?;
        controller["uid"].as_str()
    }

    /// Reads a `ReplicaSet` object of a workload of this kind.
    #[must_use]
    pub fn read(object: &Value, kind: Kind) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let hash = metadata
            .get("labels")?
            .get(kind.hash_label())?
            .as_str()?
            .to_owned();
        let number = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_i64)
                .map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX))
        };
        Some(Self {
            name: metadata["name"].as_str().unwrap_or_default().to_owned(),
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            hash,
            revision: metadata["annotations"][kind.revision_annotation()]
                .as_str()
                .and_then(|r| r.parse().ok())
                .unwrap_or(0),
            available: number("/status/availableReplicas"),
            replicas: number("/status/replicas"),
            template: template::clean(object, kind),
            created: metadata["creationTimestamp"]
                .as_str()
                .and_then(|t| t.parse().ok()),
        })
    }
}

// === impl Pod ===

impl Pod {
    /// The address of a path on it, once it has one.
    #[must_use]
    pub fn url(&self, port: u16, path: &str) -> Option<String> {
        let ip = self.ip.as_ref()?;
        let path = path.trim_start_matches('/');
        Some(if ip.contains(':') {
            format!("http://[{ip}]:{port}/{path}")
        } else {
            format!("http://{ip}:{port}/{path}")
        })
    }

    /// The name of the replica set that owns a Pod object.
    #[must_use]
    pub fn replica_set(object: &Value) -> Option<&str> {
        let all = object.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner = all
            .iter()
            .find(|it| it["controller"] == true && it["kind"] == "ReplicaSet")?;
        owner["name"].as_str()
    }

    /// Reads a Pod object; `None` if it carries no pod-template hash, or has ended.
    #[must_use]
    pub fn read(object: &Value, kind: Kind) -> Option<Self> {
        let hash = object
            .pointer("/metadata/labels")?
            .get(kind.hash_label())?
            .as_str()?
            .to_owned();
        if matches!(
            object.pointer("/status/phase").and_then(Value::as_str),
            Some("Succeeded" | "Failed")
        ) {
            return None;
        }
        let ready = object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            });
        Some(Self {
            name: object.pointer("/metadata/name")?.as_str()?.to_owned(),
            ip: object
                .pointer("/status/podIP")
                .and_then(Value::as_str)
                .filter(|ip| !ip.is_empty())
                .map(str::to_owned),
            hash,
            ready,
            deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
            created: object
                .pointer("/metadata/creationTimestamp")
                .and_then(Value::as_str)
                .and_then(|at| at.parse().ok()),
        })
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads what an `EndpointSlice` says of the pods with these names.
    #[must_use]
    pub fn read(slice: &Value, pods: &BTreeSet<String>) -> Vec<Self> {
        let service = slice
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get("kubernetes.io/service-name"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let endpoints = slice
            .get("endpoints")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        endpoints
            .filter_map(|endpoint| {
                let reference = endpoint.get("targetRef").filter(|r| r["kind"] == "Pod")?;
                let pod = reference["name"]
                    .as_str()
                    .filter(|name| pods.contains(*name))?;
                Some(Self {
                    service: service.to_owned(),
                    pod: pod.to_owned(),
                    // An absent condition means ready, as the API says.
                    ready: endpoint
                        .pointer("/conditions/ready")
                        .and_then(Value::as_bool)
                        .unwrap_or(true),
                })
            })
            .collect()
    }
}

/// A number of pods in words.
#[must_use]
pub fn pods_text(count: usize) -> String {
    if count == 1 {
        "1 pod".to_owned()
    } else {
        format!("{count} pods")
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
pub(crate) mod tests;
