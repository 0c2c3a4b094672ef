//! Runs one rollback, step by step: look, probe, decide, journal the intent, change, journal the result.
//!
//! A run can be cut off at any instant and goes on in another replica: what was intended is on record before it is done,
//! every change carries its precondition, and only what fresh reads show counts.

mod change;
mod keep;
mod look;
mod midway;
mod outside;
mod resume;
mod sight;
mod stir;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use self::look::Blind;
use super::journal::{Halt, Journal};
use super::{Context, admission, ending};
use crate::policy::admission::too_late;
use crate::procedure::{Next, StepPhase, StepPlan};
use crate::reason::{Finding, Reason};
use crate::rollback::object::Plan;
use crate::rollback::{FINALIZER, Phase};
use crate::target::effect::EffectKind;
use crate::target::{Effect, Sighting, Snapshot, Target};
use crate::telemetry::Span;

/// How often in a row a change may lose the race with other writers.
const RACES: u32 = 20;
/// How long after a change nothing is looked at: it would only keep the API server from the controller, whose turn it is.
const BREATH: Duration = Duration::from_millis(50);
/// The same after an abort, with which the controller has more to do before anything can be seen of it.
const LONG_BREATH: Duration = Duration::from_millis(200);
/// How long the events that one change comes as have to arrive before the next look. Four times as long after each look that
/// found nothing to do, up to [`LULL`], for the same reason.
const ARRIVAL: Duration = Duration::from_millis(5);
/// The longest time between an event and the next look.
const LULL: Duration = Duration::from_millis(200);
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
    /// Whether a change was asked for of which nobody knows whether it had an effect.
    in_doubt: bool,
    /// The hash of what was made last, once the memory knows it.
    made: Option<String>,
    /// For how long the API server did not answer: it does not count towards giving up.
    silence: SignedDuration,
    /// That the API server refuses to show the workload, if it does: what is known of it is from before.
    blind: Option<Blind>,
    /// Of a run that another leader began, until its first look: when it was taken over.
    resuming: Option<Timestamp>,
    noted: Option<Timestamp>,
}

/// What a round came to.
enum Round {
    Again,
    /// A change was made, and what comes of it is the controller's.
    Changed(EffectKind),
    Soon,
    Ended,
}

/// Runs a rollback to its end, or as far as this replica may.
///
/// # Errors
/// Why this replica leaves it without an end.
pub async fn run(ctx: &Context, namespace: &str, name: &str) -> Result<(), Halt> {
    loop {
        match attempt(ctx, namespace, name).await {
            // Before anything was on record, let alone done.
            Err(Halt::Joined) => {}
            over => return over,
        }
    }
}

async fn attempt(ctx: &Context, namespace: &str, name: &str) -> Result<(), Halt> {
    let opened = (ctx.clock)();
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
        (resume::target(ctx, &journal, &plan), resume::unseen())
    } else {
        let admitted = admission::admit(ctx, &mut journal).await?;
        let end = (ctx.clock)();
        ctx.spans
            .record(|| Span::admit(&journal.rollback, opened, end));
        let Some(admitted) = admitted else {
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
        in_doubt: resumed,
        made: None,
        silence: SignedDuration::ZERO,
        blind: None,
        resuming: resumed.then_some(opened),
        noted: None,
    };
    runner.steps().await
}

impl Runner<'_> {
    async fn steps(&mut self) -> Result<(), Halt> {
        if !self.pinned().await? || !self.resumed().await? {
            return Ok(());
        }
        let plans = self.plan.steps.clone();
        let mut changes = self.ctx.caches.changes();
        // Something may have come since the first look.
        let mut seen = None;
        let mut arrival = ARRIVAL;
        for (index, step) in plans.iter().enumerate() {
            let before = index.checked_sub(1);
            // Writing down the end of the step before can take long, and what was seen then proves nothing for this one.
            if before.is_some_and(|it| self.is_done(it))
                && self.is_stale()
                && !self.look(index, step).await?
            {
                return Ok(());
            }
            let Some(entry) = self.journal.page.run.steps.get_mut(index) else {
                break;
            };
            if entry.phase == StepPhase::Done {
                continue;
            }
            entry.phase = StepPhase::Running;
            let now = (self.ctx.clock)();
            entry.started.get_or_insert(now);
            entry.watched = Some(now);
            self.seen.clear();
            self.races = 0;
            loop {
                if self.ctx.ended.is_cancelled() {
                    return Err(Halt::TermEnded);
                }
                let round = self.round(index, step).await?;
                // Nothing had to be intended: the plan goes on record before it is waited for anything.
                if self.journal.is_draft() && !matches!(round, Round::Ended) {
                    self.journal.write(self.ctx).await?;
                }
                match round {
                    Round::Ended => return Ok(()),
                    Round::Again => {}
                    Round::Changed(kind) => {
                        arrival = ARRIVAL;
                        self.breathe(kind).await?;
                    }
                    Round::Soon => {
                        if self.is_done(index) {
                            break;
                        }
                        tokio::select! {
                            () = self.ctx.ended.cancelled() => return Err(Halt::TermEnded),
                            () = tokio::time::sleep(self.ctx.tick) => {}
                            () = self.stirred(seen.as_ref(), &mut changes, arrival) => {}
                        }
                        arrival = (arrival * 4).min(LULL);
                    }
                }
                seen = Some(self.stir());
                if !self.look(index, step).await? {
                    return Ok(());
                }
            }
        }
        self.end(Phase::Succeeded, Reason::Done.into()).await
    }

    /// Leaves the controller to itself after a change. That the change was confirmed goes on record only then: the intent is.
    async fn breathe(&mut self, kind: EffectKind) -> Result<(), Halt> {
        let breath = match kind {
            EffectKind::Abort => LONG_BREATH,
            _ => BREATH,
        };
        if !self.ctx.pause(breath).await {
            return Err(Halt::TermEnded);
        }
        if kind == EffectKind::Nudge {
            return Ok(());
        }
        self.journal.write(self.ctx).await
    }

    fn is_done(&self, index: usize) -> bool {
        let entry = self.journal.page.run.steps.get(index);
        entry.is_some_and(|entry| entry.phase == StepPhase::Done)
    }

    /// Whether the last look is longer ago than any that follows an event.
    fn is_stale(&self) -> bool {
        let since = (self.ctx.clock)().duration_since(self.at.taken);
        since.unsigned_abs() > LULL
    }

    /// Pins the object if intake has not, so that nobody can delete it while the release is half-way. Without that nothing
    /// begins.
    async fn pinned(&mut self) -> Result<bool, Halt> {
        let finalizers = self.journal.rollback.finalizers();
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(true);
        }
        while let Err(error) = self.ctx.cluster.pin(&self.journal.rollback, true).await {
            tracing::warn!(rollback = self.journal.rollback.name(), %error, "the finalizer cannot be set");
            let late = too_late(&self.journal.rollback, &self.target, (self.ctx.clock)());
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
            // Looking takes a while, in which another replica may begin to lead.
            let sightings = tokio::select! {
                () = self.ctx.ended.cancelled() => return Err(Halt::TermEnded),
                sightings = self.ctx.prober.look(&probes) => sightings,
            };
            self.seen.extend(sightings);
            sight::latest(&mut self.seen, step.looks_back());
        }
        let now = (self.ctx.clock)();
        let Some(entry) = self.journal.page.run.steps.get(index) else {
            return Ok(Round::Ended);
        };
        match step.next(&self.at, &self.seen, entry, now) {
            Next::Do(Effect::Nudge) => self.nudge(index).await,
            Next::Do(effect) => self.change(index, effect).await,
            // Nothing was done yet, and the wait for the controller, or for a person, has taken too long.
            Next::Wait(finding)
                if matches!(finding.reason, Reason::ControllerLag | Reason::Paused)
                    && !self.touched() =>
            {
                if let Some(refused) = self.no_longer(now) {
                    return self.refused(refused).await;
                }
                self.note(index, finding, now).await?;
                Ok(Round::Soon)
            }
            Next::Wait(finding) => {
                self.note(index, finding, now).await?;
                Ok(Round::Soon)
            }
            Next::Done(finding) => {
                self.done(index, finding, now).await?;
                Ok(Round::Soon)
            }
            // It was promoted before the first change: nothing was done, and it is its owner's.
            Next::Fail(finding)
                if finding.reason == Reason::OwnedElsewhere
                    && self.journal.page.run.first_mutation.is_none() =>
            {
                self.refused((Phase::Declined, finding)).await
            }
            Next::Fail(finding) => self.ended(Phase::Failed, finding).await,
            Next::Yield(finding) => match self.bad_again() {
                Some(again) => self.ended(Phase::Failed, again).await,
                None => self.ended(Phase::Superseded, finding).await,
            },
        }
    }

    /// A person's wish to stop, the budget and the time to give up.
    async fn controls(&mut self, step: &StepPlan, now: Timestamp) -> Result<Option<Round>, Halt> {
        let safe = self.may_end(step);
        if let Some(stopped) = ending::asked_to_stop(&self.journal.rollback) {
            if safe {
                return self.ended(Phase::Cancelled, stopped).await.map(Some);
            }
            // Half-way, and given up: a person who still wants the end gets it, and a latch with it.
            if self.journal.page.run.gave_up.is_some() {
                return self.ended(Phase::Failed, stopped).await.map(Some);
            }
        }
        if safe && let Some(first) = self.gives_way() {
            return self.ended(Phase::Superseded, first).await.map(Some);
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
                self.give_up(finding, now).await?;
            }
        }
        let budget = SignedDuration::try_from_secs_f64(self.plan.budget_seconds)
            .unwrap_or(SignedDuration::MAX);
        let received = self.journal.rollback.counts_from().unwrap_or(started);
        if self.journal.page.run.over_budget.is_none() && now.duration_since(received) > budget {
            self.journal.page.run.over_budget = Some(now);
            self.journal.write(self.ctx).await?;
        }
        Ok(None)
    }

    async fn ended(&mut self, phase: Phase, finding: Finding) -> Result<Round, Halt> {
        if self.intends_nothing() {
            self.withdraw_blame().await?;
        }
        let finding = self.left(finding);
        self.end(phase, finding).await.map(|()| Round::Ended)
    }

    async fn end(&mut self, phase: Phase, finding: Finding) -> Result<(), Halt> {
        self.journal.page.run.state = self.last_known();
        let (journal, target) = (&mut self.journal, Some(&self.target));
        let at = self.blind.is_none().then_some(&self.at);
        ending::end(self.ctx, journal, target, at, phase, finding).await
    }
}
