//! What one firing alert leads to, from what intake's caches know.
//!
//! For a P0 or P1 that a guard refuses, the claim is made all the same: the leader then declines it on fresh facts, and
//! that record is what people are told from, once, and what repeats are answered from.

use jiff::{SignedDuration, Timestamp};

use super::approval::Consent;
use super::guard::{Facts, UNOBSERVED_LIMIT};
use super::trigger::Ask;
use crate::reason::{Finding, Reason};
use crate::rollback::object::{AlertRecord, Mode};
use crate::rollback::{Phase, Rollback, name};
use crate::target::Release;

/// How long a refusal that only the leader can judge is taken to hold, and how late a copy of an ended firing may come.
const REFUSAL_HOLDS: SignedDuration = SignedDuration::from_mins(5);

/// What one firing alert leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Claim a rollback under this name.
    Start {
        /// The object's name: the lock.
        name: String,
        /// The release to get away from; none where the live one has no identity.
        release: Option<Release>,
        /// The rollback of the same release that it follows.
        parent: Option<String>,
        /// The guard that refuses it by what the caches know: the leader will very likely decline it.
        refusal: Option<Finding>,
        /// Why a person must approve it first, if one must.
        ask: Option<String>,
    },
    /// Record what would be done.
    Shadow {
        /// The object's name.
        name: String,
        /// The release that would be left.
        release: Release,
    },
    /// Join a rollback that is under way.
    Join {
        /// Its name.
        rollback: String,
        /// Whether this firing is on record there already.
        known: bool,
    },
    /// Record with an ended rollback that it did not help.
    Persist {
        /// Its name.
        rollback: String,
        /// Why.
        finding: Finding,
    },
    /// Do nothing.
    Decline {
        /// Why.
        finding: Finding,
        /// The rollback that tells more, where there is one.
        rollback: Option<String>,
    },
    /// Nothing can be decided yet: ask Alertmanager to come back.
    Wait(Finding),
}

impl Decision {
    /// The word for answers, logs and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Start {
                refusal: None,
                ask: Some(_),
                ..
            } => "ask",
            Self::Start { refusal: None, .. } => "start",
            Self::Start {
                refusal: Some(_), ..
            }
            | Self::Persist { .. }
            | Self::Decline { .. } => "decline",
            Self::Shadow { .. } => "shadow",
            Self::Join { .. } => "join",
            Self::Wait(_) => "wait",
        }
    }

    /// The reason.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match self {
            Self::Start {
                refusal: None,
                ask: Some(why),
                ..
            } => Reason::AwaitingApproval.because(why.as_str()),
            Self::Start { refusal: None, .. } => Reason::Claimed.into(),
            Self::Shadow { .. } => Reason::Shadow.into(),
            Self::Join { known: true, .. } => Reason::Known.into(),
            Self::Join { known: false, .. } => Reason::Joined.into(),
            Self::Start {
                refusal: Some(finding),
                ..
            }
            | Self::Persist { finding, .. }
            | Self::Decline { finding, .. }
            | Self::Wait(finding) => finding.clone(),
        }
    }

    /// The rollback that it is about.
    #[must_use]
    pub fn rollback(&self) -> Option<&str> {
        match self {
            Self::Start { name, .. } | Self::Shadow { name, .. } => Some(name),
            Self::Join { rollback, .. } | Self::Persist { rollback, .. } => Some(rollback),
            Self::Decline { rollback, .. } => rollback.as_deref(),
            Self::Wait(_) => None,
        }
    }

    fn decline(finding: impl Into<Finding>) -> Self {
        Self::Decline {
            finding: finding.into(),
            rollback: None,
        }
    }

    fn decline_by(finding: impl Into<Finding>, rollback: &Rollback) -> Self {
        Self::Decline {
            finding: finding.into(),
            rollback: Some(rollback.name().to_owned()),
        }
    }
}

impl Facts<'_> {
    /// What a firing alert leads to. `alert` is what would be put on record of it.
    #[must_use]
    pub fn decide(&self, ask: &Ask<'_>, alert: &AlertRecord) -> Decision {
        let workload = ask.target.workload.name.as_str();
        if ask.procedure.is_none() {
            return Decision::decline(
                Reason::NoteOnly.because(format!("{} is a note", ask.noted_by())),
            );
        }
        if let Some(ended) = self.ended_lately(alert) {
            return Decision::decline_by(Reason::LateCopy, ended);
        }
        if let Some(active) = self.active_unobserved() {
            return join(active, alert);
        }
        let Some(live) = &self.live else {
            return self.without_identity(workload, ask);
        };
        if ask.trigger.mode == Mode::Shadow {
            return self.shadow(workload, live);
        }
        if let Some(active) = self.active_on(live) {
            // One that nobody has to be asked about would let it go: it must be one that could have started it.
            let waits = self.policy.consent(active, ask.target, self.now);
            let alone = self
                .policy
                .must_ask(ask.trigger, ask.severity, ask.procedure);
            if alone.is_none()
                && matches!(waits, Consent::Needed(_))
                && let Some(refusal) = self.refusal(ask, live, alert)
            {
                return Decision::decline_by(refusal, active);
            }
            return join(active, alert);
        }
        if let Some(decision) = self.on_our_own(ask, live, alert) {
            return decision;
        }
        if let Err((finding, before)) = self.overtaken(ask.target, live, alert) {
            return Decision::decline_by(finding, before);
        }
        let refusal = self.refusal(ask, live, alert);
        let approval = self
            .policy
            .must_ask(ask.trigger, ask.severity, ask.procedure);
        let Some((number, last)) = self.newest_of(workload, live) else {
            let name = name::lock(workload, live, 1);
            return Decision::Start {
                name,
                release: Some(live.clone()),
                parent: None,
                refusal,
                ask: approval,
            };
        };
        if let Some(finding) = self.settled_by(last, refusal) {
            return Decision::decline_by(finding, last);
        }
        if number >= name::NUMBERS {
            let said = format!("{number} rollbacks of {live} were asked for");
            return Decision::decline_by(Reason::AttemptsExhausted.because(said), last);
        }
        Decision::Start {
            name: name::lock(workload, live, number + 1),
            release: Some(live.clone()),
            parent: Some(last.name().to_owned()),
            refusal: None,
            ask: approval,
        }
    }

    /// The guards that caches can answer, after those on which a rollback's existence has the last word.
    fn refusal(&self, ask: &Ask<'_>, live: &Release, alert: &AlertRecord) -> Option<Finding> {
        let asked = self
            .held()
            .and_then(|()| self.latched())
            .and_then(|()| self.exhausted(live))
            .and_then(|()| self.way_back(ask.target, live))
            .and_then(|()| self.valid())
            .and_then(|()| self.serving())
            .and_then(|()| self.caused(ask.target, live, alert))
            .and_then(|()| self.owned(ask.target, live));
        asked.err()
    }

    /// A rollback that knows this very firing as ended a short while ago: two senders are not in step, and the copy that
    /// comes last need not be the newest. One that comes much later is no copy.
    fn ended_lately(&self, alert: &AlertRecord) -> Option<&Rollback> {
        let known = self.rollbacks.iter().find(|rollback| {
            let ended = rollback.recorded_end(&alert.episode());
            ended.is_some_and(|ended| self.now.duration_since(ended) < REFUSAL_HOLDS)
        })?;
        Some(known.as_ref())
    }

    /// A rollback that runs while its own change is not observed yet: the live release has no identity *because* of it.
    fn active_unobserved(&self) -> Option<&Rollback> {
        let rollout = self.rollout.filter(|rollout| !rollout.observed)?;
        let mut active = self
            .rollbacks
            .iter()
            .filter(|r| r.is_open() && !r.spec.drill);
        let ours =
            active.find(|r| r.metadata.uid.is_some() && r.metadata.uid == rollout.operation)?;
        Some(ours.as_ref())
    }

    fn active_on(&self, live: &Release) -> Option<&Rollback> {
        let is_live = |release: &Release| release.uid == live.uid && release.hash == live.hash;
        // A Deployment that the rollback itself restarted goes on under another hash, and what it brought up has one of its own.
        let restarted = |r: &Rollback| {
            let made = r.to().is_some_and(Release::is_to_be_made);
            let rollout = self.rollout.filter(|it| made || it.is_deployment());
            let mark = rollout.and_then(|rollout| rollout.operation.as_ref());
            let same = |to: &Release| {
                !to.images.is_empty() && rollout.is_some_and(|it| it.images == to.images)
            };
            mark.is_some() && mark == r.metadata.uid.as_ref() && r.to().is_some_and(same)
        };
        let mut active = self
            .rollbacks
            .iter()
            .filter(|r| r.is_open() && !r.spec.drill);
        let found = active.find(|r| {
            r.from().is_some_and(is_live) || r.to().is_some_and(is_live) || restarted(r)
        })?;
        Some(found.as_ref())
    }

    fn without_identity(&self, workload: &str, ask: &Ask<'_>) -> Decision {
        // A selector is as it is: nobody is on the way to observe it.
        let unclear = self.valid().err();
        let unclear = unclear.filter(|it| it.reason != Reason::SpecInvalid);
        let lasts = self.rollout.is_none() || unclear.is_some();
        let finding = match (unclear, self.rollout) {
            (Some(unclear), _) => unclear,
            (None, None) => {
                Reason::WorkloadMissing.because(format!("{} does not exist", ask.target.workload))
            }
            (None, Some(rollout)) => Reason::WorkloadUnobserved.because(format!(
                "the controller has not observed generation {} of {}",
                rollout.generation, ask.target.workload
            )),
        };
        if !lasts && self.unobserved_for < UNOBSERVED_LIMIT {
            return Decision::Wait(finding);
        }
        if ask.trigger.mode == Mode::Shadow {
            return Decision::decline(finding);
        }
        // What is scaled meanwhile is the same state. One that is missing has none, and what is unclear has no release: people are
        // told of it every hour.
        let what = self.rollout.map_or("missing", |_| finding.reason.code());
        let state = self.rollout.filter(|_| !lasts).map_or_else(
            || format!("{what} {} {}", self.now.as_second() / 3600, ask.severity),
            |it| format!("{} {} {} {}", it.uid, it.current, it.revision, ask.severity),
        );
        let name = name::unidentified(workload, &state);
        match self
            .rollbacks
            .iter()
            .find(|rollback| rollback.name() == name)
        {
            Some(known) => Decision::decline_by(finding, known),
            None => Decision::Start {
                name,
                release: None,
                parent: None,
                refusal: Some(finding),
                ask: None,
            },
        }
    }

    fn shadow(&self, workload: &str, live: &Release) -> Decision {
        let name = name::shadow(workload, live);
        match self
            .rollbacks
            .iter()
            .find(|rollback| rollback.name() == name)
        {
            Some(known) => Decision::decline_by(Reason::Shadow, known),
            None => Decision::Shadow {
                name,
                release: live.clone(),
            },
        }
    }

    /// The live release is one that Ripcord made: it is never pulled back by itself.
    fn on_our_own(&self, ask: &Ask<'_>, live: &Release, alert: &AlertRecord) -> Option<Decision> {
        let ours = self.ours(live)?;
        let serves = &ours.serves;
        let decline = |finding: Finding| match ours.rollback {
            Some(rollback) => Decision::decline_by(finding, rollback),
            None => Decision::decline(finding),
        };
        if let Some(named) = alert
            .release_hash
            .as_ref()
            .filter(|named| **named != serves.hash)
        {
            return Some(decline(Reason::Duplicate.because(format!(
                "{} names {named}, which was pulled back",
                alert.name
            ))));
        }
        let settled = ours.since + SignedDuration::try_from(ask.target.settle).unwrap_or_default();
        if self.now < settled {
            let said =
                format!("{serves} was restored and may take until {settled:.0} to show its effect");
            return Some(decline(Reason::Duplicate.because(said)));
        }
        if ours.by_owner {
            return None;
        }
        if let Err(latched) = self.latched() {
            return Some(decline(latched));
        }
        let finding = if alert.began < settled {
            Reason::StillFiring.because(format!(
                "{} still fires although {serves} was proved healthy",
                alert.name
            ))
        } else {
            Reason::ReleaseIsOurs.because(format!(
                "{} began after {serves} was restored and proved",
                alert.name
            ))
        };
        let Some(rollback) = ours.rollback else {
            // Its object is gone; the claim on the live release is declined by the leader, which latches.
            return None;
        };
        if rollback.state().alerts.persisting.is_some() {
            return Some(decline(finding));
        }
        Some(Decision::Persist {
            rollback: rollback.name().to_owned(),
            finding,
        })
    }

    /// The newest acting rollback under the lock of a release, and its number.
    fn newest_of(&self, workload: &str, live: &Release) -> Option<(u32, &Rollback)> {
        self.numbered(workload, live).last()
    }

    /// The acting rollbacks under the lock of a release, with their numbers.
    fn numbered(&self, workload: &str, live: &Release) -> impl Iterator<Item = (u32, &Rollback)> {
        let names: Vec<_> = (1..=name::NUMBERS)
            .map(|number| (number, name::lock(workload, live, number)))
            .collect();
        names.into_iter().filter_map(|(number, name)| {
            let found = self.rollbacks.iter().find(|it| it.name() == name)?;
            Some((number, found.as_ref()))
        })
    }

    /// Why an ended rollback of the live release settles the matter, if it does.
    fn settled_by(&self, last: &Rollback, refusal: Option<Finding>) -> Option<Finding> {
        let another_workload = match (&last.spec.release, &self.live) {
            (Some(release), Some(live)) => release.uid != live.uid,
            _ => false,
        };
        if another_workload {
            return refusal;
        }
        let reason = last
            .state()
            .reason
            .clone()
            .unwrap_or_else(|| Reason::Duplicate.into());
        match last.phase() {
            // A person has said no, and that is final as a cancel is.
            Phase::Declined if reason.reason == Reason::ApprovalDenied => Some(reason),
            Phase::Declined => refusal.or_else(|| self.still_refused(last, reason)),
            Phase::Failed => {
                let acknowledged = self
                    .memory
                    .and_then(|memory| memory.spec.acknowledge.as_deref())
                    == Some(last.name());
                if acknowledged {
                    refusal
                } else {
                    Some(Reason::Latched.because(reason.to_string()))
                }
            }
            Phase::Cancelled => {
                Some(Reason::Cancelled.because(format!("a person cancelled {}", last.name())))
            }
            Phase::Superseded if last.touched() => {
                Some(Reason::Duplicate.because(reason.to_string()))
            }
            Phase::Succeeded | Phase::Superseded | Phase::Shadowed => refusal,
            Phase::Pending | Phase::AwaitingApproval | Phase::Running => Some(Reason::Known.into()),
        }
    }

    /// Whether a refusal that intake cannot judge is taken to hold still.
    fn still_refused(&self, last: &Rollback, finding: Finding) -> Option<Finding> {
        let judged_here = matches!(
            finding.reason,
            Reason::Held
                | Reason::HoldUnreadable
                | Reason::TargetHeld
                | Reason::Latched
                | Reason::Duplicate
                | Reason::AttemptsExhausted
                | Reason::WayBack
                | Reason::SpecInvalid
                | Reason::OwnedElsewhere
                | Reason::NoRecentChange
                | Reason::NotThisRelease
                | Reason::WorkloadMissing
                | Reason::WorkloadUnobserved
                | Reason::TooLate
                | Reason::ResolvedBeforeStart
                | Reason::ApprovalStale
        );
        let ended: Option<Timestamp> = last.state().run.finished;
        let fresh = ended.is_some_and(|ended| self.now.duration_since(ended) < REFUSAL_HOLDS);
        (!judged_here && fresh).then_some(finding)
    }
}

fn join(active: &Rollback, alert: &AlertRecord) -> Decision {
    let known = active.record(&alert.episode()).is_some() || active.may_count(alert);
    Decision::Join {
        rollback: active.name().to_owned(),
        known,
    }
}

#[cfg(test)]
#[path = "decision/tests.rs"]
pub(crate) mod tests;
