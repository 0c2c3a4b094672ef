//! How a run makes a change: the intent is on record first, the release is blamed before the first one, and what becomes
//! of it is seen by the next look.

use jiff::Timestamp;

use super::{RACES, Round, Runner};
use crate::cluster::{Error, redis};
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::policy::admission::{lacking, too_late};
use crate::policy::guard::{self, Hold};
use crate::policy::ladder;
use crate::procedure::entry::Scaled;
use crate::procedure::{Intent, Next};
use crate::reason::{Finding, Reason};
use crate::rollback::object::Mode;
use crate::rollback::{Memory, Phase};
use crate::target::Effect;
use crate::target::effect::{EffectKind, Outcome, Verdict};
use crate::telemetry::Span;

/// Why a rollback that touched nothing ends, and in which phase.
pub(super) type Refused = (Phase, Finding);

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
            Ok(()) => self.changed(index, &effect).await,
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
        self.look().await?;
        self.journal.refresh(self.ctx);
        let now = (self.ctx.clock)();
        let kept = match self.no_longer(now).filter(|_| first) {
            Some(refused) => Ok(Some(refused)),
            None if first => self.held_now(now).await,
            None => Ok(None),
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
            if let Some(refused) = self.no_longer(now) {
                return self.refused(refused).await;
            }
            match self.held_now(now).await {
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
                Ok(Round::Changed)
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

    /// Does what is no change of the cluster, in this term; none where it is one. Nothing keeps it from being done twice but
    /// the journal, and what was answered is seen by this replica alone until it is on record.
    async fn outside(&mut self, effect: &Effect) -> Result<Option<Outcome>, Halt> {
        let ctx = self.ctx;
        let done = async {
            match effect {
                Effect::Flush(flush) => Some((Vec::new(), redis::flush(flush).await)),
                Effect::Call(calls) => Some(ctx.prober.call(calls).await),
                Effect::Exec(exec) => {
                    let namespace = &self.target.workload.namespace;
                    Some((Vec::new(), ctx.cluster.exec(namespace, exec).await))
                }
                _ => None,
            }
        };
        if ctx.ended.is_cancelled() {
            return Err(Halt::TermEnded);
        }
        let done = tokio::select! {
            () = ctx.ended.cancelled() => return Err(Halt::TermEnded),
            done = done => done,
        };
        Ok(done.map(|(sightings, outcome)| {
            self.seen.extend(sightings);
            outcome
        }))
    }

    /// Journals what was answered to something that is no change of the cluster.
    async fn answered(
        &mut self,
        index: usize,
        effect: &Effect,
        outcome: Outcome,
    ) -> Result<Round, Halt> {
        let now = (self.ctx.clock)();
        let done = outcome.verdict == Verdict::Done;
        let acted = outcome.acted();
        if let Some(entry) = self.journal.page.run.steps.get_mut(index)
            && let Some(intent) = &mut entry.intent
        {
            intent.confirmed = done.then_some(now);
            intent.outcome = Some(outcome);
            entry.done.extend(intent.of.clone().filter(|_| done));
        }
        if acted {
            self.journal.page.run.first_mutation.get_or_insert(now);
        }
        self.journal.write(self.ctx).await?;
        if done {
            self.announce(effect);
        }
        Ok(Round::Again)
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
    fn announce(&self, effect: &Effect) {
        let reason = effect.kind().reason();
        self.ctx
            .events
            .say(&self.journal.rollback, "Change", &reason.into(), false);
    }

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
    async fn held_now(&self, now: Timestamp) -> Result<Option<Refused>, Error> {
        let (namespace, config_map) = self.ctx.caches.hold_at();
        let hold = self.ctx.cluster.hold(namespace, config_map).await?;
        let memory = self.ctx.cluster.recall(&self.target).await?;
        Ok(self.held(&hold, memory.as_ref(), now))
    }

    /// Ends what has changed nothing.
    pub(super) async fn refused(&mut self, (phase, finding): Refused) -> Result<Round, Halt> {
        self.ended(phase, finding).await
    }

    /// Takes an intent back that certainly had no effect: it must not count as if it had had one.
    fn unintended(&mut self, index: usize) {
        if let Some(entry) = self.journal.page.run.steps.get_mut(index) {
            entry.attempts -= 1;
            entry.intent = None;
            entry.scaled = None;
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

    /// Journals that the API server confirmed a change.
    pub(super) async fn changed(&mut self, index: usize, effect: &Effect) -> Result<Round, Halt> {
        let confirmed = (self.ctx.clock)();
        self.races = 0;
        let entry = self.journal.page.run.steps.get_mut(index);
        if let Some(intent) = entry.and_then(|entry| entry.intent.as_mut()) {
            intent.confirmed = Some(confirmed);
        }
        let run = &mut self.journal.page.run;
        run.first_mutation.get_or_insert(confirmed);
        self.journal.write(self.ctx).await?;
        self.announce(effect);
        Ok(Round::Changed)
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

    /// What is missing, by name, where the API server has refused a first change that was thought to be allowed: a right that was
    /// taken away since it was last asked for. None where nothing is missing, and somebody else's rule keeps it out.
    async fn lacks(&self) -> Option<Finding> {
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
    async fn blame(&mut self) -> Result<Option<Refused>, Halt> {
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
}
