//! Restarts: what a restarted release is, and which pods are from before.
//!
//! A Rollout replaces its pods and keeps its template. A Deployment is restarted by an annotation in its template, so that
//! the same release goes on under another hash: one that is no deploy of anybody's.

use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use super::release::Release;
use super::snapshot::{Pod, Snapshot};
use super::template;

/// The annotation of a pod template that restarts a Deployment, as kubectl writes it.
pub const RESTARTED_ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";

/// The moment that stands for a restart that was begun at `since`: the next whole second. Pods are dated in whole seconds,
/// and one of the same second must not count as new.
#[must_use]
pub fn moment(since: Timestamp) -> Timestamp {
    let whole = Timestamp::from_second(since.as_second()).unwrap_or(since);
    whole.checked_add(1.second()).unwrap_or(whole)
}

/// When a template asks for its pods to be restarted.
#[must_use]
pub fn restarted_at(template: &Value) -> Option<Timestamp> {
    let annotations = template.pointer("/metadata/annotations")?;
    annotations
        .get(RESTARTED_ANNOTATION)?
        .as_str()?
        .parse()
        .ok()
}

/// Whether two templates differ in nothing but a restart.
fn same_but_restarted(one: &Value, other: &Value) -> bool {
    without_restart(one) == without_restart(other)
}

fn without_restart(template: &Value) -> Value {
    let mut template = template.clone();
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else {
        return template;
    };
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(RESTARTED_ANNOTATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    let bare = metadata.is_empty();
    if let Some(template) = template.as_object_mut().filter(|_| bare) {
        template.remove("metadata");
    }
    template
}

impl Snapshot {
    /// The hash under which a destination is what the workload leads its traffic to: its own, or that of the same template
    /// as the operation restarted it, or that of what the operation made of its image. None where something else is live.
    #[must_use]
    pub fn arrived(&self, to: &Release, operation: &str) -> Option<&str> {
        let rollout = self.rollout.as_ref()?;
        let heading = rollout.heading();
        if heading == to.hash {
            return Some(heading);
        }
        if to.is_to_be_made() {
            let made = rollout.operation.as_deref() == Some(operation)
                && rollout.observed
                && rollout.revision == to.revision
                && template::images(&self.replica_set(heading)?.template) == to.images;
            return made.then_some(heading);
        }
        let ours = rollout.is_deployment() && rollout.operation.as_deref() == Some(operation);
        let (one, other) = (self.replica_set(heading)?, self.replica_set(&to.hash)?);
        let same = same_but_restarted(&one.template, &other.template);
        (ours && same).then_some(heading)
    }

    /// The pods of a destination that are from before the restart that the workload asks for.
    #[must_use]
    pub fn not_restarted(&self, to: &Release, hash: &str) -> Vec<&Pod> {
        let asked = self.rollout.as_ref().and_then(|it| it.restart_at);
        let old = |pod: &&Pod| {
            if hash != to.hash {
                return pod.hash == to.hash;
            }
            let after = pod.created.zip(asked).is_some_and(|(it, at)| it >= at);
            pod.hash == hash && !after
        };
        self.pods
            .iter()
            .filter(|pod| !pod.deleting)
            .filter(old)
            .collect()
    }

    /// Whether all pods of a Rollout are from after a restart, and its controller has not noted that. It counts the old ones until
    /// they have ended, and no replica set changes when the last of them does: Argo Rollouts 1.9.1 looks again 30 seconds
    /// after it looked before.
    #[must_use]
    pub fn restart_is_unnoted(&self) -> bool {
        let Some(rollout) = self.rollout.as_ref().filter(|it| !it.is_deployment()) else {
            return false;
        };
        let Some(asked) = rollout.restart_at else {
            return false;
        };
        let after = |pod: &Pod| pod.created.is_some_and(|it| it >= asked);
        rollout.restarted_at != Some(asked) && self.pods.iter().all(after)
    }

    /// The pods of a release that still run, those that are told to stop included: they can still write to a cache.
    #[must_use]
    pub fn left_of(&self, hash: &str) -> Vec<&Pod> {
        self.pods.iter().filter(|pod| pod.hash == hash).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::target::snapshot::tests::{pod, restored, set};
    use crate::target::workload::Strategy;

    fn to() -> Release {
        Release {
            uid: "uid".into(),
            revision: 1,
            hash: "good".into(),
            images: vec![],
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    /// A Deployment whose good release was restarted under another hash.
    pub(crate) fn restarted_deployment() -> Snapshot {
        let mut at = restored();
        let rollout = at.rollout.as_mut().unwrap();
        rollout.strategy = Strategy::Deployment;
        rollout.operation = Some("op".into());
        rollout.current = "again".into();
        rollout.stable = "again".into();
        rollout.revision = 4;
        let mut again = set("again", 4, 3);
        again.template = at.replica_set("good").unwrap().template.clone();
        again.template["metadata"] =
            json!({"annotations": {RESTARTED_ANNOTATION: "2026-01-01T00:00:01Z"}});
        at.replica_sets.push(again);
        at.pods = vec![
            pod("again-1", "again"),
            pod("again-2", "again"),
            pod("good-1", "good"),
        ];
        at
    }

    #[test]
    fn a_moment_is_after_every_pod_of_its_second() {
        let since = Timestamp::new(100, 900_000_000).unwrap();
        assert_eq!(moment(since), second(101));
        assert_eq!(moment(second(100)), second(101));
    }

    #[test]
    fn a_restarted_deployment_is_the_same_release_for_whoever_restarted_it() {
        let at = restarted_deployment();
        assert_eq!(at.arrived(&to(), "op"), Some("again"));
        assert_eq!(at.arrived(&to(), "another"), None);
        let mut other = restarted_deployment();
        other.replica_sets.last_mut().unwrap().template["spec"]["containers"][0]["env"] =
            json!([{"name": "a", "value": "b"}]);
        assert_eq!(
            other.arrived(&to(), "op"),
            None,
            "somebody changed it as well"
        );
        let left: Vec<_> = at.not_restarted(&to(), "again");
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].name, "good-1");
    }

    #[test]
    fn the_pods_of_a_rollout_are_told_by_their_age() {
        let mut at = restored();
        at.rollout.as_mut().unwrap().restart_at = Some(second(100));
        for (pod, created) in at.pods.iter_mut().zip([99, 100, 101]) {
            pod.created = Some(second(created));
        }
        let left = at.not_restarted(&to(), "good");
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].name, "good-1");
    }

    #[test]
    fn a_restart_is_unnoted_from_the_end_of_the_last_old_pod_on() {
        let mut at = restored();
        assert!(!at.restart_is_unnoted(), "none was asked for");
        at.rollout.as_mut().unwrap().restart_at = Some(second(100));
        for (pod, created) in at.pods.iter_mut().zip([99, 100, 101]) {
            pod.created = Some(second(created));
        }
        at.pods[0].deleting = true;
        assert!(!at.restart_is_unnoted(), "an old pod has not ended");
        at.pods.remove(0);
        assert!(at.restart_is_unnoted());
        at.rollout.as_mut().unwrap().restarted_at = Some(second(99));
        assert!(at.restart_is_unnoted(), "that was another restart");
        at.rollout.as_mut().unwrap().restarted_at = Some(second(100));
        assert!(!at.restart_is_unnoted());
        let mut at = restarted_deployment();
        at.rollout.as_mut().unwrap().restart_at = Some(second(100));
        at.pods.clear();
        assert!(!at.restart_is_unnoted(), "nobody notes it there");
    }

    #[test]
    fn a_pod_that_is_told_to_stop_is_still_left() {
        let mut at = restored();
        assert!(at.left_of("bad").is_empty());
        let mut stopping = pod("bad-1", "bad");
        stopping.deleting = true;
        at.pods.push(stopping);
        assert_eq!(at.left_of("bad").len(), 1);
    }
}
