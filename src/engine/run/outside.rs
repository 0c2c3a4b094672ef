//! How a run does what is no change of the cluster's objects: a flush, requests to pods, and commands in them.

use super::{Round, Runner};
use crate::cluster::redis;
use crate::engine::journal::Halt;
use crate::target::Effect;
use crate::target::effect::{Outcome, Verdict};

impl Runner<'_> {
    /// Does what is no change of the cluster, in this term; none where it is one. Nothing keeps it from being done twice but
    /// the journal, and what was answered is seen by this replica alone until it is on record.
    pub(super) async fn outside(&mut self, effect: &Effect) -> Result<Option<Outcome>, Halt> {
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
    pub(super) async fn answered(
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
}
