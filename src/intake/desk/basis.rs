//! What a decision is made from, and whether that is how things are: a replica that was frozen hears of everything at once
//! when it wakes, and in no order.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Recorded, Registrar};
use crate::cluster::Error;
use crate::cluster::caches::Seen;
use crate::policy::guard::Hold;
use crate::reason::{Finding, Reason};
use crate::rollback::{Memory, MemoryStatus, Rollback};
use crate::target::Target;
use crate::target::workload::Rollout;

/// What the caches knew of a target when its decisions were made. They may know more by the time that one is recorded, so that
/// what is read then is compared with this, and not with them.
pub(super) struct Basis {
    pub(super) seen: Option<Arc<Seen>>,
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) rollbacks: Vec<Arc<Rollback>>,
    pub(super) hold: Hold,
}

// === impl Basis ===

impl Basis {
    fn remembers(&self, memory: &Memory) -> bool {
        let version = |memory: &Memory| memory.metadata.resource_version.clone();
        let known = self.memory.as_deref();
        known.is_some_and(|known| version(known) == version(memory))
    }

    fn knows(&self, rollback: &str) -> bool {
        self.rollbacks.iter().any(|it| it.name() == rollback)
    }

    fn rollout(&self) -> Option<&Rollout> {
        self.seen.as_ref().map(|seen| &seen.rollout)
    }
}

impl Registrar {
    /// What the caches know of a target now.
    pub(super) fn basis(&self, target: &Target) -> Basis {
        Basis {
            seen: self.caches.rollout(target),
            memory: self.caches.memory(target),
            rollbacks: self.caches.rollbacks_of(target),
            hold: self.caches.hold(),
        }
    }

    /// What becomes of a decision that was not made on how things are, about a rollback if it is about one; none where they are
    /// as they were. What may not be read is for the leader to tell of.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn outdated(
        &self,
        target: &Target,
        basis: &Basis,
        about: Option<&str>,
    ) -> Result<Option<Recorded>, Error> {
        let moved_on = async {
            match about {
                Some(name) => self.moved_on(target, name, basis).await,
                None => Ok(false),
            }
        };
        let (behind, moved_on, unseen) = tokio::join!(
            self.behind(target, basis),
            moved_on,
            self.unseen(target, basis),
        );
        if behind? | moved_on? {
            return Ok(Some(Recorded::Again));
        }
        match unseen {
            Ok(finding) => Ok(finding.map(Recorded::Unseen)),
            Err(error) if error.passes() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Whether a decision was made without what is remembered of its target now, or without a rollback that is remembered: the
    /// release that one made can be seen before it is heard of. The caches are told of what was missing.
    ///
    /// # Errors
    /// See [`Error`].
    async fn behind(&self, target: &Target, basis: &Basis) -> Result<bool, Error> {
        let namespace = &target.workload.namespace;
        let Some(memory) = self.cluster.recall(target).await? else {
            return Ok(false);
        };
        let current = basis.remembers(&memory);
        let unknown = named(&memory.state());
        let unknown = unknown.into_iter().filter(|name| !basis.knows(name));
        let unknown: BTreeSet<_> = unknown.collect();
        if current && unknown.is_empty() {
            return Ok(false);
        }
        let rollbacks = self.rollbacks(namespace).await?;
        self.caches.memories.offer(namespace, &target.name, memory);
        // One that is no more will not be known the next time either.
        let here = rollbacks
            .iter()
            .any(|it| it.spec.target == target.name && unknown.contains(it.name()));
        Ok(!current || here)
    }

    /// Why a decision has to wait: the workload is not as it was seen.
    ///
    /// # Errors
    /// See [`Error`].
    async fn unseen(&self, target: &Target, basis: &Basis) -> Result<Option<Finding>, Error> {
        let fresh = self.cluster.rollout(&target.workload).await?;
        let same = standing(basis.rollout()) == standing(fresh.as_ref());
        Ok((!same).then(|| {
            let said = format!("the watch has yet to tell how {} is now", target.workload);
            Reason::NotReady.because(said)
        }))
    }

    /// Whether a rollback has changed since a decision was made with it. The caches know of it afterwards.
    ///
    /// # Errors
    /// See [`Error`].
    async fn moved_on(&self, target: &Target, name: &str, basis: &Basis) -> Result<bool, Error> {
        let namespace = &target.workload.namespace;
        let fresh = match self.cluster.rollback(namespace, name).await {
            Ok(fresh) => fresh,
            Err(Error::NotFound(_)) => {
                self.caches.rollbacks.forget(namespace, name);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let known = basis.rollbacks.iter().find(|it| it.name() == name);
        let version = &fresh.metadata.resource_version;
        let same = known.is_some_and(|it| it.metadata.resource_version == *version);
        self.caches.rollbacks.offer(namespace, name, fresh);
        Ok(!same)
    }

    /// Reads the rollbacks of a namespace, and tells the caches of them.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn rollbacks(&self, namespace: &str) -> Result<Arc<[Arc<Rollback>]>, Error> {
        let list = async {
            let rollbacks = self.cluster.rollbacks(namespace).await?;
            let rollbacks: Vec<_> = rollbacks.into_iter().map(Arc::new).collect();
            for rollback in &rollbacks {
                let (name, rollback) = (rollback.name(), Arc::clone(rollback));
                self.caches.rollbacks.offer(namespace, name, rollback);
            }
            Ok(rollbacks)
        };
        self.lists.fresh(namespace, list).await
    }
}

/// The rollbacks that a memory names and that decisions depend on: the one that runs, and the last that did anything.
fn named(memory: &MemoryStatus) -> BTreeSet<String> {
    let active = memory.active.clone();
    let made = memory.made.last().map(|made| made.rollback.clone());
    let blamed = memory.blamed.last().map(|blame| blame.rollback.clone());
    [active, made, blamed].into_iter().flatten().collect()
}

/// What tells whether a workload is where a rollback found it, or where it left it.
fn standing(rollout: Option<&Rollout>) -> Option<(&str, i64, &str, bool, Option<Timestamp>)> {
    let it = rollout?;
    let aborted = it.aborted_at.filter(|_| it.is_aborted());
    Some((&it.uid, it.revision, &it.current, it.observed, aborted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::snapshot::tests::in_flight;

    #[test]
    fn another_abort_of_the_same_release_is_another_standing() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut seen = in_flight().rollout.unwrap();
        let mut fresh = seen.clone();
        assert_eq!(standing(Some(&seen)), standing(Some(&fresh)));
        (fresh.aborted, fresh.aborted_at) = (true, at(20));
        assert_ne!(standing(Some(&seen)), standing(Some(&fresh)));
        (seen.aborted, seen.aborted_at) = (true, at(10));
        assert_ne!(standing(Some(&seen)), standing(Some(&fresh)));
        assert_ne!(standing(Some(&seen)), standing(None));
    }
}
