//! What keeps a first change, up to the moment before it: a person's wish, the end of the alerts, the time, the off switch, the
//! latch, and a blame that cannot be written.

use jiff::Timestamp;

use super::{Round, Runner};
use crate::cluster::Error;
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::policy::admission::{lacking, too_late};
use crate::policy::guard::{self, Hold};
use crate::policy::ladder;
use crate::reason::{Finding, Reason};
use crate::rollback::{Memory, Phase};

/// Why a rollback that touched nothing ends, and in which phase.
pub(super) type Refused = (Phase, Finding);

impl Runner<'_> {
    /// Why a first change is no longer wanted by what is known here, if it is not.
    pub(super) fn no_longer(&self, now: Timestamp) -> Option<Refused> {
        let rollback = &self.journal.rollback;
        if let Some(stopped) = ending::asked_to_stop(rollback) {
            return Some((Phase::Cancelled, stopped));
        }
        let declined = if rollback.all_ended() {
            Some(Reason::ResolvedBeforeStart.into())
        } else {
            too_late(rollback, &self.target, now)
        };
        Some((Phase::Declined, declined?))
    }

    /// Why a first change is no longer wanted, by what is known here and then by fresh reads.
    pub(super) async fn kept(&self, now: Timestamp) -> Result<Option<Refused>, Error> {
        match self.no_longer(now) {
            Some(refused) => Ok(Some(refused)),
            None => self.held_now(now).await,
        }
    }

    /// Why a first change is no longer wanted by what was just read. A person's own request is not kept by a latch.
    fn held(&self, hold: &Hold, memory: Option<&Memory>, now: Timestamp) -> Option<Refused> {
        let by_hand = self.journal.rollback.spec.alerts.is_empty();
        let held = guard::held(hold, memory, now);
        let held = held.and_then(|()| {
            if by_hand {
                Ok(())
            } else {
                ladder::latched_for(memory, &self.journal.rollback)
            }
        });
        Some((Phase::Declined, held.err()?))
    }

    /// The same on fresh reads.
    pub(super) async fn held_now(&self, now: Timestamp) -> Result<Option<Refused>, Error> {
        let (namespace, config_map) = self.ctx.caches.hold_at();
        let hold = self.ctx.cluster.hold(namespace, config_map).await?;
        let memory = self.ctx.cluster.recall(&self.target).await?;
        Ok(self.held(&hold, memory.as_ref(), now))
    }

    /// Ends what has changed nothing.
    pub(super) async fn refused(&mut self, (phase, finding): Refused) -> Result<Round, Halt> {
        self.ended(phase, finding).await
    }

    /// What is missing, by name, where the API server has refused a first change that was thought to be allowed: a right that was
    /// taken away since it was last asked for. None where nothing is missing, and somebody else's rule keeps it out.
    pub(super) async fn lacks(&self) -> Option<Finding> {
        let (workload, mode) = (&self.target.workload, self.ctx.mode);
        let asked = self.ctx.cluster.missing_permissions(workload, mode).await;
        let missing = asked.ok().filter(|missing| !missing.is_empty())?;
        let now = (self.ctx.clock)();
        self.ctx.rights.note(workload, &missing, now);
        Some(lacking(&missing))
    }

    /// Blames the release that is about to be left, and asks once more what can keep it: for as long as a first change is
    /// still allowed, until both could be done.
    ///
    /// # Errors
    /// When the term ends first.
    pub(super) async fn blame(&mut self) -> Result<Option<Refused>, Halt> {
        let name = self.journal.rollback.name().to_owned();
        let from = self.plan.from.clone();
        let drill = self.journal.rollback.spec.drill;
        loop {
            let now = (self.ctx.clock)();
            let known = self.ctx.caches.memory(&self.target);
            let known = known.map(|known| Memory::clone(&known));
            let blamed = self.ctx.cluster.remember(&self.target, known, |memory| {
                // What a drill leaves is no worse than what it was made of.
                let blamed = !drill && memory.blame(&from, &name, now);
                let activated = memory.active.as_ref() != Some(&name);
                memory.active = Some(name.clone());
                blamed || activated
            });
            let blamed = blamed.await;
            // After it: a write can take long, and a hold that came meanwhile counts.
            let (namespace, config_map) = self.ctx.caches.hold_at();
            let hold = self.ctx.cluster.hold(namespace, config_map).await;
            self.journal.refresh(self.ctx);
            let now = (self.ctx.clock)();
            if let Some(refused) = self.no_longer(now) {
                return Ok(Some(refused));
            }
            match (blamed, hold) {
                (Ok(memory), Ok(hold)) => {
                    let refused = self.held(&hold, Some(&memory), now);
                    let namespace = &self.target.workload.namespace;
                    let memories = &self.ctx.caches.memories;
                    memories.offer(namespace, &self.target.name, memory);
                    return Ok(refused);
                }
                (Err(error), _) => {
                    if matches!(error, Error::Forbidden(_))
                        && let Some(finding) = self.lacks().await
                    {
                        return Ok(Some((Phase::Declined, finding)));
                    }
                    tracing::warn!(ripcord.target = self.target.name, %error, "the release cannot be blamed");
                }
                (_, Err(error)) => {
                    tracing::warn!(ripcord.target = self.target.name, %error, "the hold cannot be read: nothing starts");
                }
            }
            if !self.ctx.pause(self.ctx.tick).await {
                return Err(Halt::TermEnded);
            }
        }
    }

    /// Takes the blame back from a release that nothing was done to after all.
    pub(super) async fn withdraw_blame(&mut self) -> Result<(), Halt> {
        self.journal.fence(self.ctx).await?;
        let name = self.journal.rollback.name();
        ending::remember(self.ctx, &self.target, |memory| {
            let before = memory.blamed.len();
            memory.blamed.retain(|blame| blame.rollback != name);
            memory.blamed.len() < before
        })
        .await
    }
}
