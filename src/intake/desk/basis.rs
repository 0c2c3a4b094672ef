//! What a decision is made from, and whether that is how things are: a replica that was frozen hears of everything at once
//! when it wakes, and in no order.

use std::sync::Arc;

use super::Registrar;
use crate::cluster::Error;
use crate::cluster::caches::Seen;
use crate::cluster::workloads::Look;
use crate::policy::guard::Hold;
use crate::reason::{Finding, Reason};
use crate::rollback::{Memory, Rollback};
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

    /// Whether a decision was made without what is remembered of its target now: the release that a rollback made can be seen
    /// before the rollback is heard of. The caches know of it afterwards.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn behind(&self, target: &Target, basis: &Basis) -> Result<bool, Error> {
        let namespace = &target.workload.namespace;
        let Some(memory) = self.cluster.recall(target).await? else {
            return Ok(false);
        };
        let current = basis.remembers(&memory);
        let active = memory.state().active.clone();
        if current && active.as_deref().is_none_or(|name| basis.knows(name)) {
            return Ok(false);
        }
        self.refresh(namespace).await?;
        self.caches.memories.offer(namespace, &target.name, memory);
        // One that is said to run and is no more will not be known the next time either.
        let here = |name| self.caches.rollbacks.get(namespace, name).is_some();
        Ok(!current || active.as_deref().is_some_and(here))
    }

    /// Why a decision about a release that a rollback was about already has to wait: the workload is not as it was seen.
    /// Where it cannot be read, the leader tells of it.
    pub(super) async fn unseen(&self, target: &Target, basis: &Basis) -> Option<Finding> {
        let fresh = self.cluster.snapshot_again(
            &target.workload,
            basis.rollout(),
            Look::Quorum,
            &self.clock,
        );
        let fresh = fresh.await.ok()?;
        (standing(basis.rollout()) != standing(fresh.rollout.as_ref())).then(|| {
            let said = format!("the watch has yet to tell how {} is now", target.workload);
            Reason::NotReady.because(said)
        })
    }

    /// Reads the rollbacks of a namespace, so that the caches know of every one.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn refresh(&self, namespace: &str) -> Result<(), Error> {
        for rollback in self.cluster.rollbacks(namespace).await? {
            let name = rollback.name().to_owned();
            self.caches.rollbacks.offer(namespace, &name, rollback);
        }
        Ok(())
    }
}

/// What tells whether a workload is where a rollback found it, or where it left it.
fn standing(rollout: Option<&Rollout>) -> Option<(&str, i64, &str, bool, bool)> {
    let it = rollout?;
    let (observed, aborted) = (it.observed, it.is_aborted());
    Some((&it.uid, it.revision, &it.current, observed, aborted))
}
