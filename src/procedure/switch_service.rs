//! `switch-service`: the Service selects the destination's Deployment, and all its traffic is on ready pods of it.
//!
//! What `revert` does where a release is two Deployments and a Service, with a limit of its own for how long the destination
//! may take to be ready. The destination is proved before the Service leads there: it is asked for as many pods as the live
//! release asks for, and all of them are ready. Then the values of the selector that differ are replaced, in one write that
//! tests the whole selector. No key is added, nothing is scaled down, and no template is written.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, SERVICE, Step, is_over, of_service};
use crate::reason::{Finding, Reason};
use crate::target::effect::EffectKind;
use crate::target::snapshot::pods_text;
use crate::target::workload::{Rollout, Strategy};
use crate::target::{Colour, Colours, Effect, Release, Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchService {
    /// How long the destination may take to be ready.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    operation: String,
    from: Release,
    to: Release,
    service: String,
    /// The destination's Deployment.
    deployment: String,
    uid: String,
    /// How many pods it asked for when the plan was made.
    found: i32,
    /// How many of its pods are ready before the Service leads there.
    replicas: i32,
    /// The selector when the plan was made: what a person would put back.
    selector: BTreeMap<String, String>,
    /// How long the destination may take to be ready, where that is limited.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    within: Option<Duration>,
}

impl Default for SwitchService {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(120),
        }
    }
}

impl Step for SwitchService {
    type Plan = Plan;

    fn plan(&self, _target: &Target, journey: &Journey, at: &Snapshot) -> Result<Plan, Finding> {
        Plan::make(journey, at, Some(self.within))
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        (!of_service(target)).then(|| SERVICE.to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        plan.next(at, past, now)
    }
}

impl Plan {
    /// Where the Service is led, and how many pods must be ready there first: as many as serve now.
    pub(super) fn make(
        journey: &Journey,
        at: &Snapshot,
        within: Option<Duration>,
    ) -> Result<Self, Finding> {
        let rollout = at.rollout.as_ref().ok_or(Reason::WorkloadMissing)?;
        let Strategy::Colours(colours) = &rollout.strategy else {
            let said = "no Service selects between Deployments there";
            return Err(Reason::NotApplicable.because(said));
        };
        if let Some(owner) = &journey.owner {
            let said = format!("the Service's selector would be written, which is {owner}'s");
            return Err(Reason::OwnedElsewhere.because(said));
        }
        let Some(colour) = colours.of(&journey.to.hash) else {
            let said = format!("no Deployment behind the Service has {}", journey.to);
            return Err(Reason::NoDestination.because(said));
        };
        colours.leading_to(colour)?;
        Ok(Self {
            operation: journey.operation.clone(),
            from: journey.from.clone(),
            to: journey.to.clone(),
            service: colours.service.clone(),
            deployment: colour.name.clone(),
            uid: colour.uid.clone(),
            found: colour.replicas,
            replicas: rollout.replicas.max(1),
            selector: colours.selector.clone(),
            within,
        })
    }

    /// What should happen next.
    pub(super) fn next(&self, at: &Snapshot, past: &Entry, now: Timestamp) -> Next {
        let rollout = at.rollout.as_ref();
        let rollout = rollout.filter(|it| it.uid == self.to.uid && !it.deleting);
        let Some(rollout) = rollout else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        let Strategy::Colours(colours) = &rollout.strategy else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        if rollout.invalid.is_some() {
            return Next::Yield(Reason::NewRelease.because(rollout.message.as_str()));
        }
        if !rollout.observed {
            let said = "the controller has not observed the latest change of the live Deployment";
            return Next::Wait(Reason::ControllerLag.because(said));
        }
        if rollout.current == self.to.hash {
            return self.proved(at, rollout, past);
        }
        if rollout.current != self.from.hash {
            let live = at.release(rollout, &rollout.current);
            let said = format!("{live} is live, neither {} nor {}", self.from, self.to);
            return Next::Yield(Reason::NewRelease.because(said));
        }
        let intent = past.intent.as_ref();
        let switched = intent
            .is_some_and(|it| it.effect == EffectKind::SwitchService && it.confirmed.is_some());
        if switched || rollout.operation.as_deref() == Some(self.operation.as_str()) {
            return Next::Fail(Reason::Overwritten.because(format!(
                "Service {} was led to {}, and selects {} again: somebody switched it back",
                self.service, self.to, self.from
            )));
        }
        self.leave(at, colours, past, now)
    }

    /// What follows while the release to be left is selected: the destination is made ready, and then switched to.
    fn leave(&self, at: &Snapshot, colours: &Colours, past: &Entry, now: Timestamp) -> Next {
        let gone = |said: String| Next::Fail(Reason::DestinationGone.because(said));
        let Some(colour) = colours.named(&self.deployment, &self.uid) else {
            return gone(format!("Deployment {} was deleted", self.deployment));
        };
        if !colour.observed {
            let said = format!(
                "the controller has not observed the latest change of Deployment {}",
                colour.name
            );
            return Next::Wait(Reason::ControllerLag.because(said));
        }
        if colour.hash != self.to.hash {
            return gone(format!(
                "Deployment {} holds {} by now, not {}",
                colour.name, colour.hash, self.to
            ));
        }
        if colour.replicas < self.replicas {
            return scale(colour, self.replicas, past);
        }
        let ready = at.pods_of(&self.to.hash).filter(|pod| pod.ready).count();
        let available = at.replica_set(&self.to.hash).map_or(0, |set| set.available);
        let wanted = usize::try_from(self.replicas).unwrap_or(0);
        if ready < wanted || available < self.replicas {
            let said = format!(
                "{ready} of {wanted} pods of {} are ready and {available} available, and Service {} still selects {}",
                self.to, self.service, self.from
            );
            return match self.within {
                Some(within) if is_over(within, past, now) => {
                    Next::Fail(Reason::StepTimeout.because(format!("{said}, after {within:?}")))
                }
                _ => Next::Wait(Reason::PodsStarting.because(said)),
            };
        }
        match colours.leading_to(colour) {
            Ok(keys) => Next::Do(Effect::SwitchService {
                selector: colours.selector.clone(),
                keys,
            }),
            Err(finding) => Next::Fail(finding),
        }
    }

    /// What follows once the destination is selected.
    fn proved(&self, at: &Snapshot, rollout: &Rollout, past: &Entry) -> Next {
        if let Err(moving) = at.traffic_on(&self.to.hash, true) {
            return Next::Wait(moving);
        }
        let behind = |name: &str| {
            let mut endpoints = at.endpoints.iter();
            endpoints.any(|it| it.ready && it.service == self.service && it.pod == name)
        };
        let reached = at.pods_of(&self.to.hash).filter(|pod| behind(&pod.name));
        let reached = reached.count();
        // Whoever scales it down meanwhile wants fewer.
        let wanted = usize::try_from(self.replicas.min(rollout.replicas)).unwrap_or(0);
        if reached < wanted {
            return Next::Wait(Reason::TrafficMoving.because(format!(
                "{reached} of {wanted} pods of {} are behind Service {}",
                self.to, self.service
            )));
        }
        if rollout.phase != "Healthy" {
            return Next::Wait(Reason::Settling.because(format!(
                "all traffic is on {}, whose Deployment is {}",
                self.to, rollout.phase
            )));
        }
        let ours = rollout.operation.as_deref() == Some(self.operation.as_str());
        let reason = if past.attempts == 0 && !ours {
            Reason::AlreadyThere
        } else {
            Reason::Restored
        };
        Next::Done(reason.because(format!(
            "Service {} selects {}, with {} ready behind it",
            self.service,
            self.to,
            pods_text(reached)
        )))
    }
}

/// Asks a Deployment for another number of pods, once: what was undone since is somebody's wish.
pub(super) fn scale(colour: &Colour, to: i32, past: &Entry) -> Next {
    let intent = past.intent.as_ref();
    let in_doubt =
        intent.is_some_and(|it| it.effect == EffectKind::Scale && it.confirmed.is_none());
    if past.scaled.is_some() && !in_doubt {
        return Next::Fail(Reason::Overwritten.because(format!(
            "Deployment {} was asked for {to} pods, and asks for {} again: somebody scaled it",
            colour.name, colour.replicas
        )));
    }
    Next::Do(Effect::Scale {
        deployment: colour.name.clone(),
        uid: colour.uid.clone(),
        version: colour.version.clone(),
        from: colour.replicas,
        to,
    })
}

#[cfg(test)]
#[path = "switch_service/tests.rs"]
mod tests;
