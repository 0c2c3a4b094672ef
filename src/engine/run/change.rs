//! How a run makes a change: the intent is on record first, the release is blamed before the first one, and what becomes
//! of it is seen by the next look.

use jiff::Timestamp;

use super::{RACES, Round, Runner};
use crate::cluster::Error;
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::policy::admission::too_late;
use crate::policy::guard;
use crate::procedure::Intent;
use crate::reason::{Finding, Reason};
use crate::rollback::Phase;
use crate::target::Effect;

impl Runner<'_> {
    /// Makes a change: the intent is on record first, the release is blamed before the first one.
    pub(super) async fn change(&mut self, index: usize, effect: Effect) -> Result<Round, Halt> {
        let now = (self.ctx.clock)();
        // The bad release is live and the template is not ours: whatever was intended before had no effect.
        let first = matches!(effect, Effect::RestoreTemplate { .. })
            && self.journal.page.run.first_mutation.is_none();
        if first && let Some(refused) = self.no_longer(now).await {
            let target = Some(&self.target);
            ending::decline(self.ctx, &mut self.journal, target, refused, false).await?;
            return Ok(Round::Ended);
        }
        let generation = self
            .at
            .rollout
            .as_ref()
            .map_or(0, |rollout| rollout.generation);
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.attempts += 1;
            entry.intent = Some(Intent {
                effect: effect.kind(),
                generation,
                at: now,
                confirmed: None,
            });
        }
        self.journal.write(self.ctx).await?;
        if first && let Some(late) = self.blame().await? {
            let target = Some(&self.target);
            ending::decline(self.ctx, &mut self.journal, target, late, false).await?;
            return Ok(Round::Ended);
        }
        if self.ctx.ended.is_cancelled() {
            return Err(Halt::TermEnded);
        }
        let operation = self
            .journal
            .rollback
            .metadata
            .uid
            .clone()
            .unwrap_or_default();
        let workload = &self.target.workload;
        let made = self
            .ctx
            .cluster
            .apply(workload, &self.at, &effect, &operation);
        match made.await {
            Ok(()) => self.changed(index, &effect).await,
            Err(error) => self.not_changed(index, error, now).await,
        }
    }

    /// Why a first change is no longer wanted, if it is not. The hold was read with the other guards a moment ago, but
    /// not if another leader asked them.
    pub(super) async fn no_longer(&self, now: Timestamp) -> Option<Finding> {
        if let Some(late) = too_late(&self.journal.rollback, &self.target, now) {
            return Some(late);
        }
        if self.journal.rollback.all_ended() {
            return Some(Reason::ResolvedBeforeStart.into());
        }
        if !self.resumed {
            return None;
        }
        let (namespace, name) = self.ctx.caches.hold_at();
        let hold = self.ctx.cluster.hold(namespace, name).await;
        let memory = self.ctx.cluster.memory(&self.target).await.ok();
        guard::held(&hold, memory.as_ref(), now)
            .and_then(|()| guard::latched(memory.as_ref()))
            .err()
    }

    /// Journals that the API server confirmed a change.
    pub(super) async fn changed(&mut self, index: usize, effect: &Effect) -> Result<Round, Halt> {
        let confirmed = (self.ctx.clock)();
        self.races = 0;
        let entry = self.journal.page.run.steps.get_mut(index);
        if let Some(intent) = entry.and_then(|entry| entry.intent.as_mut()) {
            intent.confirmed = Some(confirmed);
        }
        self.journal
            .page
            .run
            .first_mutation
            .get_or_insert(confirmed);
        self.journal.write(self.ctx).await?;
        let reason = effect.kind().reason();
        self.ctx
            .events
            .say(&self.journal.rollback, "Change", &reason.into(), false);
        Ok(Round::Soon)
    }

    /// What follows from a change that was not confirmed.
    pub(super) async fn not_changed(
        &mut self,
        index: usize,
        error: Error,
        now: Timestamp,
    ) -> Result<Round, Halt> {
        let step = self.plan.steps.get(index);
        let safe = step.is_none_or(|step| step.safe_point(&self.at));
        let (ends, reason, said) = match error {
            Error::Precondition(said) => {
                self.races += 1;
                tracing::debug!(
                    rollback = self.journal.rollback.name(),
                    said,
                    "the workload changed before the change"
                );
                if self.races <= RACES {
                    return Ok(Round::Again);
                }
                (true, Reason::Contended, said)
            }
            // Whether it took effect is seen by the next look.
            Error::Unavailable(said) => (false, Reason::Retrying, said),
            error => (true, Reason::Rejected, error.to_string()),
        };
        if ends && safe {
            return self.ended(Phase::Failed, reason.because(said)).await;
        }
        // Half-way there is no end but the giving up, which pages: until then the change is asked for again.
        self.note(index, reason.because(said), now).await?;
        Ok(Round::Soon)
    }

    /// Blames the release that is about to be left, for as long as a first change is still allowed.
    ///
    /// # Errors
    /// When the term ends first.
    pub(super) async fn blame(&mut self) -> Result<Option<Finding>, Halt> {
        let name = self.journal.rollback.name().to_owned();
        let from = self.plan.from.clone();
        loop {
            let now = (self.ctx.clock)();
            let blamed = self.ctx.cluster.remember(&self.target, |memory| {
                let blamed = memory.blame(&from, &name, now);
                let activated = memory.active.as_ref() != Some(&name);
                memory.active = Some(name.clone());
                blamed || activated
            });
            match blamed.await {
                Ok(memory) => {
                    let namespace = &self.target.workload.namespace;
                    let memories = &self.ctx.caches.memories;
                    memories.offer(namespace, &self.target.name, memory);
                    return Ok(too_late(
                        &self.journal.rollback,
                        &self.target,
                        (self.ctx.clock)(),
                    ));
                }
                Err(error) => {
                    tracing::warn!(ripcord.target = self.target.name, %error, "the release cannot be blamed");
                }
            }
            if let Some(late) = too_late(&self.journal.rollback, &self.target, now) {
                return Ok(Some(late));
            }
            if !self.ctx.pause(self.ctx.tick).await {
                return Err(Halt::TermEnded);
            }
        }
    }
}
