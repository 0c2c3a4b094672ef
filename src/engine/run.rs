//! Runs one rollback, step by step: look, probe, decide, journal the intent, change, journal the result.
//!
//! A run can be cut off at any instant and goes on in another replica: what was intended is on record before it is done,
//! every change carries its precondition, and only what fresh reads show counts.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::journal::{Halt, Journal};
use super::{Context, admission, ending};
use crate::cluster::Error;
use crate::policy::guard::Hold;
use crate::procedure::{Intent, Next, StepPhase, StepPlan};
use crate::reason::{Finding, Reason};
use crate::rollback::Phase;
use crate::rollback::object::Plan;
use crate::target::effect::EffectKind;
use crate::target::{Audience, Effect, Sighting, Snapshot, Target, Workload};

/// How often in a row a change may lose the race with other writers.
const RACES: u32 = 20;
/// How many sightings of one step are kept.
const SIGHTINGS: usize = 4096;
/// A finding whose words change is journalled this often at most.
const WORDS: SignedDuration = SignedDuration::from_secs(5);

/// A rollback that runs.
struct Runner<'a> {
    ctx: &'a Context,
    journal: Journal,
    target: Target,
    plan: Plan,
    at: Snapshot,
    seen: Vec<Sighting>,
    races: u32,
    /// Whether another leader began it.
    resumed: bool,
    /// Whether the memory knows what the restore made.
    made: bool,
    /// For how long the API server did not answer: it does not count towards giving up.
    silence: SignedDuration,
    noted: Option<Timestamp>,
}

/// What a round came to.
enum Round {
    Again,
    Soon,
    Ended,
}

/// Runs a rollback to its end, or as far as this replica may.
///
/// # Errors
/// Why this replica leaves it without an end.
pub async fn run(ctx: &Context, namespace: &str, name: &str) -> Result<(), Halt> {
    let Some(mut journal) = Journal::open(ctx, namespace, name).await? else {
        return Ok(());
    };
    let resumed = journal.page.phase == Phase::Running;
    let (target, at) = if resumed {
        journal.write(ctx).await?;
        tracing::info!(
            rollback = name,
            k8s.namespace = namespace,
            epoch = journal.page.run.epoch,
            "rollback resumed"
        );
        let Some(plan) = journal.page.plan.clone() else {
            return Ok(());
        };
        resume(ctx, &journal, &plan).await?
    } else {
        let Some(admitted) = admission::admit(ctx, &mut journal).await? else {
            return Ok(());
        };
        admitted
    };
    let Some(plan) = journal.page.plan.clone() else {
        return Ok(());
    };
    tracing::info!(rollback = name, k8s.namespace = namespace, from = %plan.from, to = %plan.to, "rollback runs {}", plan.procedure);
    let mut runner = Runner {
        ctx,
        journal,
        target,
        plan,
        at,
        seen: Vec::new(),
        races: 0,
        resumed,
        made: false,
        silence: SignedDuration::ZERO,
        noted: None,
    };
    runner.steps().await
}

/// The target and a fresh snapshot of a rollback that another leader began. What it acts on is what its plan froze: a target
/// that was renamed, moved or removed since is still carried to its end.
async fn resume(ctx: &Context, journal: &Journal, plan: &Plan) -> Result<(Target, Snapshot), Halt> {
    let policy = ctx.policy.load_full();
    let frozen = frozen(journal, plan);
    let known = policy.targets.get(&frozen.name).cloned();
    let target = known
        .filter(|known| known.workload == frozen.workload)
        .unwrap_or(frozen);
    loop {
        match ctx.cluster.snapshot(&target.workload, &ctx.clock).await {
            Ok(at) => return Ok((target, at)),
            Err(error) => {
                tracing::warn!(rollback = journal.rollback.name(), %error, "the workload cannot be read");
            }
        }
        if !ctx.pause(ctx.tick).await {
            return Err(Halt::TermEnded);
        }
    }
}

/// The target as far as a run needs it, from the plan alone. It starts nothing any more: a first change is too late.
fn frozen(journal: &Journal, plan: &Plan) -> Target {
    Target {
        name: journal.rollback.spec.target.clone(),
        workload: Workload {
            namespace: journal.rollback.namespace().to_owned(),
            name: plan.workload.clone(),
        },
        health: None,
        known_good: None,
        change_window: Duration::ZERO,
        min_soak: Duration::MAX,
        settle: Duration::ZERO,
        start_within: Duration::ZERO,
        give_up: Duration::try_from_secs_f64(plan.give_up_seconds).unwrap_or(Duration::MAX),
        audience: Audience::default(),
        links: Vec::new(),
    }
}

impl Runner<'_> {
    async fn steps(&mut self) -> Result<(), Halt> {
        if !self.pinned().await? {
            return Ok(());
        }
        let plans = self.plan.steps.clone();
        for (index, step) in plans.iter().enumerate() {
            let Some(entry) = self.journal.page.run.steps.get_mut(index) else {
                break;
            };
            if entry.phase == StepPhase::Done {
                continue;
            }
            entry.phase = StepPhase::Running;
            entry.started.get_or_insert((self.ctx.clock)());
            self.seen.clear();
            self.races = 0;
            let mut changes = self.ctx.caches.changes();
            loop {
                if self.ctx.ended.is_cancelled() {
                    return Err(Halt::TermEnded);
                }
                match self.round(index, step).await? {
                    Round::Ended => return Ok(()),
                    Round::Again => {}
                    Round::Soon => {
                        if self
                            .journal
                            .page
                            .run
                            .steps
                            .get(index)
                            .is_some_and(|entry| entry.phase == StepPhase::Done)
                        {
                            break;
                        }
                        tokio::select! {
                            () = self.ctx.ended.cancelled() => return Err(Halt::TermEnded),
                            () = tokio::time::sleep(self.ctx.tick) => {}
                            _ = changes.changed() => {
                                // One change comes as several events: let them arrive.
                                tokio::time::sleep(Duration::from_millis(5)).await;
                                changes.mark_unchanged();
                            }
                        }
                    }
                }
                self.look().await?;
            }
        }
        self.end(Phase::Succeeded, Reason::Done.into()).await
    }

    /// Pins the object, so that nobody can delete it while the release is half-way. Without that nothing begins.
    async fn pinned(&mut self) -> Result<bool, Halt> {
        while let Err(error) = self.ctx.cluster.pin(&self.journal.rollback, true).await {
            tracing::warn!(rollback = self.journal.rollback.name(), %error, "the finalizer cannot be set");
            let late = admission::late(&self.journal.rollback, &self.target, (self.ctx.clock)());
            if let Some(late) = late.filter(|_| !self.touched()) {
                let target = Some(&self.target);
                ending::decline(self.ctx, &mut self.journal, target, late, false).await?;
                return Ok(false);
            }
            if self.touched() {
                break;
            }
            if !self.ctx.pause(self.ctx.tick).await {
                return Err(Halt::TermEnded);
            }
        }
        Ok(true)
    }

    /// One look at what is, and what follows from it.
    async fn round(&mut self, index: usize, step: &StepPlan) -> Result<Round, Halt> {
        self.journal.refresh(self.ctx);
        let now = (self.ctx.clock)();
        self.watch_effect();
        self.watch_traffic();
        self.claim_made(now).await?;
        if let Some(round) = self.controls(step, now).await? {
            return Ok(round);
        }
        let probes = step.probes(&self.at, &self.seen, now);
        if !probes.is_empty() {
            let sightings = self.ctx.prober.look(&probes).await;
            self.seen.extend(sightings);
            if self.seen.len() > SIGHTINGS {
                self.seen.drain(..SIGHTINGS / 2);
            }
        }
        let now = (self.ctx.clock)();
        let Some(entry) = self.journal.page.run.steps.get(index) else {
            return Ok(Round::Ended);
        };
        match step.next(&self.at, &self.seen, entry, now) {
            Next::Do(effect) => self.change(index, effect).await,
            Next::Wait(finding) => {
                self.note(index, finding, now).await?;
                Ok(Round::Soon)
            }
            Next::Done(finding) => {
                self.done(index, finding, now).await?;
                Ok(Round::Soon)
            }
            Next::Fail(finding) => self.ended(Phase::Failed, finding).await,
            Next::Yield(_) if self.bad_again() => {
                let finding = Reason::Overwritten.because(format!(
                    "{} was restored, and {} is live again: its owner (GitOps?) put it back",
                    self.plan.to, self.plan.from
                ));
                self.ended(Phase::Failed, finding).await
            }
            Next::Yield(finding) => self.ended(Phase::Superseded, finding).await,
        }
    }

    /// Whether the release that was left is live again after the restore: that is no new release, and it is not fought.
    fn bad_again(&self) -> bool {
        let live = self.at.live();
        self.touched() && live.is_some_and(|live| live.hash == self.plan.from.hash)
    }

    /// A person's wish to stop, the budget and the time to give up.
    async fn controls(&mut self, step: &StepPlan, now: Timestamp) -> Result<Option<Round>, Halt> {
        let safe = step.safe_point(&self.at);
        if let Some(stopped) = ending::asked_to_stop(&self.journal.rollback) {
            if safe {
                return self.ended(Phase::Cancelled, stopped).await.map(Some);
            }
            // Half-way, and given up: a person who still wants the end gets it, and a latch with it.
            if self.journal.page.run.gave_up.is_some() {
                return self.ended(Phase::Failed, stopped).await.map(Some);
            }
        }
        let run = &self.journal.page.run;
        let started = run.started.unwrap_or(now);
        let limit = SignedDuration::try_from(self.target.give_up).unwrap_or(SignedDuration::MAX);
        if now.duration_since(started) - self.silence > limit {
            let last = run
                .steps
                .iter()
                .rev()
                .find_map(|entry| entry.observed.clone());
            let said = last.map_or_else(String::new, |last| format!("; last observed: {last}"));
            let finding =
                Reason::GaveUp.because(format!("not done after {:?}{said}", self.target.give_up));
            if safe {
                return self.ended(Phase::Failed, finding).await.map(Some);
            }
            if run.gave_up.is_none() {
                let name = self.journal.rollback.name().to_owned();
                ending::remember(self.ctx, &self.target, |memory| {
                    memory.latch(&name, finding.clone(), now)
                })
                .await?;
                self.journal.page.run.gave_up = Some(now);
                self.journal.write(self.ctx).await?;
            }
        }
        let budget = SignedDuration::try_from_secs_f64(self.plan.budget_seconds)
            .unwrap_or(SignedDuration::MAX);
        let received = self.journal.rollback.received().unwrap_or(started);
        if self.journal.page.run.over_budget.is_none() && now.duration_since(received) > budget {
            self.journal.page.run.over_budget = Some(now);
            self.journal.write(self.ctx).await?;
        }
        Ok(None)
    }

    /// Makes a change: the intent is on record first, the release is blamed before the first one.
    async fn change(&mut self, index: usize, effect: Effect) -> Result<Round, Halt> {
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
    async fn no_longer(&self, now: Timestamp) -> Option<Finding> {
        if let Some(late) = admission::late(&self.journal.rollback, &self.target, now) {
            return Some(late);
        }
        if self.journal.rollback.all_ended() {
            return Some(Reason::ResolvedBeforeStart.into());
        }
        if !self.resumed {
            return None;
        }
        let (namespace, name) = self.ctx.caches.hold_at();
        match self.ctx.cluster.hold(namespace, name).await {
            Hold::Free => {}
            Hold::Held(said) => return Some(Reason::Held.because(format!("held: {said}"))),
            Hold::Unreadable(said) => return Some(Reason::HoldUnreadable.because(said)),
        }
        let memory = self.ctx.cluster.memory(&self.target).await.ok()?;
        if let Some(hold) = memory.hold(now) {
            let said = format!("held by {}: {}", hold.owner, hold.reason);
            return Some(Reason::TargetHeld.because(said));
        }
        memory
            .latch()
            .map(|latch| Reason::Latched.because(latch.finding.to_string()))
    }

    /// Journals that the API server confirmed a change.
    async fn changed(&mut self, index: usize, effect: &Effect) -> Result<Round, Halt> {
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
    async fn not_changed(
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
    async fn blame(&mut self) -> Result<Option<Finding>, Halt> {
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
                    return Ok(admission::late(
                        &self.journal.rollback,
                        &self.target,
                        (self.ctx.clock)(),
                    ));
                }
                Err(error) => {
                    tracing::warn!(ripcord.target = self.target.name, %error, "the release cannot be blamed");
                }
            }
            if let Some(late) = admission::late(&self.journal.rollback, &self.target, now) {
                return Ok(Some(late));
            }
            if !self.ctx.pause(self.ctx.tick).await {
                return Err(Halt::TermEnded);
            }
        }
    }

    /// Journals what a step waits for: when the reason changes, and its words now and then.
    async fn note(&mut self, index: usize, finding: Finding, now: Timestamp) -> Result<(), Halt> {
        let Some(entry) = self.journal.page.run.steps.get_mut(index) else {
            return Ok(());
        };
        let before = entry.observed.as_ref();
        let same_reason = before.is_some_and(|before| before.reason == finding.reason);
        let same = before == Some(&finding);
        let recent = self
            .noted
            .is_some_and(|noted| now.duration_since(noted) < WORDS);
        entry.observed = Some(finding);
        if same || (same_reason && recent) {
            return Ok(());
        }
        self.noted = Some(now);
        self.journal.write(self.ctx).await
    }

    async fn done(&mut self, index: usize, finding: Finding, now: Timestamp) -> Result<(), Halt> {
        let run = &mut self.journal.page.run;
        if let Some(entry) = run.steps.get_mut(index) {
            entry.phase = StepPhase::Done;
            entry.finished = Some(now);
            entry.observed = Some(finding.clone());
        }
        let done = run
            .steps
            .iter()
            .filter(|entry| entry.phase == StepPhase::Done)
            .count();
        let all = run.steps.len();
        run.progress = Some(format!("{done}/{all}"));
        if let Some(next) = run.steps.get_mut(index + 1) {
            next.phase = StepPhase::Running;
            next.started = Some(now);
        }
        self.ctx
            .events
            .say(&self.journal.rollback, "Step", &finding, false);
        // The last step's end and the rollback's own are one write.
        if done < all {
            self.journal.write(self.ctx).await
        } else {
            Ok(())
        }
    }

    /// A restore whose answer nobody got: the workload bears this rollback's mark all the same.
    fn watch_effect(&mut self) {
        let rollout = self.at.rollout.as_ref();
        let mark = rollout.and_then(|rollout| rollout.operation.as_ref());
        let run = &mut self.journal.page.run;
        if run.first_mutation.is_none()
            && mark.is_some()
            && mark == self.journal.rollback.metadata.uid.as_ref()
        {
            let intents = run.steps.iter().filter_map(|entry| entry.intent.as_ref());
            run.first_mutation = intents.map(|intent| intent.at).min();
        }
    }

    /// Remembers the release that the restore made as soon as it is seen live: it is nobody's to pull back.
    async fn claim_made(&mut self, now: Timestamp) -> Result<(), Halt> {
        let mark = self.at.rollout.as_ref().and_then(|it| it.operation.clone());
        if self.made || mark.is_none() || mark != self.journal.rollback.metadata.uid {
            return Ok(());
        }
        let live = self.at.live();
        if let Some(live) = live.filter(|live| live.hash == self.plan.to.hash) {
            let name = self.journal.rollback.name().to_owned();
            let since = self.journal.page.run.first_mutation.unwrap_or(now);
            ending::remember(self.ctx, &self.target, |memory| {
                memory.remember_made(&live, &name, since)
            })
            .await?;
            self.made = true;
        }
        Ok(())
    }

    /// When all traffic is first seen on the destination after a change.
    fn watch_traffic(&mut self) {
        let back =
            self.touched()
                && self.at.rollout.as_ref().is_some_and(|rollout| {
                    rollout.observed && rollout.current == self.plan.to.hash
                });
        if back
            && self.journal.page.run.traffic_back.is_none()
            && self
                .at
                .traffic_on(&self.plan.to.hash, self.plan.served)
                .is_ok()
        {
            self.journal.page.run.traffic_back = Some(self.at.taken);
        }
    }

    /// Whether anything was changed, or may have been. A restore leaves its mark: without it the intent alone is none.
    fn touched(&self) -> bool {
        let run = &self.journal.page.run;
        let mut intents = run.steps.iter().filter_map(|entry| entry.intent.as_ref());
        run.first_mutation.is_some()
            || intents.any(|intent| intent.effect != EffectKind::RestoreTemplate)
    }

    /// Looks at the workload until the API server answers.
    async fn look(&mut self) -> Result<(), Halt> {
        let mut since = (self.ctx.clock)();
        let mut wait = self.ctx.tick;
        loop {
            match self
                .ctx
                .cluster
                .snapshot(&self.target.workload, &self.ctx.clock)
                .await
            {
                Ok(at) => {
                    self.at = at;
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(rollback = self.journal.rollback.name(), %error, "the workload cannot be read");
                }
            }
            if !self.ctx.pause(wait).await {
                return Err(Halt::TermEnded);
            }
            wait = (wait * 2).min(Duration::from_secs(2));
            let now = (self.ctx.clock)();
            self.silence += now.duration_since(since);
            since = now;
        }
    }

    async fn ended(&mut self, phase: Phase, finding: Finding) -> Result<Round, Halt> {
        self.end(phase, finding).await.map(|()| Round::Ended)
    }

    async fn end(&mut self, phase: Phase, finding: Finding) -> Result<(), Halt> {
        ending::end(
            self.ctx,
            &mut self.journal,
            Some(&self.target),
            Some(&self.at),
            phase,
            finding,
        )
        .await
    }
}
