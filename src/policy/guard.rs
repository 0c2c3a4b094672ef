//! The guards: reasons not to act now, in the order in which they are asked.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Policy;
use crate::alert::Labels;
use crate::reason::{Finding, Reason};
use crate::rollback::history::rough;
use crate::rollback::memory::Live;
use crate::rollback::name::CAP;
use crate::rollback::object::AlertRecord;
use crate::rollback::{Memory, Phase, Rollback};
use crate::target::workload::Rollout;
use crate::target::{Release, Target, owner};

/// How far the clocks of Prometheus and this cluster may differ.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The time in which one pod template may be pulled back so often and no more.
const ROUNDS: SignedDuration = SignedDuration::from_hours(24);
/// How long a workload may stay unobserved before a person is told.
pub const UNOBSERVED_LIMIT: Duration = Duration::from_secs(30);

/// What is known when the guards are asked: from caches at intake, from fresh reads at the leader.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The time.
    pub now: Timestamp,
    /// The policy.
    pub policy: &'a Policy,
    /// The global hold.
    pub hold: &'a Hold,
    /// The target's memory.
    pub memory: Option<&'a Memory>,
    /// The workload.
    pub rollout: Option<&'a Rollout>,
    /// When the live release's replica set was made, where that was read.
    pub live_created: Option<Timestamp>,
    /// The live release, once it has an identity.
    pub live: Option<Release>,
    /// For how long the workload has been unobserved.
    pub unobserved_for: Duration,
    /// The target's rollbacks.
    pub rollbacks: &'a [Arc<Rollback>],
}

/// The global hold: one annotation that stops every start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hold {
    /// Nothing is held.
    Free,
    /// Held, with what the annotation says.
    Held(String),
    /// It could not be read, which counts as held: what and why.
    Unreadable(String),
}

impl Policy {
    /// Whether an alert with these labels is about the cluster that is looked after here.
    ///
    /// # Errors
    /// Which one it names.
    pub fn of_this_cluster(&self, labels: &Labels) -> Result<(), Finding> {
        if let Some(cluster) = &self.cluster
            && let Some(named) = labels.get(&cluster.label)
            && named != cluster.name
        {
            let said = format!(
                "the alert is from cluster \"{named}\", this is \"{}\"",
                cluster.name
            );
            return Err(Reason::OtherCluster.because(said));
        }
        Ok(())
    }

    /// Whether the policy ever acts in this target's namespace.
    ///
    /// # Errors
    /// That it is protected.
    pub fn unprotected(&self, target: &Target) -> Result<(), Finding> {
        if self.protected.contains(&target.workload.namespace) {
            let said = format!("namespace {} is protected", target.workload.namespace);
            return Err(Reason::ProtectedNamespace.because(said));
        }
        Ok(())
    }
}

/// Whether a start is held, everywhere or on the target of this memory.
///
/// # Errors
/// Who holds it, and why.
pub fn held(hold: &Hold, memory: Option<&Memory>, now: Timestamp) -> Result<(), Finding> {
    match hold {
        Hold::Free => {}
        Hold::Held(said) => return Err(Reason::Held.because(format!("held: {said}"))),
        Hold::Unreadable(said) => return Err(Reason::HoldUnreadable.because(said.as_str())),
    }
    match memory.and_then(|memory| memory.hold(now)) {
        None => Ok(()),
        Some(hold) => {
            Err(Reason::TargetHeld.because(format!("held by {}: {}", hold.owner, hold.reason)))
        }
    }
}

/// Whether the target of this memory is latched.
///
/// # Errors
/// By which rollback, and why.
pub fn latched(memory: Option<&Memory>) -> Result<(), Finding> {
    match memory.and_then(Memory::latch) {
        None => Ok(()),
        Some(latch) => {
            let said = format!("latched by {}: {}", latch.rollback, latch.finding);
            Err(Reason::Latched.because(said))
        }
    }
}

impl Facts<'_> {
    /// Whether a start is held, everywhere or on this target.
    ///
    /// # Errors
    /// Who holds it, and why.
    pub fn held(&self) -> Result<(), Finding> {
        held(self.hold, self.memory, self.now)
    }

    /// Whether the target is latched.
    ///
    /// # Errors
    /// By which rollback, and why.
    pub fn latched(&self) -> Result<(), Finding> {
        latched(self.memory)
    }

    /// Whether the controller takes the workload's spec, and so does what it is told; whether a Service's selector names one
    /// live Deployment, and is nobody else's.
    ///
    /// # Errors
    /// What is wrong with the spec.
    pub fn valid(&self) -> Result<(), Finding> {
        match self.rollout {
            Some(Rollout {
                invalid: Some(reason),
                message,
                ..
            }) => Err(reason.because(message.as_str())),
            _ => Ok(()),
        }
    }

    /// Whether the workload serves by itself: a Deployment without pods does not, such as one whose pods a Rollout runs.
    ///
    /// # Errors
    /// That it asks for none.
    pub fn serving(&self) -> Result<(), Finding> {
        match self.rollout {
            Some(rollout) if rollout.is_plain() && rollout.replicas == 0 => {
                Err(Reason::ScaledToZero.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether what is to be done would last: what is written to a spec that GitOps owns is undone, and an abort helps only
    /// an update in flight.
    ///
    /// # Errors
    /// Who owns it.
    pub fn owned(&self, target: &Target, live: &Release) -> Result<(), Finding> {
        let Some(rollout) = self.rollout else {
            return Ok(());
        };
        match (target.owner(rollout), rollout.abortable()) {
            (Some(owner), Err(state)) => Err(owner::left_to(owner, live, state)),
            _ => Ok(()),
        }
    }

    /// Whether the pod template that is live was pulled back as often as it may be, under whatever revisions.
    ///
    /// # Errors
    /// How often it was.
    pub fn exhausted(&self, live: &Release) -> Result<(), Finding> {
        let is_live = |from: &Release| from.uid == live.uid && from.hash == live.hash;
        let lately = |it: &Rollback| {
            it.received()
                .is_some_and(|at| self.now.duration_since(at) < ROUNDS)
        };
        let away = self
            .rollbacks
            .iter()
            .filter(|it| !it.spec.drill && it.touched() && lately(it))
            .filter(|it| it.from().is_some_and(is_live))
            .count();
        if away < CAP {
            return Ok(());
        }
        let said = format!("{live} was pulled back {away} times, and is live again");
        Err(Reason::AttemptsExhausted.because(said))
    }

    /// Whether the live release is new: one that was known to be good until a short while ago is somebody's own way back, and
    /// what it replaces may be the bad one. Not so where it was pulled back, or reported as bad.
    ///
    /// # Errors
    /// Until when it was stable before.
    pub fn way_back(&self, target: &Target, live: &Release) -> Result<(), Finding> {
        let Some(status) = self.memory.and_then(|memory| memory.status.as_ref()) else {
            return Ok(());
        };
        let window = SignedDuration::try_from(target.change_window).unwrap_or(SignedDuration::MAX);
        let soak = SignedDuration::try_from(target.min_soak).unwrap_or(SignedDuration::MAX);
        let went_live = self.template_changed(live).unwrap_or(self.now);
        let before = status.history.iter().rev().find_map(|past| {
            let until = past.until.filter(|until| *until <= went_live)?;
            let same = past.uid == live.uid && past.hash == live.hash;
            let good = until.duration_since(past.since) >= soak;
            (same && good && went_live.duration_since(until) <= window).then_some(until)
        });
        match before {
            Some(until) if !status.blames(&live.hash) && self.reported(target, live).is_none() => {
                let said = format!("{live} was stable until {until:.0}: somebody went back to it");
                Err(Reason::WayBack.because(said))
            }
            _ => Ok(()),
        }
    }

    /// Whether a destination was not itself reported as bad within the change window.
    ///
    /// # Errors
    /// By which alert.
    pub fn unsuspected(&self, target: &Target, destination: &Release) -> Result<(), Finding> {
        let Some(report) = self.reported(target, destination) else {
            return Ok(());
        };
        let by = report.spec.alerts.first();
        let by = by.map_or_else(String::new, |alert| format!(" by {}", alert.name));
        let said = format!(
            "{destination} was itself reported as bad{by} a short while ago ({})",
            report.name()
        );
        Err(Reason::DestinationSuspect.because(said))
    }

    /// A rollback that alerts asked for away from a release, within the change window, and that is not known to be about
    /// something else or over. What only watches, or a person wrote, is no report.
    fn reported(&self, target: &Target, release: &Release) -> Option<&Rollback> {
        let window = SignedDuration::try_from(target.change_window).unwrap_or(SignedDuration::MAX);
        let found = self.rollbacks.iter().find(|rollback| {
            let about = |it: &Release| it.uid == release.uid && it.hash == release.hash;
            let asked = rollback.spec.mode.acts() && !rollback.spec.alerts.is_empty();
            let state = rollback.state();
            let reason = state.reason.as_ref().map(|finding| finding.reason);
            let settled = matches!(
                reason,
                Some(
                    Reason::NotThisRelease
                        | Reason::ReleaseIsOurs
                        | Reason::Duplicate
                        | Reason::WayBack
                        | Reason::NoRecentChange
                        | Reason::ResolvedBeforeStart
                        | Reason::Cancelled
                        | Reason::ApprovalDenied
                )
            );
            let lately = rollback
                .received()
                .is_some_and(|received| self.now.duration_since(received) < window);
            asked
                && lately
                && !settled
                && !rollback.all_ended()
                && rollback.spec.release.as_ref().is_some_and(about)
        });
        found.map(Arc::as_ref)
    }

    /// Whether the live release can be what an alert is about: it was deployed before the alert began, and it is still in
    /// flight, or went live within the window before that. A release whose age is unknown here passes; the leader knows it.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn caused(
        &self,
        target: &Target,
        live: &Release,
        alert: &AlertRecord,
    ) -> Result<(), Finding> {
        if let Some(named) = alert
            .release_hash
            .as_ref()
            .filter(|named| !self.same(named, &live.hash))
        {
            let said = format!("{} names release {named}, live is {live}", alert.name);
            return Err(Reason::NotThisRelease.because(said));
        }
        // An alert that began before the template changed is about what was there before: pulling the change back could
        // bring the cause back, and away from a person's fix.
        if let Some(after) = self
            .template_changed(live)
            .map(|changed| changed.duration_since(alert.began))
            .filter(|after| *after > SKEW)
        {
            let said = format!(
                "{live} was deployed {} after {} began",
                rough(after),
                alert.name
            );
            return Err(Reason::NoRecentChange.because(said));
        }
        // A drill's release is no update that could be the cause.
        let update = |it: &Rollout| it.in_flight() && !self.same(&it.current, &it.stable);
        if self.rollout.is_some_and(update) {
            return Ok(());
        }
        let Some(changed) = self.changed(live) else {
            return Ok(());
        };
        let window = SignedDuration::try_from(target.change_window).unwrap_or(SignedDuration::MAX);
        let age = alert.began.duration_since(changed);
        if age > window {
            let said = format!(
                "{live} went live {} before {} began",
                rough(age),
                alert.name
            );
            return Err(Reason::NoRecentChange.because(said));
        }
        Ok(())
    }

    /// Whether somebody else's release came after a rollback that this alert could have asked for, as a fix does that a person
    /// ships in its middle or right after its end: it is given the settle window to show its effect before it is judged by an
    /// alert that began before it.
    ///
    /// # Errors
    /// Until when it may take, and the rollback that it came after.
    pub fn overtaken(
        &self,
        target: &Target,
        live: &Release,
        alert: &AlertRecord,
    ) -> Result<(), (Finding, &Rollback)> {
        let settle = SignedDuration::try_from(target.settle).unwrap_or_default();
        let before = self.rollbacks.iter().find_map(|rollback| {
            let since = match rollback.phase() {
                // Until the newer one was promoted, users may have been served by what the rollback was to leave.
                Phase::Superseded | Phase::Cancelled => self.changed(live),
                Phase::Succeeded => self.template_changed(live),
                _ => return None,
            };
            let since = since.unwrap_or(self.now);
            let counts = rollback.spec.mode.acts()
                && !rollback.spec.drill
                && rollback.from().is_some_and(|from| from.hash != live.hash);
            let ended = rollback.state().run.finished?;
            let began_before = alert.began < since && alert.began <= ended + settle;
            (counts && began_before && self.now < since + settle)
                .then_some((rollback.as_ref(), since + settle))
        });
        let Some((before, settled)) = before else {
            return Ok(());
        };
        let said = format!(
            "{live} went live after {} began and may take until {settled:.0} to show its effect",
            alert.name
        );
        Err((Reason::Duplicate.because(said), before))
    }

    /// Whether two hashes count as one release: a drill's as the one that it was made of.
    #[must_use]
    pub fn same(&self, one: &str, other: &str) -> bool {
        let status = self.memory.and_then(|memory| memory.status.as_ref());
        one == other || status.is_some_and(|status| status.same(one, other))
    }

    /// When the live release went live: the later of its template change and its promotion.
    #[must_use]
    pub fn changed(&self, live: &Release) -> Option<Timestamp> {
        self.remembered(live)
            .map(|known| known.promoted.unwrap_or(known.changed).max(known.changed))
            .or(self.live_created)
    }

    /// When the template of the live release was deployed.
    fn template_changed(&self, live: &Release) -> Option<Timestamp> {
        self.remembered(live)
            .map(|known| known.changed)
            .or(self.live_created)
    }

    fn remembered(&self, live: &Release) -> Option<&Live> {
        let status = self.memory.and_then(|memory| memory.status.as_ref())?;
        status.live.as_ref().filter(|known| {
            known.uid == live.uid && known.hash == live.hash && known.revision == live.revision
        })
    }
}
