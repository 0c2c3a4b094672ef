//! Puts decisions on record: the claim, and what a rollback is told of alerts later.

use tokio::time::Instant;

use super::basis::Basis;
use super::record::{akin, claim, join};
use super::request::Request;
use super::{RACES, Recorded, Registrar};
use crate::cluster::Error;
use crate::cluster::claims::Claimed;
use crate::policy::Decision;
use crate::reason::Reason;
use crate::rollback::object::{Alerts, Mode, Persisting};
use crate::rollback::{FINALIZER, Rollback};
use crate::target::Target;
use crate::telemetry::{Span, TraceContext, span};

impl Registrar {
    /// Records a decision that several requests share.
    pub(super) async fn record(
        &self,
        target: &Target,
        basis: &Basis,
        decision: &Decision,
        requests: &[Request<'_>],
        trace: &TraceContext,
    ) -> Result<Recorded, Error> {
        let namespace = &target.workload.namespace;
        match decision {
            Decision::Decline { .. } | Decision::Join { known: true, .. } => Ok(Recorded::Done),
            Decision::Wait(finding) => Ok(Recorded::Wait(finding.clone())),
            Decision::Start {
                name,
                release,
                parent,
                ask,
                ..
            } => {
                let outdated = self.outdated(target, basis, parent.as_deref()).await?;
                if let Some(outdated) = outdated {
                    return Ok(outdated);
                }
                let claim = claim(
                    target,
                    name,
                    release.clone(),
                    parent.clone(),
                    if ask.is_some() { Mode::Ask } else { Mode::Act },
                    requests,
                    trace,
                );
                self.claim(claim, trace).await
            }
            Decision::Shadow { name, release } => {
                let claim = claim(
                    target,
                    name,
                    Some(release.clone()),
                    None,
                    Mode::Shadow,
                    requests,
                    trace,
                );
                self.claim(claim, trace).await
            }
            Decision::Join {
                rollback,
                known: false,
            } => {
                let start = (self.clock)();
                let kept = self.keep(namespace, rollback, true, |rollback, alerts| {
                    let mut changed = false;
                    for request in requests {
                        if rollback.record(&request.record.episode()).is_none() {
                            changed |= join(alerts, &request.record);
                        }
                    }
                    changed
                });
                let kept = kept.await?;
                if matches!(kept, Recorded::Done)
                    && let Some(joined) = self.caches.rollbacks.get(namespace, rollback)
                {
                    let end = (self.clock)();
                    self.spans.record(|| Span::join(&joined, trace, start, end));
                }
                Ok(kept)
            }
            Decision::Persist { rollback, finding } => {
                let outdated = self.outdated(target, basis, Some(rollback)).await?;
                if let Some(outdated) = outdated {
                    return Ok(outdated);
                }
                let noticed = (self.clock)();
                self.keep(namespace, rollback, false, |rollback, alerts| {
                    let over = |request: &Request<'_>| {
                        let end = rollback.recorded_end(&request.record.episode());
                        end.is_some()
                    };
                    let first = alerts.persisting.is_none() && !requests.iter().all(over);
                    if first {
                        alerts.persisting = Some(Persisting {
                            noticed,
                            finding: finding.clone(),
                        });
                    }
                    first
                })
                .await
            }
        }
    }

    async fn claim(&self, mut claim: Rollback, trace: &TraceContext) -> Result<Recorded, Error> {
        if self.mode == Mode::Act && claim.spec.mode.acts() {
            // A run would have to stop for it.
            claim.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        }
        let began = Instant::now();
        let start = (self.clock)();
        let claimed = self.cluster.claim(&claim).await;
        self.metrics.claim(began.elapsed());
        let (found, recorded) = match claimed? {
            Claimed::New(found) => (found, Recorded::Done),
            Claimed::Taken(found) if !akin(&claim, &found) => {
                let said = format!(
                    "{} is a rollback of target {}",
                    found.full_name(),
                    found.spec.target
                );
                return Ok(Recorded::Refused(Reason::NameTaken.because(said)));
            }
            Claimed::Taken(found) => (found, Recorded::Again),
        };
        if matches!(recorded, Recorded::Done) {
            let end = (self.clock)();
            self.spans.record(|| Span::claim(&found, trace, start, end));
            tracing::info!(
                trace_id = %span::trace_id(&found),
                rollback = found.name(),
                k8s.namespace = found.namespace(),
                ripcord.target = found.spec.target,
                severity = %found.spec.severity,
                "rollback claimed"
            );
        }
        self.caches
            .rollbacks
            .offer(claim.namespace(), claim.name(), *found);
        Ok(recorded)
    }

    /// Changes the alerts of a rollback: from the cache first, and from a fresh read where somebody else wrote. With `open`,
    /// only while it has not ended: an alert that joined what is over would wait for nothing.
    pub(super) async fn keep(
        &self,
        namespace: &str,
        name: &str,
        open: bool,
        change: impl Fn(&Rollback, &mut Alerts) -> bool,
    ) -> Result<Recorded, Error> {
        let mut rollback = match self.caches.rollbacks.get(namespace, name) {
            Some(cached) => Rollback::clone(&cached),
            None => self.cluster.rollback(namespace, name).await?,
        };
        for _ in 0..RACES {
            if open && rollback.phase().ended() {
                self.caches.rollbacks.offer(namespace, name, rollback);
                return Ok(Recorded::Again);
            }
            let before = rollback.state().alerts.clone();
            let mut alerts = before.clone();
            if !change(&rollback, &mut alerts) {
                return Ok(Recorded::Done);
            }
            alerts.seq = before.seq + 1;
            match self
                .cluster
                .keep_alerts(&rollback, before.seq, &alerts, open)
                .await
            {
                Ok(written) => {
                    self.caches.rollbacks.offer(namespace, name, written);
                    return Ok(Recorded::Done);
                }
                Err(Error::Precondition(_)) => {
                    rollback = self.cluster.rollback(namespace, name).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Precondition(format!(
            "the alerts of {namespace}/{name} lost every race"
        )))
    }
}
