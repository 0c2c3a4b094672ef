//! What the watches keep of Deployments. The live release of one is told by its replica sets as well, so that both are
//! followed, and put together when they are asked for.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use super::caches::Seen;
use crate::target::snapshot::ReplicaSet;
use crate::target::workload::Rollout;
use crate::target::{Kind, deployment};

/// A Deployment, and since when this replica has waited for its controller, if it does.
pub struct Deployed {
    object: Value,
    since: Timestamp,
}

/// A replica set, and the uid of its owner.
pub struct Owned {
    owner: String,
    set: ReplicaSet,
}

impl Deployed {
    /// What is kept of a Deployment.
    pub(super) fn keep(
        object: &DynamicObject,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Option<Self> {
        let object = serde_json::to_value(object).ok()?;
        let same = |before: &&Self| {
            let as_before = |key: &str| before.object["metadata"][key] == object["metadata"][key];
            let waits = !deployment::is_observed(&before.object);
            as_before("uid") && (waits || as_before("generation"))
        };
        let since = before.filter(same).map_or(now, |before| before.since);
        Some(Self { object, since })
    }

    /// The uid.
    pub(super) fn uid(&self) -> Option<&str> {
        self.object["metadata"]["uid"].as_str()
    }

    /// The object.
    pub(super) const fn object(&self) -> &Value {
        &self.object
    }

    /// Since when this replica has waited for its controller, if it does.
    pub(super) const fn since(&self) -> Timestamp {
        self.since
    }

    /// The workload, with the replica sets that it owns.
    pub(super) fn seen(&self, owned: &[Arc<Owned>]) -> Option<Seen> {
        let sets: Vec<_> = owned.iter().map(|owned| owned.set.clone()).collect();
        let rollout = Rollout::of_deployment(&self.object, &sets)?;
        Some(Seen {
            unobserved_since: (!rollout.observed).then_some(self.since),
            rollout,
        })
    }
}

impl Owned {
    /// What is kept of a replica set: nothing of one that no Deployment made.
    pub(super) fn keep(object: &DynamicObject) -> Option<Self> {
        let object = serde_json::to_value(object).ok()?;
        Some(Self {
            owner: ReplicaSet::owner(&object)?.to_owned(),
            set: ReplicaSet::read(&object, Kind::Deployment)?,
        })
    }

    /// The replica set.
    pub(super) const fn set(&self) -> &ReplicaSet {
        &self.set
    }

    /// Whether the workload with this uid owns it.
    pub(super) fn is_of(&self, uid: Option<&str>) -> bool {
        uid == Some(self.owner.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::deployment::tests::{deployment, replica_set};

    fn dynamic(object: &Value) -> DynamicObject {
        serde_json::from_value(object.clone()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_deployment_is_seen_with_its_own_replica_sets() {
        let kept = Deployed::keep(&dynamic(&deployment("app:2", 2)), None, at(10)).unwrap();
        let mut strange = replica_set("strange", "app:2", 2);
        strange["metadata"]["ownerReferences"][0]["uid"] = "other".into();
        let all = [
            replica_set("one", "app:1", 1),
            replica_set("two", "app:2", 2),
            strange,
        ];
        let all = all.map(|set| Arc::new(Owned::keep(&dynamic(&set)).unwrap()));
        let own: Vec<_> = all
            .iter()
            .filter(|it| it.is_of(kept.uid()))
            .cloned()
            .collect();
        assert_eq!(own.len(), 2);
        let seen = kept.seen(&own).unwrap();
        assert_eq!(seen.rollout.current, "two");
        assert_eq!(seen.unobserved_since, None);
        // The watch of the replica sets may be behind.
        let behind = kept.seen(&own[..1]).unwrap();
        assert_eq!(behind.unobserved_since, Some(at(10)));
    }

    #[test]
    fn the_time_without_observation_runs_on_over_further_changes() {
        let of = |generation: i64| {
            let mut object = deployment("app:2", 2);
            object["metadata"]["generation"] = generation.into();
            dynamic(&object)
        };
        let observed = Deployed::keep(&of(2), None, at(10)).unwrap();
        let first = Deployed::keep(&of(3), Some(&observed), at(20)).unwrap();
        let second = Deployed::keep(&of(4), Some(&first), at(30)).unwrap();
        assert_eq!(second.seen(&[]).unwrap().unobserved_since, Some(at(20)));
    }
}
