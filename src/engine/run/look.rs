//! How a run looks at its workload, and what becomes of it while it may not.
//!
//! The time in which the API server is silent counts for nothing. A refusal is an answer: it is said which right is missing, the
//! time goes on, and whoever wants the end is heard. Nothing is decided on what was seen before, but whether it may end.

use std::time::Duration;

use jiff::Timestamp;

use super::{Runner, WORDS};
use crate::cluster::Error;
use crate::cluster::workloads::Look;
use crate::engine::journal::Halt;
use crate::procedure::{StepPhase, StepPlan};
use crate::reason::{Finding, Reason};
use crate::rollback::Phase;

/// How long to wait at most before the next look.
const LONG: Duration = Duration::from_secs(2);

/// That the API server refuses to show the workload.
pub(super) struct Blind {
    since: Timestamp,
    /// When it was last asked which right is missing.
    asked: Timestamp,
    why: Finding,
}

// === impl Blind ===

impl Blind {
    /// Since when nobody could look, in words.
    pub(super) fn since(&self) -> String {
        let since = self.since.strftime("%H:%M:%S");
        format!("the workload could not be read since {since} UTC")
    }
}

// === impl Runner ===

impl Runner<'_> {
    /// Looks at the workload until it is seen; false where the run has ended without that.
    ///
    /// # Errors
    /// Why this replica leaves it.
    pub(super) async fn look(&mut self, index: usize, step: &StepPlan) -> Result<bool, Halt> {
        let mut since = (self.ctx.clock)();
        let mut wait = self.ctx.tick;
        while let Err(error) = self.look_once().await {
            let silent = error.passes();
            if silent {
                tracing::warn!(rollback = self.journal.rollback.name(), %error, "the workload cannot be read");
            } else if self.ended_unseen(index, step, &error).await? {
                return Ok(false);
            }
            if !self.ctx.pause(wait).await {
                return Err(Halt::TermEnded);
            }
            wait = (wait * 2).min(LONG);
            let now = (self.ctx.clock)();
            let unseen = now.duration_since(since);
            if silent {
                self.silence += unseen;
            }
            // Not held against the workload either way.
            for entry in &mut self.journal.page.run.steps {
                entry.watched = entry.watched.map(|watched| watched + unseen);
            }
            since = now;
        }
        self.blind = None;
        Ok(true)
    }

    /// Looks at the workload once.
    ///
    /// # Errors
    /// Why it was not seen.
    pub(super) async fn look_once(&mut self) -> Result<(), Error> {
        let (workload, seen) = (&self.target.workload, self.at.rollout.as_ref());
        let clock = &self.ctx.clock;
        let cluster = &self.ctx.cluster;
        let looked = cluster.snapshot_again(workload, seen, Look::Quorum, clock);
        self.at = looked.await?;
        Ok(())
    }

    /// Says that the workload may not be read, and hears whoever wants the end; true where the run has ended.
    async fn ended_unseen(
        &mut self,
        index: usize,
        step: &StepPlan,
        error: &Error,
    ) -> Result<bool, Halt> {
        self.journal.refresh(self.ctx);
        let why = self.why_unseen(error).await;
        let now = (self.ctx.clock)();
        let mut entries = self.journal.page.run.steps.iter();
        let done = entries.any(|entry| entry.phase == StepPhase::Done);
        if !done && self.intends_nothing() {
            let refused = if why.reason == Reason::PermissionMissing {
                Some((Phase::Declined, why.clone()))
            } else {
                self.no_longer(now)
            };
            if let Some(refused) = refused {
                self.refused(refused).await?;
                return Ok(true);
            }
        }
        let entry = self.journal.page.run.steps.get(index);
        if entry.is_some_and(|entry| entry.phase != StepPhase::Done) {
            self.note(index, why, now).await?;
        }
        Ok(self.controls(step, now).await?.is_some())
    }

    /// Which rights are missing, or else what was answered. It is asked now and then, and said to the log when it changes.
    async fn why_unseen(&mut self, error: &Error) -> Finding {
        let now = (self.ctx.clock)();
        let before = self.blind.as_ref();
        if let Some(blind) = before.filter(|it| now.duration_since(it.asked) < WORDS) {
            return blind.why.clone();
        }
        let lacks = match error {
            Error::Forbidden(_) => self.lacks().await,
            _ => None,
        };
        let said = || Reason::Retrying.because(format!("the workload cannot be read: {error}"));
        let why = lacks.unwrap_or_else(said);
        let before = self.blind.as_ref();
        if before.is_none_or(|before| before.why != why) {
            tracing::error!(
                rollback = self.journal.rollback.name(),
                k8s.namespace = self.journal.rollback.namespace(),
                reason = why.reason.code(),
                %error,
                "the workload may not be read, so that the run does not go on until it may: {why}"
            );
        }
        self.blind = Some(Blind {
            since: before.map_or(now, |before| before.since),
            asked: now,
            why: why.clone(),
        });
        why
    }

    /// What is known of the state that the release is in, where nobody can look.
    pub(super) fn last_known(&self) -> Option<String> {
        let blind = self.blind.as_ref()?;
        let since = blind.since();
        if self.resuming.is_some() {
            return Some(format!("not known: {since}"));
        }
        let (taken, state) = (self.at.taken.strftime("%H:%M:%S"), self.at.state());
        Some(format!("not known: {since}; seen at {taken} UTC: {state}"))
    }

    /// Whether nothing was changed, and nothing is on record that could have been.
    pub(super) fn intends_nothing(&self) -> bool {
        let run = &self.journal.page.run;
        let mut steps = run.steps.iter();
        run.first_mutation.is_none() && steps.all(|entry| entry.intent.is_none())
    }
}
