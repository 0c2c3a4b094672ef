//! Whether the leader lets a claimed rollback begin, from fresh facts.

use jiff::{SignedDuration, Timestamp};

use super::guard::{Facts, UNOBSERVED_LIMIT};
use crate::procedure::Procedure;
use crate::reason::{Finding, Reason};
use crate::rollback::Rollback;
use crate::rollback::history::{Destination, rough};
use crate::target::workload::Rollout;
use crate::target::{Release, Snapshot, Target};

/// What becomes of a claimed rollback.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once a rollback, and taken apart at once"
)]
pub enum Admission {
    /// It begins.
    Go {
        /// The release to get away from.
        from: Release,
        /// The release to return to.
        destination: Destination,
        /// The procedure that the most severe alert asks for.
        procedure: Procedure,
    },
    /// A guard refuses it.
    Decline {
        /// Why.
        finding: Finding,
        /// Whether the target is latched by it.
        latch: bool,
    },
    /// The release that it was for is no longer live.
    Supersede(Finding),
    /// Nothing can be said yet; look again soon.
    Wait(Finding),
}

impl Admission {
    fn decline(finding: impl Into<Finding>) -> Self {
        Self::Decline {
            finding: finding.into(),
            latch: false,
        }
    }
}

impl Facts<'_> {
    /// Whether `rollback` may begin. `missing` names the permissions that the service account lacks.
    #[must_use]
    pub fn admit(
        &self,
        rollback: &Rollback,
        target: &Target,
        at: &Snapshot,
        missing: &[String],
    ) -> Admission {
        let followed = match self.followed(rollback) {
            Ok(followed) => followed,
            Err(finding) => return Admission::decline(finding),
        };
        let by_hand = rollback.spec.alerts.is_empty();
        let received = rollback.received().unwrap_or(self.now);
        let Some(rollout) = self.rollout else {
            return Admission::decline(
                Reason::WorkloadMissing.because(format!("{} does not exist", target.workload)),
            );
        };
        let age = self.now.duration_since(received);
        let Some(live) = self.live.clone() else {
            let said = format!(
                "the controller has not observed generation {}",
                rollout.generation
            );
            let finding = Reason::WorkloadUnobserved.because(said);
            let limit = SignedDuration::try_from(UNOBSERVED_LIMIT).unwrap_or(SignedDuration::MAX);
            let identified = rollback.spec.release.is_some() || by_hand;
            return if identified && age < limit {
                Admission::Wait(finding)
            } else {
                Admission::decline(finding)
            };
        };
        if rollback.spec.release.is_none() && !by_hand {
            return Admission::decline(
                Reason::WorkloadUnobserved
                    .because("the alert came before the release had an identity"),
            );
        }
        if let Err(finding) = self.valid().and_then(|()| self.serving()) {
            return Admission::decline(finding);
        }
        if self.policy.protected.contains(&target.workload.namespace) {
            return Admission::decline(Reason::ProtectedNamespace);
        }
        if let Err(finding) = self.held() {
            return Admission::decline(finding);
        }
        if let Some(wanted) = &rollback.spec.release
            && (wanted.uid != live.uid
                || wanted.hash != live.hash
                || wanted.revision != live.revision)
            && !followed.is_some_and(|followed| followed.went_on(at))
        {
            return Admission::Supersede(
                Reason::NewRelease.because(format!("{live} is live, not {wanted}")),
            );
        }
        let judged = if followed.is_some() {
            self.judge_rung(rollback, &live)
        } else if by_hand {
            self.judge_request(rollback, &live, received)
        } else {
            self.judge(rollback, target, &live)
        };
        if let Err((finding, latch)) = judged {
            return Admission::Decline { finding, latch };
        }
        if let Err(finding) = self.owned(target, &live) {
            return Admission::decline(finding);
        }
        if let Some(late) = self.policy.too_late(rollback, target, self.now) {
            return Admission::decline(late);
        }
        let procedure = match self.procedure(rollback, target) {
            Ok(procedure) => procedure,
            Err(finding) => return Admission::decline(finding),
        };
        if !missing.is_empty() {
            return Admission::decline(lacking(missing));
        }
        let inherited = match followed {
            Some(followed) => followed.destination(target, at, &procedure),
            None => Ok(None),
        };
        let destination = inherited.and_then(|inherited| match inherited {
            Some(inherited) => Ok(inherited),
            None => self.destination(target, at, rollout, by_hand, procedure.brings_up()),
        });
        match destination {
            Ok(destination) => Admission::Go {
                from: followed.map_or(live, |followed| followed.plan.from.clone()),
                destination,
                procedure,
            },
            Err(finding) => Admission::decline(finding),
        }
    }

    /// The procedure that is run, with what follows it where its revert fails.
    ///
    /// # Errors
    /// That the policy has none.
    fn procedure(&self, rollback: &Rollback, target: &Target) -> Result<Procedure, Finding> {
        let deciding = self.policy.deciding(rollback, target, self.now);
        let by_severity = self.policy.severities.get(&rollback.severity());
        let wanted = deciding
            .filter(|_| rollback.spec.rung.is_none())
            .map(|record| &record.procedure)
            .or(rollback.spec.procedure.as_ref())
            .or(by_severity);
        let Some(procedure) = wanted.and_then(|name| self.policy.procedures.get(name)) else {
            let said = format!(
                "the policy has no procedure {}",
                wanted.map_or("for this severity", String::as_str)
            );
            return Err(Reason::ProcedureUnknown.because(said));
        };
        let next = self.policy.next_rung(procedure, rollback.severity());
        Ok(Procedure {
            escalate_to: next.map(str::to_owned),
            ..procedure.clone()
        })
    }

    /// Where a rollback from the live release leads.
    ///
    /// # Errors
    /// Why it leads nowhere.
    fn destination(
        &self,
        target: &Target,
        at: &Snapshot,
        rollout: &Rollout,
        by_hand: bool,
        bring_up: bool,
    ) -> Result<Destination, Finding> {
        let memory = self
            .memory
            .map(|memory| memory.state().into_owned())
            .unwrap_or_default();
        let found = memory.destination(target, at, bring_up, self.now)?;
        // What a person pinned or asked for is not doubted.
        if target.known_good.is_none() && !by_hand {
            self.unsuspected(target, &found.release)?;
        }
        match target.owner(rollout) {
            Some(owner) if found.release.hash != rollout.stable => {
                Err(Reason::NoDestination.because(format!(
                    "{owner} owns the spec, and an abort leads to the stable release alone, not to {}",
                    found.release
                )))
            }
            _ => Ok(found),
        }
    }

    /// What a person's own request is judged by. One that names no release means the one that its author saw live: not what
    /// another rollback has made of it since.
    fn judge_request(
        &self,
        rollback: &Rollback,
        live: &Release,
        received: Timestamp,
    ) -> Result<(), (Finding, bool)> {
        if rollback.spec.release.is_some() {
            return Ok(());
        }
        let crossed = self.rollbacks.iter().find(|other| {
            let ended = other.state().run.finished;
            other.touched() && ended.is_none_or(|ended| ended >= received)
        });
        if let Some(other) = crossed {
            let said = format!(
                "{} changed the release meanwhile; name the release to leave in spec.release",
                other.name()
            );
            return Err((Reason::Duplicate.because(said), false));
        }
        if let Some(ours) = self.ours(live).filter(|ours| !ours.by_owner) {
            let said = format!(
                "{} is what Ripcord itself restored; name the live release in spec.release to leave it",
                ours.serves
            );
            return Err((Reason::ReleaseIsOurs.because(said), false));
        }
        Ok(())
    }

    /// What alerts are judged by, and a person's own request is not. A refusal says whether it latches the target.
    fn judge(
        &self,
        rollback: &Rollback,
        target: &Target,
        live: &Release,
    ) -> Result<(), (Finding, bool)> {
        self.latched().map_err(|finding| (finding, false))?;
        if let Some(ours) = self.ours(live) {
            let settle = SignedDuration::try_from(target.settle).unwrap_or_default();
            if self.now < ours.since + settle {
                // Claimed by a replica that had not heard of the restore yet.
                let said = format!(
                    "{} was restored and may take {} to show its effect",
                    ours.serves,
                    rough(settle)
                );
                return Err((Reason::Duplicate.because(said), false));
            }
            if !ours.by_owner {
                let said = format!("{} is what Ripcord itself restored", ours.serves);
                return Err((Reason::ReleaseIsOurs.because(said), true));
            }
        }
        self.exhausted(live).map_err(|finding| (finding, true))?;
        self.way_back(target, live)
            .map_err(|finding| (finding, false))?;
        if rollback.all_ended() {
            return Err((Reason::ResolvedBeforeStart.into(), false));
        }
        if rollback.spec.mode.acts() && !self.may_act(rollback) {
            let said = "no trigger that asked for this acts any more";
            return Err((Reason::Shadow.because(said), false));
        }
        let mut refused = None;
        for record in rollback
            .records()
            .into_iter()
            .filter(|record| rollback.end_of(record).is_none())
        {
            let overtaken = self.overtaken(target, live, record);
            let overtaken = overtaken.map_err(|(finding, _)| finding);
            match overtaken.and_then(|()| self.caused(target, live, record)) {
                Ok(()) => return Ok(()),
                Err(finding) => refused.get_or_insert(finding),
            };
        }
        refused.map_or(Ok(()), |finding| Err((finding, false)))
    }
}

impl Facts<'_> {
    /// Whether any trigger that asked may act by the policy as it is now, be it after an approval.
    pub(super) fn may_act(&self, rollback: &Rollback) -> bool {
        rollback.records().into_iter().any(|record| {
            let mut triggers = self.policy.triggers.iter();
            triggers.any(|trigger| trigger.name == record.trigger && trigger.mode.acts())
        })
    }
}

/// Why it is too late for the first change of a rollback that was let go, if it is.
#[must_use]
pub fn too_late(rollback: &Rollback, target: &Target, now: Timestamp) -> Option<Finding> {
    late(rollback.counts_from()?, target, now)
}

/// Why it is too late for a first change of what was received or approved at this time, if it is.
pub(super) fn late(since: Timestamp, target: &Target, now: Timestamp) -> Option<Finding> {
    let age = now.duration_since(since);
    let limit = SignedDuration::try_from(target.start_within).unwrap_or(SignedDuration::MAX);
    (age > limit).then(|| {
        let said = format!(
            "received or approved at {since:.0}, {} ago; a start is allowed within {}",
            rough(age),
            rough(limit)
        );
        Reason::TooLate.because(said)
    })
}

/// That these permissions are missing.
#[must_use]
pub fn lacking(missing: &[String]) -> Finding {
    let said = format!("the service account may not {}", missing.join(", nor "));
    Reason::PermissionMissing.because(said)
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
