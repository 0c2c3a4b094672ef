//! What a run has seen and done so far, put on its page and into the memory.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Runner, WORDS};
use crate::engine::ending;
use crate::engine::journal::Halt;
use crate::procedure::StepPhase;
use crate::reason::{Finding, Reason};
use crate::target::Sighting;
use crate::target::effect::EffectKind;
use crate::target::workload::Strategy;
use crate::telemetry::Span;

/// Keeps so many of the latest sightings of each thing.
pub(super) fn latest(seen: &mut Vec<Sighting>, keep: usize) {
    let mut kept: HashMap<String, usize> = HashMap::new();
    let mut wanted: Vec<_> = seen
        .iter()
        .rev()
        .map(|sighting| {
            let kept = kept.entry(sighting.of.clone()).or_default();
            *kept += 1;
            *kept <= keep
        })
        .collect();
    seen.retain(|_| wanted.pop().unwrap_or(false));
}

impl Runner<'_> {
    /// Journals what a step waits for: when the reason changes, and its words now and then. What counts is what is on
    /// record: words that came too soon after others are written later, also when they have not changed since.
    pub(super) async fn note(
        &mut self,
        index: usize,
        finding: Finding,
        now: Timestamp,
    ) -> Result<(), Halt> {
        let recorded = self.journal.rollback.status.as_ref();
        let recorded = recorded
            .and_then(|status| status.run.steps.get(index))
            .and_then(|entry| entry.observed.as_ref());
        let same_reason = recorded.is_some_and(|before| before.reason == finding.reason);
        let same = recorded == Some(&finding);
        let recent = self
            .noted
            .is_some_and(|noted| now.duration_since(noted) < WORDS);
        let Some(entry) = self.journal.page.run.steps.get_mut(index) else {
            return Ok(());
        };
        entry.observed = Some(finding);
        if same || (same_reason && recent) {
            return Ok(());
        }
        self.noted = Some(now);
        self.journal.write(self.ctx).await
    }

    pub(super) async fn done(
        &mut self,
        index: usize,
        finding: Finding,
        now: Timestamp,
    ) -> Result<(), Halt> {
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
            self.journal.write(self.ctx).await?;
            let entry = self.journal.page.run.steps.get(index);
            let told = || Span::step(&self.journal.rollback, index, entry?);
            self.ctx.spans.record_any(told);
        }
        Ok(())
    }

    /// A change whose answer nobody got: the workload bears this rollback's mark all the same, or is aborted, or a Deployment
    /// behind it asks for the pods that it was to ask for.
    pub(super) fn watch_effect(&mut self) {
        let rollout = self.at.rollout.as_ref();
        let mark = rollout.and_then(|rollout| rollout.operation.as_ref());
        let marked = mark.is_some() && mark == self.journal.rollback.metadata.uid.as_ref();
        let aborted = self.aborts() && rollout.is_some_and(|rollout| rollout.aborted);
        let run = &mut self.journal.page.run;
        // Whoever began it was gone before an answer came.
        let outside = run.steps.iter().any(|entry| {
            let unanswered = entry.intent.as_ref().filter(|it| it.outcome.is_none());
            unanswered.is_some_and(|it| it.effect.is_outside())
        });
        let mut scalings = run.steps.iter().filter_map(|entry| entry.scaled.as_ref());
        let scaled = scalings.any(|it| match rollout.map(|rollout| &rollout.strategy) {
            Some(Strategy::Colours(colours)) => {
                let mut all = colours.all.iter();
                all.any(|colour| colour.name == it.deployment && colour.replicas == it.to)
            }
            _ => false,
        });
        if run.first_mutation.is_none() && (marked || aborted || scaled || outside) {
            let intents = run.steps.iter().filter_map(|entry| entry.intent.as_ref());
            run.first_mutation = intents.map(|intent| intent.at).min();
        }
    }

    /// Remembers the release that the restore made as soon as it is seen live, and what a restart made of it: they are nobody's
    /// to pull back.
    pub(super) async fn claim_made(&mut self, now: Timestamp) -> Result<(), Halt> {
        // What a drill puts back was there before.
        if self.journal.rollback.spec.drill {
            return Ok(());
        }
        let mark = self.at.rollout.as_ref().and_then(|it| it.operation.clone());
        if mark.is_none() || mark != self.journal.rollback.metadata.uid {
            return Ok(());
        }
        let live = self.at.live().filter(|live| {
            let operation = mark.as_deref().unwrap_or_default();
            self.at.arrived(&self.plan.to, operation) == Some(live.hash.as_str())
        });
        if let Some(live) = live.filter(|live| self.made.as_ref() != Some(&live.hash)) {
            let name = self.journal.rollback.name().to_owned();
            let since = self.journal.page.run.first_mutation.unwrap_or(now);
            ending::remember(self.ctx, &self.target, |memory| {
                memory.remember_made(&live, &name, since)
            })
            .await?;
            self.made = Some(live.hash);
        }
        Ok(())
    }

    /// When all traffic is first seen on the destination after a change.
    pub(super) fn watch_traffic(&mut self) {
        let uid = self.journal.rollback.metadata.uid.as_deref();
        let observed = self.at.rollout.as_ref().is_some_and(|it| it.observed);
        let arrived = self
            .at
            .arrived(&self.plan.to, uid.unwrap_or_default())
            .filter(|_| observed && self.touched());
        if let Some(hash) = arrived
            && self.journal.page.run.traffic_back.is_none()
            && self.at.traffic_on(hash, self.plan.served).is_ok()
        {
            self.journal.page.run.traffic_back = Some(self.at.taken);
        }
    }

    /// Whether anything was changed, or may have been. A restore and a switch leave their mark: without it the intent alone is
    /// none. A scaling is seen.
    pub(super) fn touched(&self) -> bool {
        let run = &self.journal.page.run;
        let mut intents = run.steps.iter().filter_map(|entry| entry.intent.as_ref());
        run.first_mutation.is_some()
            || intents.any(|intent| {
                !matches!(
                    intent.effect,
                    EffectKind::RestoreTemplate
                        | EffectKind::SetImage
                        | EffectKind::SwitchService
                        | EffectKind::Scale
                )
            })
    }

    /// Whether an abort was intended.
    fn aborts(&self) -> bool {
        let steps = self.journal.page.run.steps.iter();
        let mut intents = steps.filter_map(|entry| entry.intent.as_ref());
        intents.any(|intent| intent.effect == EffectKind::Abort)
    }

    /// That the release that was left is live again, if it is: that is no new release, and it is not fought.
    pub(super) fn bad_again(&self) -> Option<Finding> {
        let live = self.at.live();
        let again = self.touched() && live.is_some_and(|live| live.hash == self.plan.from.hash);
        let (from, to) = (&self.plan.from, &self.plan.to);
        let said = if self.aborts() {
            format!("{from} was aborted, and somebody took the abort back")
        } else {
            format!("{to} was restored, and {from} is live again: its owner (GitOps?) put it back")
        };
        again.then(|| Reason::Overwritten.because(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rows_of_many_things_are_kept_and_nothing_else() {
        let sighting = |nth: i64| Sighting {
            of: format!("pod-{}", nth % 50),
            at: Timestamp::from_second(nth).unwrap(),
            good: true,
            said: String::new(),
            value: None,
        };
        let mut seen: Vec<_> = (0..10_000).map(sighting).collect();
        latest(&mut seen, 100);
        assert_eq!(seen.len(), 50 * 100);
        assert_eq!(seen, (5_000..10_000).map(sighting).collect::<Vec<_>>());
    }
}
