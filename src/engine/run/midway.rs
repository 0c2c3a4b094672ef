//! What becomes of a run that should end and cannot yet, or has to make room.

use jiff::Timestamp;

use super::Runner;
use super::look::Blind;
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::procedure::StepPlan;
use crate::procedure::entry::Scaled;
use crate::reason::{Finding, Reason};

impl Runner<'_> {
    /// Gives up where there is no safe point: a person is called and the target latched, while the promotion is still asked for.
    /// A drill latches nothing.
    pub(super) async fn give_up(&mut self, finding: Finding, now: Timestamp) -> Result<(), Halt> {
        self.journal.fence(self.ctx).await?;
        if !self.journal.rollback.spec.drill {
            let name = self.journal.rollback.name().to_owned();
            ending::remember(self.ctx, &self.target, |memory| {
                memory.latch(&name, finding.clone(), now)
            })
            .await?;
        }
        self.journal.page.run.gave_up = Some(now);
        self.journal.write(self.ctx).await
    }

    /// Whether the run may be ended here. While nobody can look, what was asked for since the last look may have had its effect.
    pub(super) fn may_end(&self, step: &StepPlan) -> bool {
        let steps = self.journal.page.run.steps.iter();
        let mut since = steps
            .filter_map(|entry| entry.intent.as_ref())
            .filter(|intent| intent.at >= self.at.taken);
        if self.blind.is_some() && since.any(|intent| intent.effect.is_of_template()) {
            step.safe_unseen()
        } else {
            step.safe_point(&self.at)
        }
    }

    /// What an end says besides: that the release is aborted and no template followed, that another Deployment was asked for
    /// pods and no switch followed, and since when nobody could look.
    pub(super) fn left(&self, finding: Finding) -> Finding {
        let blind = self.blind.as_ref().map(Blind::since);
        let left = self.seen_left().into_iter().chain(blind);
        left.fold(finding, |finding, left| {
            let said = match finding.said.as_str() {
                "" => left,
                before => format!("{before}; {left}"),
            };
            finding.reason.because(said)
        })
    }

    /// What is left half-done, by what was seen last.
    fn seen_left(&self) -> Vec<String> {
        let rollout = self.at.rollout.as_ref();
        let Some(rollout) = rollout.filter(|it| it.observed && it.current == self.plan.from.hash)
        else {
            return Vec::new();
        };
        // What was seen before may be over.
        let aborted = (rollout.aborted && self.blind.is_none()).then(|| {
            let from = &self.plan.from;
            format!("{from} is aborted, and its template is still in the spec")
        });
        let scalings = self.journal.page.run.steps.iter();
        let scaled = scalings
            .filter_map(|entry| entry.scaled.as_ref())
            .map(|it| {
                let Scaled {
                    deployment,
                    from,
                    to,
                } = it;
                format!("Deployment {deployment} was asked for {to} pods instead of {from}")
            });
        aborted.into_iter().chain(scaled).collect()
    }

    /// Why a drill whose release is gone already gives way to what is no drill, if it does. Before that it goes on: nobody else
    /// would take its release away.
    pub(super) fn gives_way(&self) -> Option<Finding> {
        let rollback = &self.journal.rollback;
        // Nobody knows whether it is gone.
        if self.blind.is_some() {
            return None;
        }
        if !rollback.spec.drill || self.journal.page.run.first_mutation.is_none() {
            return None;
        }
        // An abort takes the traffic away, and leaves the release in the spec.
        let rollout = self.at.rollout.as_ref();
        if rollout.is_some_and(|it| !it.observed || it.current == self.plan.from.hash) {
            return None;
        }
        let waiting = self.ctx.caches.rollbacks_of(&self.target);
        let first = waiting.iter().find(|it| it.goes_first())?;
        Some(Reason::RealAlert.because(format!("{} is asked for, and goes first", first.name())))
    }
}
