//! Whether a drill may begin, and where one that begins leads: back to the release that it was made of, and nowhere else.
//!
//! A drill is judged more strictly than an alert, and takes nothing from one: for an alert a drill's release counts as the one
//! that it was made of.

use super::guard::Facts;
use crate::reason::{Finding, Reason};
use crate::rollback::Rollback;
use crate::rollback::history::Destination;
use crate::target::{Drills, Kind, Pin, Release, Snapshot, Target};

impl Facts<'_> {
    /// Whether a release may be shipped to this target only to be pulled back: the live one, by name.
    ///
    /// # Errors
    /// Why not.
    pub fn drillable(&self, target: &Target, at: &Snapshot) -> Result<Release, Finding> {
        allowed(target)?;
        self.policy.unprotected(target)?;
        self.held()?;
        self.latched()?;
        let rollout = self.rollout.filter(|it| !it.deleting);
        let rollout = rollout.ok_or_else(|| {
            Reason::WorkloadMissing.because(format!("{} does not exist", target.workload))
        })?;
        let Some(live) = self.live.clone() else {
            return Err(Reason::WorkloadUnobserved.because(format!(
                "the controller has not observed generation {}",
                rollout.generation
            )));
        };
        self.valid()?;
        self.serving()?;
        if rollout.workload_ref {
            return Err(Reason::TemplateElsewhere.into());
        }
        if let Some(owner) = target.owner(rollout) {
            let said = format!("{owner} owns the spec, and would take the drill's mark away");
            return Err(Reason::OwnedElsewhere.because(said));
        }
        let open = |it: &&_| Rollback::is_open(it);
        if let Some(open) = self.rollbacks.iter().map(AsRef::as_ref).find(open) {
            let said = format!("{} is {}", open.full_name(), open.phase().name());
            return Err(Reason::NotAtRest.because(said));
        }
        if let Some(id) = &rollout.drill {
            let said =
                format!("the template bears the mark of drill {id}, which was not taken back");
            return Err(Reason::NotAtRest.because(said));
        }
        if rollout.in_flight() || rollout.stable.is_empty() {
            return Err(Reason::NotAtRest
                .because(format!("an update is in flight, phase {}", rollout.phase)));
        }
        if rollout.paused {
            return Err(Reason::NotAtRest.because("the workload is paused by its spec"));
        }
        if rollout.phase != "Healthy" {
            let said = format!("the workload is {} {}", rollout.phase, rollout.message);
            return Err(Reason::NotAtRest.because(said.trim_end()));
        }
        self.comes_back(target, &live)?;
        if at.replica_set(&live.hash).is_none() {
            return Err(Reason::NoDestination.because(format!("{live} has no replica set")));
        }
        Ok(live)
    }

    /// Whether a rollback from a drill's release would be one to the release that is live before it, as an alert's would.
    fn comes_back(&self, target: &Target, live: &Release) -> Result<(), Finding> {
        let status = self.memory.and_then(|memory| memory.status.as_ref());
        if status.is_some_and(|status| status.blames(&live.hash)) {
            let said = format!("{live} was pulled back itself");
            return Err(Reason::DestinationBlamed.because(said));
        }
        match &target.known_good {
            Some(Pin::Hash(hash)) if *hash != live.hash => {
                let said = format!("the policy pins {hash}, and {live} is live");
                Err(Reason::NoDestination.because(said))
            }
            Some(Pin::Revision(revision)) => {
                let said = format!(
                    "the policy pins revision {revision}, and what comes back from a drill has another"
                );
                Err(Reason::NoDestination.because(said))
            }
            Some(Pin::Hash(_) | Pin::Image(_)) | None => Ok(()),
        }
    }

    /// Where a drill leads; none for what is no drill. It is a request by hand, and asked what such a one is asked.
    ///
    /// # Errors
    /// That it is not allowed, or that the live release is none that a drill made.
    pub(super) fn judge_drill(
        &self,
        rollback: &Rollback,
        target: &Target,
        at: &Snapshot,
    ) -> Result<Option<Destination>, Finding> {
        if !rollback.spec.drill {
            return Ok(None);
        }
        allowed(target)?;
        if !rollback.spec.alerts.is_empty() {
            return Err(Reason::NoDrill.because("no alert asks for a drill"));
        }
        let rollout = self.rollout.ok_or(Reason::WorkloadMissing)?;
        if let Some(owner) = target.owner(rollout) {
            let said = format!("{owner} owns the spec");
            return Err(Reason::OwnedElsewhere.because(said));
        }
        let Some(twin) = at.drilled() else {
            let said = "no drill made the live release, or it differs in more than its mark";
            return Err(Reason::NoDrill.because(said));
        };
        let release = at.release(rollout, &twin.of);
        Ok(Some(Destination {
            chosen: format!("drill {} was made of it", twin.id),
            release,
        }))
    }

    /// Whether what an alert asked for is live still, and was only given another hash by a drill that began or ended since.
    pub(super) fn moved_by_a_drill(
        &self,
        rollback: &Rollback,
        wanted: &Release,
        live: &Release,
    ) -> bool {
        !rollback.spec.drill
            && wanted.uid == live.uid
            && wanted.hash != live.hash
            && self.same(&wanted.hash, &live.hash)
    }
}

fn allowed(target: &Target) -> Result<(), Finding> {
    match target.drills {
        Drills::Allowed if target.workload.kind == Kind::Service => {
            Err(Reason::DrillNotAllowed.because(format!(
                "{} selects one of two Deployments: there is no release of it that could be shipped",
                target.workload
            )))
        }
        Drills::Allowed => Ok(()),
        Drills::Refused => Err(Reason::DrillNotAllowed.because(format!(
            "the policy does not say `drill: allowed` of target {}",
            target.name
        ))),
    }
}

#[cfg(test)]
#[path = "drill/tests.rs"]
mod tests;
