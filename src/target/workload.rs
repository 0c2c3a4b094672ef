//! The identity of a release workload, and how a Rollout's fields are read.
//!
//! A Rollout is read as an untyped object through a small typed view: about a dozen fields are looked at, two are
//! written, and a field that is absent has the meaning that the controller gives it.

use jiff::Timestamp;
use serde_json::Value;

use super::colours::Colours;
use super::drill;
use super::kind::Kind;
use super::owner::Owner;
use super::template;
use crate::reason::Reason;

/// The annotation that carries the id of Ripcord's last change of the template.
pub const OPERATION_ANNOTATION: &str = "ripcord.dev/operation";
/// The annotation that is written only so that the controller hears of the workload again.
pub const NUDGE_ANNOTATION: &str = "ripcord.dev/nudged";

/// Names one workload.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Workload {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The two Deployments behind a Service, by name; none of another kind.
    pub deployments: Vec<String>,
}

/// What Ripcord reads of a Rollout, and in the same terms of a Deployment, and of a Service that selects one of two.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the Rollout's own, and independent"
)]
pub struct Rollout {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`; of a Service, which has none, its resourceVersion.
    pub generation: i64,
    /// Whether the controller has observed that generation. Until then revision and hashes still name the *old* release.
    pub observed: bool,
    /// The revision of the live template.
    pub revision: i64,
    /// `status.currentPodHash`: the template that the controller last reconciled.
    pub current: String,
    /// `status.stableRS`: the template that was last promoted; empty before the first one. Of a Deployment it is known from
    /// its own status only while the live template is complete, and empty otherwise.
    pub stable: String,
    /// `status.phase`.
    pub phase: String,
    /// `status.message`, which says what the controller waits for.
    pub message: String,
    /// Whether an abort of the update is requested.
    pub aborted: bool,
    /// When the controller acted on it; from then on it is not lost by itself.
    pub aborted_at: Option<Timestamp>,
    /// Whether it has annotations at all.
    pub annotated: bool,
    /// Whether a full promotion is requested and not yet done.
    pub promote_full: bool,
    /// Whether a person paused the Rollout by its spec.
    pub paused: bool,
    /// How many pods are asked for.
    pub replicas: i32,
    /// The strategy.
    pub strategy: Strategy,
    /// The images of the template in the spec; none where the template lives in another object. The controller can have
    /// written down that it observed a generation before it looked at its template.
    pub images: Vec<String>,
    /// Whether the template lives in another object.
    pub workload_ref: bool,
    /// Who owns the spec, as far as the object shows it.
    pub owner: Option<Owner>,
    /// Why nothing can be done by the spec as it is: the controller refuses it, or a Service's selector says nothing.
    pub invalid: Option<Reason>,
    /// The id of Ripcord's last change of the template, if any.
    pub operation: Option<String>,
    /// The id of the drill whose mark the template in the spec bears, if any.
    pub drill: Option<String>,
    /// Whether the Rollout is being deleted.
    pub deleting: bool,
    /// `spec.selector` as a label selector text.
    pub selector: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// The moment from before which no pod is to be left.
    pub restart_at: Option<Timestamp>,
    /// The same moment once the Rollouts controller has noted that none is left.
    pub restarted_at: Option<Timestamp>,
}

/// What is read of both kinds in the same way.
pub(super) struct Common {
    pub uid: String,
    pub generation: i64,
    pub revision: i64,
    pub paused: bool,
    pub replicas: i32,
    pub images: Vec<String>,
    pub annotated: bool,
    pub owner: Option<Owner>,
    pub operation: Option<String>,
    pub drill: Option<String>,
    pub deleting: bool,
    pub selector: String,
    pub created: Option<Timestamp>,
}

/// What is read of a workload's strategy.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// A Deployment's, of whatever type: pods are replaced, and nothing else is asked for.
    Deployment,
    /// A canary; with weights where a router sends traffic, by pod counts otherwise.
    Canary {
        /// Whether a router splits the traffic.
        routed: bool,
        /// The Services that the router sends it to; any other may select pods that take none.
        services: Vec<String>,
        /// `status.canary.weights.canary.weight`, in per cent of the router's whole.
        canary_weight: Option<i64>,
        /// `status.canary.weights.verified`, where the router can verify.
        verified: Option<bool>,
    },
    /// A blue-green release.
    BlueGreen {
        /// `status.blueGreen.activeSelector`.
        active: String,
        /// The active Service; the preview Service, or one for metrics, may select pods that take no traffic.
        service: String,
    },
    /// Two plain Deployments, of which a Service selects one.
    Colours(Colours),
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

impl Workload {
    /// Whether alerts call it by this name: its own, or that of a Deployment behind it.
    #[must_use]
    pub fn goes_by(&self, name: &str) -> bool {
        self.name == name || self.deployments.iter().any(|it| it == name)
    }
}

impl Rollout {
    /// Reads a Rollout object; `None` if it has no uid, which no stored object lacks.
    #[must_use]
    pub fn read(object: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let flag = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_bool)
                .unwrap_or(false)
        };
        let common = Common::read(object, Kind::Rollout)?;
        let current = text("/status/currentPodHash");
        // The controller writes observedGeneration as a string.
        let observed = text("/status/observedGeneration").parse() == Ok(common.generation)
            && !current.is_empty();
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let invalid = conditions.is_some_and(|all| {
            all.iter()
                .any(|c| c["type"] == "InvalidSpec" && c["status"] == "True")
        });
        let strategy = if object.pointer("/spec/strategy/blueGreen").is_some() {
            Strategy::BlueGreen {
                active: text("/status/blueGreen/activeSelector"),
                service: text("/spec/strategy/blueGreen/activeService"),
            }
        } else {
            Strategy::Canary {
                routed: object
                    .pointer("/spec/strategy/canary/trafficRouting")
                    .is_some_and(|r| !r.is_null()),
                services: ["stableService", "canaryService"]
                    .map(|role| text(&format!("/spec/strategy/canary/{role}")))
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .collect(),
                canary_weight: object
                    .pointer("/status/canary/weights/canary/weight")
                    .and_then(Value::as_i64),
                verified: object
                    .pointer("/status/canary/weights/verified")
                    .and_then(Value::as_bool),
            }
        };
        Some(Self {
            uid: common.uid,
            generation: common.generation,
            observed,
            revision: common.revision,
            current,
            stable: text("/status/stableRS"),
            phase: text("/status/phase"),
            message: text("/status/message"),
            aborted: flag("/status/abort"),
            annotated: common.annotated,
            aborted_at: text("/status/abortedAt").parse().ok(),
            promote_full: flag("/status/promoteFull"),
            paused: common.paused,
            replicas: common.replicas,
            strategy,
            images: common.images,
            workload_ref: object
                .pointer("/spec/workloadRef")
                .is_some_and(|r| !r.is_null()),
            owner: common.owner,
            invalid: invalid.then_some(Reason::SpecInvalid),
            operation: common.operation,
            drill: common.drill,
            deleting: common.deleting,
            selector: common.selector,
            created: common.created,
            restart_at: text("/spec/restartAt").parse().ok(),
            restarted_at: text("/status/restartedAt").parse().ok(),
        })
    }

    /// Whether an update is under way, or was aborted and still stands in the spec.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        !self.stable.is_empty() && self.current != self.stable
    }

    /// Whether the update in flight is aborted and the controller has acted on that: the spec still holds it.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.in_flight() && self.aborted && self.aborted_at.is_some()
    }

    /// Whether nothing but the target's own history tells which release was stable before: Deployments keep no word of it.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        matches!(self.strategy, Strategy::Deployment | Strategy::Colours(_))
    }

    /// The hash of the template that the controller leads the traffic to, at once or step by step.
    #[must_use]
    pub fn heading(&self) -> &str {
        if self.is_aborted() {
            &self.stable
        } else {
            &self.current
        }
    }

    /// Whether an abort leads all traffic to the stable release.
    ///
    /// # Errors
    /// What the live release is instead. An abort of a promoted release does nothing, and past the switch of a blue-green
    /// it can leave no endpoint at all. While the spec says pause, the controller notes an abort and moves nothing.
    pub fn abortable(&self) -> Result<(), &'static str> {
        match &self.strategy {
            Strategy::Deployment => Err("is of a Deployment, which has no abort"),
            Strategy::Colours(_) => Err("is of a Deployment behind a Service, which has no abort"),
            _ if !self.in_flight() => Err("is promoted"),
            _ if self.paused && !self.is_aborted() => {
                Err("is paused by its spec, so that the controller would move nothing")
            }
            Strategy::BlueGreen { active, .. } if *active != self.stable => {
                Err("is behind the active Service already")
            }
            Strategy::Canary { .. } | Strategy::BlueGreen { .. } => Ok(()),
        }
    }
}

impl Common {
    /// `None` if the object has no uid, which no stored object lacks.
    pub(super) fn read(object: &Value, kind: Kind) -> Option<Self> {
        let at = |pointer: &str| object.pointer(pointer);
        let metadata = at("/metadata")?;
        let annotation = |name: &str| metadata["annotations"][name].as_str();
        let uid = metadata["uid"].as_str().filter(|uid| !uid.is_empty())?;
        let created = metadata["creationTimestamp"].as_str();
        Some(Self {
            uid: uid.to_owned(),
            generation: metadata["generation"].as_i64().unwrap_or(0),
            revision: annotation(kind.revision_annotation())
                .and_then(|revision| revision.parse().ok())
                .unwrap_or(0),
            paused: at("/spec/paused").and_then(Value::as_bool).unwrap_or(false),
            replicas: at("/spec/replicas")
                .and_then(Value::as_i64)
                .map_or(1, |n| i32::try_from(n).unwrap_or(i32::MAX)),
            images: at("/spec/template")
                .map(template::images)
                .unwrap_or_default(),
            annotated: metadata["annotations"].is_object(),
            owner: Owner::read(object, kind),
            operation: annotation(OPERATION_ANNOTATION).map(str::to_owned),
            drill: at("/spec/template")
                .and_then(drill::mark)
                .map(str::to_owned),
            deleting: at("/metadata/deletionTimestamp").is_some(),
            selector: selector_text(at("/spec/selector")),
            created: created.and_then(|at| at.parse().ok()),
        })
    }
}

/// A label selector as the API takes it in a query.
pub(crate) fn selector_text(selector: Option<&Value>) -> String {
    let mut terms = Vec::new();
    if let Some(labels) = selector
        .and_then(|s| s.get("matchLabels"))
        .and_then(Value::as_object)
    {
        for (key, value) in labels {
            terms.push(format!("{key}={}", value.as_str().unwrap_or_default()));
        }
    }
    if let Some(expressions) = selector
        .and_then(|s| s.get("matchExpressions"))
        .and_then(Value::as_array)
    {
        for expression in expressions {
            let key = expression["key"].as_str().unwrap_or_default();
            let values: Vec<_> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let values = values.join(",");
            match expression["operator"].as_str() {
                Some("In") => terms.push(format!("{key} in ({values})")),
                Some("NotIn") => terms.push(format!("{key} notin ({values})")),
                Some("Exists") => terms.push(key.to_owned()),
                Some("DoesNotExist") => terms.push(format!("!{key}")),
                _ => {}
            }
        }
    }
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generation_is_observed_only_when_the_string_in_the_status_equals_it() {
        let mut object = json!({
            "metadata": {"uid": "u", "generation": 7, "annotations": {"rollout.argoproj.io/revision": "4"}},
            "spec": {"replicas": 3, "strategy": {"canary": {}}},
            "status": {"observedGeneration": "6", "currentPodHash": "new", "stableRS": "old"},
        });
        assert!(!Rollout::read(&object).unwrap().observed);
        object["status"]["observedGeneration"] = json!("7");
        let rollout = Rollout::read(&object).unwrap();
        assert!(rollout.observed && rollout.in_flight());
        assert_eq!((rollout.revision, rollout.replicas), (4, 3));
    }

    #[test]
    fn a_rollout_without_status_is_neither_observed_nor_in_flight() {
        let rollout =
            Rollout::read(&json!({"metadata": {"uid": "u", "generation": 1}, "spec": {}})).unwrap();
        assert!(!rollout.observed && !rollout.in_flight());
        assert_eq!(rollout.replicas, 1);
    }

    #[test]
    fn selectors_become_query_text() {
        let selector = json!({
            "matchLabels": {"app": "x"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector_text(Some(&selector)), "app=x,tier in (a,b),!old");
    }
}
