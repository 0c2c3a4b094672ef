//! `restore-image`: where no replica set of the known good release is left, the image that the policy pins by its digest is
//! put into the live template, and the controller has made a release of it. `revert` leads the traffic there afterwards.
//!
//! It does nothing while a replica set is left: `revert` restores a whole template then, which is better. What else a
//! template holds (variables, secrets, limits) stays as the bad release has it. It scales nothing, and never writes an image
//! that somebody could move.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::revert::await_look;
use super::step::{Journey, Next, OWN_TEMPLATE, Step, of_service};
use crate::reason::{Finding, Reason};
use crate::target::release::Image;
use crate::target::{Effect, Pin, Release, Sighting, Snapshot, Target, template};

/// The step as the policy asks for it; it takes no options.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RestoreImage {}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    operation: String,
    from: Release,
    to: Release,
    /// What is to be put into the live template; none where a replica set is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Image>,
}

impl Step for RestoreImage {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, at: &Snapshot) -> Result<Plan, Finding> {
        let rollout = at.rollout.as_ref().ok_or(Reason::WorkloadMissing)?;
        if self.lacks(target).is_some() {
            let said = "the step `restore-image` writes to a template, and those behind a Service are left alone";
            return Err(Reason::NotApplicable.because(said));
        }
        if rollout.workload_ref {
            return Err(Reason::TemplateElsewhere.into());
        }
        let image = match &target.known_good {
            Some(Pin::Image(image)) if journey.to.is_to_be_made() => Some(image.clone()),
            _ => None,
        };
        if image.is_some()
            && let Some(owner) = &journey.owner
        {
            let said =
                format!("the step `restore-image` would write to the spec, which is {owner}'s");
            return Err(Reason::OwnedElsewhere.because(said));
        }
        Ok(Plan {
            operation: journey.operation.clone(),
            from: journey.from.clone(),
            to: journey.to.clone(),
            image,
        })
    }

    /// It writes to a template, and the templates behind a Service are left alone.
    fn lacks(&self, target: &Target) -> Option<String> {
        of_service(target).then(|| OWN_TEMPLATE.to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let rollout = at
            .rollout
            .as_ref()
            .filter(|it| it.uid == plan.to.uid && !it.deleting);
        let Some(rollout) = rollout else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        let Some(image) = &plan.image else {
            let said = format!(
                "{} has a replica set: its whole template can be restored",
                plan.to
            );
            return Next::Done(Reason::AlreadyThere.because(said));
        };
        if rollout.invalid.is_some() {
            let said = format!("the controller refuses the spec: {}", rollout.message);
            return Next::Wait(Reason::ControllerLag.because(said));
        }
        if !rollout.observed {
            let said = format!("generation {} is not observed yet", rollout.generation);
            return await_look(rollout, &said, past, now);
        }
        if let Some(hash) = at.arrived(&plan.to, &plan.operation) {
            let said = format!("r{} {hash} is made, with {image}", rollout.revision);
            return Next::Done(Reason::BroughtUp.because(said));
        }
        if rollout.current != plan.from.hash {
            let live = at.release(rollout, &rollout.current);
            let said = format!("{live} is live, neither {} nor {}", plan.from, plan.to);
            return Next::Yield(Reason::NewRelease.because(said));
        }
        let ours = rollout.operation.as_deref() == Some(plan.operation.as_str());
        let confirmed = past
            .intent
            .as_ref()
            .is_some_and(|it| it.confirmed.is_some());
        if (ours || confirmed) && rollout.images == plan.from.images {
            let said = format!(
                "{image} was put in, and {} is live again: somebody put it back",
                plan.from
            );
            return Next::Fail(Reason::Overwritten.because(said));
        }
        if ours {
            let said = "the controller has not looked at the new image yet";
            return await_look(rollout, said, past, now);
        }
        let live = at.replica_set(&plan.from.hash);
        let found = live.and_then(|set| template::container(&set.template, &image.container));
        if found.is_none() {
            let said = format!("the live template has no container {}", image.container);
            return Next::Fail(Reason::DestinationGone.because(said));
        }
        Next::Do(Effect::SetImage {
            image: image.clone(),
            unpause: rollout.paused,
        })
    }

    /// Once the image is in, the bad release still is the stable one until the promotion. A Deployment goes on by itself.
    fn safe_point(plan: &Plan, at: &Snapshot) -> bool {
        let Some(rollout) = at.rollout.as_ref().filter(|it| !it.is_deployment()) else {
            return true;
        };
        let ours = rollout.operation.as_deref() == Some(plan.operation.as_str());
        plan.image.is_none() || !ours || rollout.images == plan.from.images
    }

    fn safe_unseen(plan: &Plan) -> bool {
        plan.image.is_none()
    }
}

#[cfg(test)]
#[path = "restore_image/tests.rs"]
mod tests;
