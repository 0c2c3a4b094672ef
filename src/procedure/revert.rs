//! `revert`: the destination's template is the workload's, it is stable, and it takes all traffic.
//!
//! One verb for every state (measured on the real controller): write the pinned template back. For an update in flight
//! or an aborted one the controller then skips its steps; after a promotion it would walk them, so a full promotion is
//! requested, and requested again until its effect is seen, because a status request may be lost to the controller's
//! own write. Only where GitOps owns the spec, and would undo what is written there, is it the other verb: see [`abort`].
//! Where a router splits the traffic of an update in flight, it is asked for first, once: the controller turns the traffic
//! one look earlier than for a template, which follows when the traffic has turned, after ten seconds,
//! or after one in which the controller has not acted on the abort. Nothing depends on it.
//!
//! Where a release is two Deployments and a Service, no template is written: the Service is led to the destination, as
//! [`switch_service`] has it.

mod abort;

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::{Journey, Next, Step};
use super::{Entry, switch_service};
use crate::reason::{Finding, Reason};
use crate::target::effect::EffectKind;
use crate::target::workload::{Rollout, Strategy};
use crate::target::{Effect, Release, Sighting, Snapshot, Target};

/// How long the controller may take to look at a restored template that no image tells from the one before.
const TAKEN_UP_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// How long an abort may take to turn a router's traffic before the template follows all the same.
const TURNED_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// How long the controller may take to act on it before that.
const ABORTED_WITHIN: SignedDuration = SignedDuration::from_secs(1);

/// How long the controller may take to see a change before it is made to look again. Argo Rollouts 1.9.1 can put an older
/// object over a newer one in its cache (measured: a third of the changes that came within 100 ms of its own write), and
/// then nothing happens until the workload changes again.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// The same for a promotion: it takes as long as the pods take to start, and looks the same until then.
const PROMOTED_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// The step as the policy asks for it; it takes no options.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Revert {}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    operation: String,
    from: Release,
    to: Release,
    replica_set: String,
    served: bool,
    /// Who owns the spec, where it is not to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// How the Service is led to the destination, where the workload is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    switch: Option<Box<switch_service::Plan>>,
}

impl Step for Revert {
    type Plan = Plan;

    fn plan(&self, _target: &Target, journey: &Journey, at: &Snapshot) -> Result<Plan, Finding> {
        let rollout = at.rollout.as_ref().ok_or(Reason::WorkloadMissing)?;
        if rollout.workload_ref {
            return Err(Reason::TemplateElsewhere.into());
        }
        let set = at.replica_set(&journey.to.hash);
        if set.is_none() && !journey.to.is_to_be_made() {
            return Err(Reason::NoDestination.because(format!(
                "the replica set of {} no longer exists",
                journey.to
            )));
        }
        let switch = match rollout.strategy {
            Strategy::Colours(_) => Some(Box::new(switch_service::Plan::make(journey, at, None)?)),
            _ => None,
        };
        Ok(Plan {
            operation: journey.operation.clone(),
            from: journey.from.clone(),
            to: journey.to.clone(),
            replica_set: set.map(|set| set.uid.clone()).unwrap_or_default(),
            served: journey.served,
            owner: journey.owner.clone(),
            switch,
        })
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        if let Some(switch) = &plan.switch {
            return switch.next(at, past, now);
        }
        let plan = plan.as_made(at);
        let plan = &*plan;
        let Some(rollout) = at
            .rollout
            .as_ref()
            .filter(|r| r.uid == plan.to.uid && !r.deleting)
        else {
            return Next::Fail(Reason::WorkloadGone.into());
        };
        let ours = rollout.operation.as_deref() == Some(plan.operation.as_str());
        if rollout.invalid.is_some() {
            let said = format!("the controller refuses the spec: {}", rollout.message);
            return Next::Wait(Reason::ControllerLag.because(said));
        }
        if !rollout.observed {
            let said = format!("generation {} is not observed yet", rollout.generation);
            return await_look(rollout, &said, past, now);
        }
        if rollout.current == plan.from.hash {
            return plan.leave(at, rollout, past, now);
        }
        if rollout.current != plan.to.hash {
            let live = at.release(rollout, &rollout.current);
            let restored = ours && live.revision == plan.from.revision + 1;
            if restored && !plan.to.images.is_empty() && live.images == plan.to.images {
                return Next::Fail(Reason::Diverged.because(format!(
                    "the template of {} was restored, and the controller made {live} of it, which is not promoted",
                    plan.to
                )));
            }
            return Next::Yield(Reason::NewRelease.because(format!(
                "{live} is live, neither {} nor {}",
                plan.from, plan.to
            )));
        }
        // The restore released what was paused before; a pause since is somebody's wish.
        if rollout.paused {
            return Next::Wait(Reason::Paused.because("the workload is paused by its spec"));
        }
        if rollout.stable != plan.to.hash && !rollout.is_deployment() {
            if let Some(owner) = &plan.owner {
                let said = format!(
                    "{owner} has brought {} back, which is not promoted",
                    plan.to
                );
                return Next::Yield(Reason::NewRelease.because(said));
            }
            return if rollout.promote_full {
                let said = format!("{} is being promoted", plan.to);
                await_controller(
                    rollout,
                    Reason::Promoting.because(said),
                    PROMOTED_WITHIN,
                    past,
                    now,
                )
            } else {
                Next::Do(Effect::PromoteFull {
                    hash: plan.to.hash.clone(),
                })
            };
        }
        if let Err(moving) = at.traffic_on(&plan.to.hash, plan.served) {
            return Next::Wait(moving);
        }
        if rollout.phase != "Healthy" || rollout.aborted {
            let said = format!(
                "all traffic is on {}, the workload is {} {}",
                plan.to, rollout.phase, rollout.message
            );
            return Next::Wait(Reason::Settling.because(said.trim_end()));
        }
        let reason = if past.attempts == 0 && !ours {
            Reason::AlreadyThere
        } else {
            Reason::Restored
        };
        let live = at.release(rollout, &rollout.current);
        Next::Done(reason.because(format!("all traffic is on {live}, the workload is Healthy")))
    }

    /// Between the restore and the promotion the bad release is still the stable one: ending there would leave the
    /// workload at the first pause of its steps. A Deployment goes on by itself, and a Service leads to one or the other.
    fn safe_point(plan: &Plan, at: &Snapshot) -> bool {
        let plan = plan.as_made(at);
        let plan = &*plan;
        let Some(rollout) = at.rollout.as_ref().filter(|_| plan.switch.is_none()) else {
            return true;
        };
        let restored = rollout.operation.as_deref() == Some(plan.operation.as_str());
        let goes_on = rollout.is_deployment() && rollout.current == plan.to.hash;
        let promoted = rollout.observed && (goes_on || rollout.stable == plan.to.hash);
        // Until the controller has looked at the restored template, the bad release still counts as the current one.
        let taken_up = rollout.observed && rollout.current != plan.from.hash;
        let put_back = rollout.observed && plan.put_back(rollout);
        !restored || promoted || put_back || (taken_up && rollout.current != plan.to.hash)
    }

    fn safe_unseen(plan: &Plan) -> bool {
        plan.switch.is_some()
    }
}

impl Plan {
    /// The plan with the hash of a destination that was made of its image, once it is live.
    fn as_made(&self, at: &Snapshot) -> Cow<'_, Self> {
        match at.arrived(&self.to, &self.operation) {
            Some(hash) if self.to.is_to_be_made() => {
                let mut made = self.clone();
                hash.clone_into(&mut made.to.hash);
                Cow::Owned(made)
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// What follows while the release to be left is live.
    fn leave(&self, at: &Snapshot, rollout: &Rollout, past: &Entry, now: Timestamp) -> Next {
        let ours = rollout.operation.as_deref() == Some(self.operation.as_str());
        if let Some(owner) = &self.owner {
            return self.abort(owner, at, rollout, past, now);
        }
        if let Some(next) = self.put_back_whole(rollout, past, ours) {
            return next;
        }
        if ours {
            return self.not_taken_up(rollout, past, now);
        }
        if let Some(next) = self.another_template(rollout, past, now) {
            return next;
        }
        if self.to.is_to_be_made() {
            let said = format!("{} was made, and {} is live again", self.to, self.from);
            return Next::Fail(Reason::Overwritten.because(said));
        }
        let pinned = at
            .replica_set(&self.to.hash)
            .filter(|set| set.uid == self.replica_set);
        let Some(set) = pinned else {
            return Next::Fail(Reason::DestinationGone.into());
        };
        if let Some(weight) = turning(rollout, past, now) {
            let said = format!(
                "{} is aborted, and the router still sends weight {weight} to it",
                self.from
            );
            return Next::Wait(Reason::TrafficMoving.because(said));
        }
        if past.attempts == 0 && self.turns_sooner(rollout) {
            return Next::Do(Effect::Abort {
                hash: self.from.hash.clone(),
            });
        }
        Next::Do(Effect::RestoreTemplate {
            hash: set.hash.clone(),
            replica_set: set.uid.clone(),
            unpause: rollout.paused,
        })
    }

    /// Whether an abort takes the traffic off the release before a template can.
    fn turns_sooner(&self, rollout: &Rollout) -> bool {
        let routed = matches!(rollout.strategy, Strategy::Canary { routed: true, .. });
        routed && rollout.stable == self.to.hash && rollout.abortable().is_ok() && !rollout.aborted
    }

    /// Whether the spec shows the template of the release that was left.
    fn put_back(&self, rollout: &Rollout) -> bool {
        differ(&rollout.images, &self.to.images) && !differ(&rollout.images, &self.from.images)
    }

    /// A Deployment's live release is the template in its spec. Where that is the one to be left, after it was restored or
    /// under another revision, somebody put it back. An `undo` of kubectl takes the operation's mark away as well.
    fn put_back_whole(&self, rollout: &Rollout, past: &Entry, ours: bool) -> Option<Next> {
        let confirmed = past
            .intent
            .as_ref()
            .is_some_and(|it| it.confirmed.is_some());
        let again = rollout.revision != self.from.revision;
        if !rollout.is_deployment() || !(ours || confirmed || again) {
            return None;
        }
        Some(if ours || confirmed || past.attempts > 0 {
            Next::Fail(Reason::Overwritten.because(format!(
                "the template of {} was restored, and {} is live again: somebody put it back",
                self.to, self.from
            )))
        } else {
            let said = format!("{} was deployed again", self.from);
            Next::Yield(Reason::NewRelease.because(said))
        })
    }

    /// The template was restored, and the release that was left counts as live. The controller can write down that it
    /// observed a generation before it looks at its template (measured: while a pause or a scaling is handled, or the spec
    /// is invalid), so that this says nothing by itself.
    fn not_taken_up(&self, rollout: &Rollout, past: &Entry, now: Timestamp) -> Next {
        let since = asked(past).unwrap_or(now);
        let promoting = past
            .intent
            .as_ref()
            .is_some_and(|intent| intent.effect == EffectKind::PromoteFull);
        let put_back = self.put_back(rollout);
        let in_doubt = !differ(&self.from.images, &self.to.images);
        let late = now.duration_since(since) >= TAKEN_UP_WITHIN;
        if put_back || promoting || (in_doubt && late) {
            return Next::Fail(Reason::Overwritten.because(format!(
                "the template of {} was restored, and {} is live again: its owner (GitOps?) put it back",
                self.to, self.from
            )));
        }
        let said = "the controller has not looked at the restored template yet";
        await_look(rollout, said, past, now)
    }

    /// The wait for a controller that has not looked at the template in the spec, where that is not the release to be left.
    fn another_template(&self, rollout: &Rollout, past: &Entry, now: Timestamp) -> Option<Next> {
        let said = format!("the spec holds another template than {}", self.from);
        differ(&rollout.images, &self.from.images).then(|| await_look(rollout, &said, past, now))
    }
}

/// Waits until the controller looks at the spec.
pub(super) fn await_look(rollout: &Rollout, said: &str, past: &Entry, now: Timestamp) -> Next {
    let finding = Reason::ControllerLag.because(said);
    await_controller(rollout, finding, SEEN_WITHIN, past, now)
}

/// The canary's weight, while the controller takes it away because of our abort. A template would make it begin again.
fn turning(rollout: &Rollout, past: &Entry, now: Timestamp) -> Option<i64> {
    let intent = past.intent.as_ref();
    let aborted = intent.is_some_and(|it| it.effect == EffectKind::Abort) && rollout.aborted;
    // Until the controller has acted, the abort in the status is our own write, and may be lost on it.
    let within = if rollout.aborted_at.is_some() {
        TURNED_WITHIN
    } else {
        ABORTED_WITHIN
    };
    let lately = asked(past).is_some_and(|at| now.duration_since(at) < within);
    match rollout.strategy {
        Strategy::Canary {
            routed: true,
            canary_weight: Some(weight),
            ..
        } if weight > 0 && aborted && lately => Some(weight),
        _ => None,
    }
}

/// When a change was asked for, as far as that is known: putting it on record first can take long.
fn asked(past: &Entry) -> Option<Timestamp> {
    let intent = past.intent.as_ref()?;
    Some(intent.confirmed.unwrap_or(intent.at))
}

/// Waits for the controller to act on what was asked for, and makes it look again when that takes longer than `within`: each
/// time after twice as long. The controller of Deployments misses nothing.
fn await_controller(
    rollout: &Rollout,
    finding: Finding,
    within: SignedDuration,
    past: &Entry,
    now: Timestamp,
) -> Next {
    let intended = asked(past);
    let started = past.started.unwrap_or(now);
    let last = intended.max(past.nudged).unwrap_or(started);
    let waited = now.duration_since(last);
    let before = last.duration_since(started);
    if waited >= within.max(before) && !rollout.is_deployment() {
        Next::Do(Effect::Nudge)
    } else {
        Next::Wait(finding)
    }
}

/// Whether two lists of images are known and not the same.
fn differ(one: &[String], other: &[String]) -> bool {
    !one.is_empty() && !other.is_empty() && one != other
}

#[cfg(test)]
#[path = "revert/tests.rs"]
mod tests;
