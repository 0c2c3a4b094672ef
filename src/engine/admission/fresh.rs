//! What is read for an admission, and the guards that are asked on it.
//!
//! It reads and writes nothing itself.

use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Policy;
use crate::policy::admission::{Admission, lacking};
use crate::policy::guard::{Facts, Hold};
use crate::reason::Finding;
use crate::rollback::memory::MemorySpec;
use crate::rollback::{Memory, Rollback};
use crate::target::{Release, Snapshot, Target};

/// What was read for an admission.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The workload, and what belongs to it.
    pub at: Snapshot,
    /// The global hold.
    pub hold: Hold,
    /// The target's memory, where there is one.
    pub memory: Option<Memory>,
    /// The permissions that the service account lacks.
    pub missing: Vec<String>,
    /// Those that running commands in pods lacks, asked for where the policy has such a step for the target.
    pub missing_to_exec: Vec<String>,
}

impl Fresh {
    /// Whether a first look shows all that a plan is made of: both releases, and that somebody serves. An API server whose own
    /// cache lags may not. A drill's release is judged by what it was made of, so that is looked at again.
    pub(super) fn is_whole(&self) -> bool {
        let Some(rollout) = &self.at.rollout else {
            return false;
        };
        let known = |hash: &str| hash.is_empty() || self.at.replica_set(hash).is_some();
        let drilled = rollout.drill.is_some();
        !drilled
            && rollout.observed
            && known(&rollout.current)
            && known(&rollout.stable)
            && self.at.served()
    }

    /// What becomes of a claimed rollback by these facts. `rollbacks` are its target's; it may be among them.
    #[must_use]
    pub fn judge(
        &self,
        policy: &Policy,
        target: &Target,
        rollback: &Rollback,
        rollbacks: &[Arc<Rollback>],
        now: Timestamp,
    ) -> Admission {
        let others = rollbacks.iter().filter(|it| it.name() != rollback.name());
        let others: Vec<_> = others.cloned().collect();
        let admission = self.ask(policy, target, &others, now, |facts| {
            facts.admit(rollback, target, &self.at, &self.missing)
        });
        match admission {
            // Another procedure of the same target may do without it.
            Admission::Go { procedure, .. }
                if procedure.commands().next().is_some() && !self.missing_to_exec.is_empty() =>
            {
                Admission::Decline {
                    finding: lacking(&self.missing_to_exec),
                    latch: false,
                }
            }
            admission => admission,
        }
    }

    /// Whether a release may be shipped to the target only to be pulled back, by these facts: the live one.
    ///
    /// # Errors
    /// Why not.
    pub fn drillable(
        &self,
        policy: &Policy,
        target: &Target,
        rollbacks: &[Arc<Rollback>],
        now: Timestamp,
    ) -> Result<Release, Finding> {
        self.ask(policy, target, rollbacks, now, |facts| {
            facts.drillable(target, &self.at)
        })
    }

    /// Asks the guards.
    fn ask<T>(
        &self,
        policy: &Policy,
        target: &Target,
        rollbacks: &[Arc<Rollback>],
        now: Timestamp,
        ask: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let live = self.at.live();
        let created = live
            .as_ref()
            .and_then(|live| self.at.replica_set(&live.hash))
            .and_then(|set| set.created);
        // The keeper may not have written yet what this very look shows.
        let none = || Memory::new(&target.name, MemorySpec::default());
        let mut memory = self.memory.clone().unwrap_or_else(none);
        let mut remembered = memory.state().into_owned();
        if let Some(twin) = self.at.drilled() {
            remembered.remember_drilled(&twin, now);
        }
        if let Some(rollout) = &self.at.rollout {
            remembered.observe(rollout, created, now);
        }
        let rollout = self.at.rollout.as_ref();
        let rollout = rollout.map(|rollout| remembered.recall(rollout).into_owned());
        memory.status = Some(remembered);
        let facts = Facts {
            now,
            policy,
            hold: &self.hold,
            memory: Some(&memory),
            rollout: rollout.as_ref(),
            live_created: created,
            live,
            unobserved_for: std::time::Duration::ZERO,
            rollbacks,
        };
        ask(&facts)
    }
}
