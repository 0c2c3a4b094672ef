//! What the service account is known to be allowed, asked for ahead: nothing more than it must stands between an alert and the
//! first change. What is taken away meanwhile, the API server refuses.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::target::{Kind, Workload};

/// For how long the answer that nothing is missing counts.
const COUNTS: SignedDuration = SignedDuration::from_secs(90);

/// Where nothing was missing when it was last asked: by namespace and kind of workload, as rights are granted so.
#[derive(Debug, Default)]
pub struct Rights {
    complete: Mutex<BTreeMap<(String, Kind), Timestamp>>,
}

// === impl Rights ===

impl Rights {
    /// Notes what was missing at this time.
    pub fn note(&self, workload: &Workload, missing: &[String], at: Timestamp) {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (workload.namespace.clone(), workload.kind);
        if missing.is_empty() {
            complete.insert(key, at);
        } else {
            complete.remove(&key);
        }
    }

    /// Whether it is known that nothing is missing.
    #[must_use]
    pub fn are_complete(&self, workload: &Workload, now: Timestamp) -> bool {
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = complete.get(&(workload.namespace.clone(), workload.kind));
        asked.is_some_and(|asked| now.duration_since(*asked) < COUNTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_complete_counts_for_a_while_and_until_something_is_missing() {
        let rights = Rights::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let workload = |namespace: &str, kind| Workload {
            kind,
            namespace: namespace.to_owned(),
            name: "any".to_owned(),
            deployments: vec![],
        };
        let shop = workload("shop", Kind::Rollout);
        assert!(!rights.are_complete(&shop, at(0)), "nobody has asked");
        rights.note(&shop, &[], at(0));
        assert!(rights.are_complete(&shop, at(89)));
        assert!(!rights.are_complete(&shop, at(90)));
        assert!(!rights.are_complete(&workload("bank", Kind::Rollout), at(1)));
        assert!(!rights.are_complete(&workload("shop", Kind::Deployment), at(1)));
        rights.note(&shop, &["patch rollouts".to_owned()], at(2));
        assert!(!rights.are_complete(&shop, at(3)));
    }
}
