//! How a run makes a change: the intent is on record first, the release is blamed before the first one, and what becomes
//! of it is seen by the next look.

use jiff::Timestamp;

use super::{RACES, Round, Runner};
use crate::cluster::Error;
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::procedure::entry::Scaled;
use crate::procedure::{Intent, Next};
use crate::reason::Reason;
use crate::rollback::Phase;
use crate::rollback::object::Mode;
use crate::target::Effect;
use crate::target::effect::EffectKind;
use crate::telemetry::Span;

impl Runner<'_> {
    /// Makes a change: the intent is on record first, the release is blamed before the first one, and nothing stands
    /// between the last look at the guards and that change.
    pub(super) async fn change(&mut self, index: usize, effect: Effect) -> Result<Round, Halt> {
        let now = (self.ctx.clock)();
        // Neither the template bears our mark nor is the update aborted: whatever was intended before had no effect.
        let first = self.journal.page.run.first_mutation.is_none();
        if first && let Some(refused) = self.no_longer(now) {
            return self.refused(refused).await;
        }
        // Only a run that began before the switch comes here. What is half-way goes on to where it can be left.
        let begins = !matches!(effect, Effect::PromoteFull { .. });
        if begins && self.ctx.mode == Mode::Shadow {
            let finding = Reason::Shadow.because("engine.mode is shadow: nothing is done any more");
            if first {
                return self.refused((Phase::Declined, finding)).await;
            }
            return self.ended(Phase::Failed, finding).await;
        }
        let generation = self
            .at
            .rollout
            .as_ref()
            .map_or(0, |rollout| rollout.generation);
        let steps = &self.journal.page.run.steps;
        let intended_before = steps.get(index).is_some_and(|entry| entry.attempts > 0);
        // A blame that came with an earlier intent stays: whether that had an effect is not known for certain.
        if first
            && intended_before
            && let Ok(Some(refused)) = self.held_now(now).await
        {
            return self.refused(refused).await;
        }
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.attempts += 1;
            if let Effect::Scale {
                deployment,
                from,
                to,
                ..
            } = &effect
            {
                entry.scaled = Some(Scaled {
                    deployment: deployment.clone(),
                    from: *from,
                    to: *to,
                });
            }
            entry.intent = Some(Intent {
                effect: effect.kind(),
                of: effect.of().map(str::to_owned),
                generation,
                at: now,
                confirmed: None,
                outcome: None,
            });
        }
        self.journal.write(self.ctx).await?;
        if first && let Some(refused) = self.blame().await? {
            if !intended_before {
                self.unintended(index);
            }
            return self.refused(refused).await;
        }
        if let Some(outcome) = self.outside(&effect).await? {
            return self.answered(index, &effect, outcome).await;
        }
        let effect = match self
            .look_again(index, effect, first, intended_before)
            .await?
        {
            Ok(effect) => effect,
            Err(round) => return Ok(round),
        };
        match self.apply(index, &effect).await? {
            Ok(()) => Ok(self.changed(index, &effect)),
            Err(error) => self.not_changed(index, error, now).await,
        }
    }

    /// Looks once more before a change that the API server cannot judge: the write tests one object, and others may have
    /// changed while what comes before it was written. What is not wanted any more is not done.
    async fn look_again(
        &mut self,
        index: usize,
        effect: Effect,
        first: bool,
        intended_before: bool,
    ) -> Result<Result<Effect, Round>, Halt> {
        if !matches!(effect, Effect::SwitchService { .. } | Effect::Scale { .. }) {
            return Ok(Ok(effect));
        }
        if let Err(error) = self.look_once().await {
            tracing::warn!(rollback = self.journal.rollback.name(), %error, "the workload cannot be read before a change");
            if !intended_before {
                self.unintended(index);
            }
            // The next look waits for what can be waited for.
            return Ok(Err(Round::Again));
        }
        self.journal.refresh(self.ctx);
        let now = (self.ctx.clock)();
        let kept = if first {
            self.kept(now).await
        } else {
            Ok(None)
        };
        let step = self.plan.steps.get(index);
        let step = step.zip(self.journal.page.run.steps.get(index));
        let next = step.map(|(step, entry)| step.next(&self.at, &self.seen, entry, now));
        let stops = ending::asked_to_stop(&self.journal.rollback).is_some();
        match next {
            Some(Next::Do(next)) if next.is_same(&effect) && !stops && matches!(kept, Ok(None)) => {
                return Ok(Ok(next));
            }
            _ => {}
        }
        if !intended_before {
            self.unintended(index);
        }
        Ok(Err(match kept {
            Ok(Some(refused)) => self.refused(refused).await?,
            Ok(None) => Round::Again,
            // What cannot be read holds.
            Err(error) => self.retried(index, &error, now).await?,
        }))
    }

    /// Makes the controller look at the workload again. It is worth a try and no more: what comes of it ends nothing, and what
    /// keeps a first change keeps this one too.
    pub(super) async fn nudge(&mut self, index: usize) -> Result<Round, Halt> {
        let now = (self.ctx.clock)();
        if self.journal.page.run.first_mutation.is_none() {
            match self.kept(now).await {
                Ok(Some(refused)) => return self.refused(refused).await,
                Ok(None) => {}
                // What cannot be read holds.
                Err(error) => return self.retried(index, &error, now).await,
            }
        }
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.nudged = Some(now);
        }
        self.journal.write(self.ctx).await?;
        match self.apply(index, &Effect::Nudge).await? {
            Ok(()) => {
                self.races = 0;
                self.announce(&Effect::Nudge);
                Ok(Round::Changed(EffectKind::Nudge))
            }
            Err(error) => self.retried(index, &error, now).await,
        }
    }

    /// Asks the API server for a change, in this term.
    async fn apply(&self, index: usize, effect: &Effect) -> Result<Result<(), Error>, Halt> {
        if self.ctx.ended.is_cancelled() {
            return Err(Halt::TermEnded);
        }
        // Only a run that began before the switch comes here. A promotion is on the way to where it can be left.
        if self.ctx.mode == Mode::Shadow && !matches!(effect, Effect::PromoteFull { .. }) {
            let said = "engine.mode is shadow: no workload is changed".to_owned();
            return Ok(Err(Error::Forbidden(said)));
        }
        let uid = self.journal.rollback.metadata.uid.as_deref();
        let (workload, operation) = (&self.target.workload, uid.unwrap_or_default());
        let cluster = &self.ctx.cluster;
        let start = (self.ctx.clock)();
        let applied = cluster.apply(workload, &self.at, effect, operation).await;
        let (rollback, end) = (&self.journal.rollback, (self.ctx.clock)());
        let failed = applied.as_ref().err().map(Error::kind);
        let told = || Span::effect(rollback, index, effect.kind(), start, end, failed);
        self.ctx.spans.record(told);
        Ok(applied)
    }

    /// Notes a call that failed and is worth another try.
    async fn retried(
        &mut self,
        index: usize,
        error: &Error,
        now: Timestamp,
    ) -> Result<Round, Halt> {
        let finding = Reason::Retrying.because(error.to_string());
        self.note(index, finding, now).await?;
        Ok(Round::Soon)
    }

    /// Says in an Event what is under way.
    pub(super) fn announce(&self, effect: &Effect) {
        let reason = effect.kind().reason();
        self.ctx
            .events
            .say(&self.journal.rollback, "Change", &reason.into(), false);
    }

    /// Takes an intent back that certainly had no effect: it must not count as if it had had one.
    fn unintended(&mut self, index: usize) {
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.attempts -= 1;
            entry.intent = None;
            entry.scaled = None;
        }
    }

    /// Notes that the API server confirmed a change.
    fn changed(&mut self, index: usize, effect: &Effect) -> Round {
        let confirmed = (self.ctx.clock)();
        self.races = 0;
        let entry = self.journal.page.run.steps.get_mut(index);
        if let Some(intent) = entry.and_then(|entry| entry.intent.as_mut()) {
            intent.confirmed = Some(confirmed);
        }
        let run = &mut self.journal.page.run;
        run.first_mutation.get_or_insert(confirmed);
        self.announce(effect);
        Round::Changed(effect.kind())
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
                if !self.in_doubt && self.journal.page.run.first_mutation.is_none() {
                    self.unintended(index);
                }
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
            Error::Unavailable(said) => {
                self.in_doubt = true;
                (false, Reason::Retrying, said)
            }
            error if self.only_helps(index) => {
                return self.does_without(index, &error, now).await;
            }
            error => {
                let forbidden = matches!(error, Error::Forbidden(_));
                if forbidden
                    && self.journal.page.run.first_mutation.is_none()
                    && let Some(finding) = self.lacks().await
                {
                    if !self.in_doubt {
                        self.unintended(index);
                    }
                    return self.refused((Phase::Declined, finding)).await;
                }
                (true, Reason::Rejected, error.to_string())
            }
        };
        if ends && safe {
            return self.ended(Phase::Failed, reason.because(said)).await;
        }
        // Half-way there is no end but the giving up, which pages: until then the change is asked for again.
        self.note(index, reason.because(said), now).await?;
        Ok(Round::Soon)
    }

    /// Whether what was asked for last was an abort that only turns the traffic sooner.
    fn only_helps(&self, index: usize) -> bool {
        let steps = &self.journal.page.run.steps;
        let intent = steps.get(index).and_then(|entry| entry.intent.as_ref());
        self.plan.owner.is_none() && intent.is_some_and(|it| it.effect == EffectKind::Abort)
    }

    /// Goes on without what was refused for good: the template follows.
    async fn does_without(
        &mut self,
        index: usize,
        error: &Error,
        now: Timestamp,
    ) -> Result<Round, Halt> {
        // It stays counted, so that it is not asked for again.
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.intent = None;
        }
        let finding = Reason::Retrying.because(format!("without an abort: {error}"));
        self.note(index, finding, now).await?;
        Ok(Round::Again)
    }
}
