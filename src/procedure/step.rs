//! What a step is, and the list of all steps.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Entry, exec, flush_redis, gone, healthy, http, metric, pause, restart, restore_image, revert,
    scale, switch_service, wait_ready,
};
use crate::reason::{Finding, Reason};
use crate::target::workload::Rollout;
use crate::target::{Effect, Kind, Probe, Release, Sighting, Snapshot, Target};

/// What a target needs whose steps lead a Service from one Deployment to another, as a key of the policy.
pub(super) const SERVICE: &str = "workload.service";
/// What one needs whose steps write to the workload's template.
pub(super) const OWN_TEMPLATE: &str = "workload.rollout` or `workload.deployment";

/// One unit that ensures an observable state, as a pure state machine.
pub trait Step {
    /// Everything that the step needs, resolved and frozen before anything is touched.
    type Plan;

    /// Resolves the plan.
    ///
    /// # Errors
    /// Why the step cannot run on this target.
    fn plan(
        &self,
        target: &Target,
        journey: &Journey,
        at: &Snapshot,
    ) -> Result<Self::Plan, Finding>;

    /// What the step needs of a target and the target does not declare, as a key of the policy.
    fn lacks(&self, _target: &Target) -> Option<String> {
        None
    }

    /// The target's command that it runs in pods, by its name: it takes a right of its own.
    fn command(&self) -> Option<&str> {
        None
    }

    /// What to look at besides the snapshot, now.
    fn probes(
        _plan: &Self::Plan,
        _at: &Snapshot,
        _seen: &[Sighting],
        _now: Timestamp,
    ) -> Vec<Probe> {
        Vec::new()
    }

    /// What should happen next.
    fn next(
        plan: &Self::Plan,
        at: &Snapshot,
        seen: &[Sighting],
        past: &Entry,
        now: Timestamp,
    ) -> Next;

    /// How many of the latest sightings of each thing `next` looks back on.
    fn looks_back(_plan: &Self::Plan) -> usize {
        1
    }

    /// Whether the rollback may be ended here without leaving the release in a worse state than before or after the step.
    fn safe_point(_plan: &Self::Plan, _at: &Snapshot) -> bool {
        true
    }

    /// The same while nobody can look, and a template that was asked for may be on its way to a promotion or not.
    fn safe_unseen(_plan: &Self::Plan) -> bool {
        true
    }
}

/// Where a rollback leads: fixed once, never resolved again.
#[derive(Clone, Debug, PartialEq)]
pub struct Journey {
    /// The id that goes with every change of a template.
    pub operation: String,
    /// The release that is pulled back.
    pub from: Release,
    /// The release to return to.
    pub to: Release,
    /// Whether any Service sent traffic to the workload when the plan was made.
    pub served: bool,
    /// Who owns the workload's spec and would undo a change of it.
    pub owner: Option<String>,
}

/// What a step wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Make this change.
    Do(Effect),
    /// Look again soon.
    Wait(Finding),
    /// The state is observed.
    Done(Finding),
    /// The state cannot be reached.
    Fail(Finding),
    /// Somebody else acted, and theirs wins.
    Yield(Finding),
}

/// The workload, and the hash under which the destination is live: its own, or the one that a restart gave it.
///
/// # Errors
/// What follows where the workload is gone or something else is live.
#[expect(
    clippy::result_large_err,
    reason = "what follows is passed on at once, and never kept"
)]
pub(super) fn there<'a>(
    at: &'a Snapshot,
    to: &'a Release,
    operation: &str,
) -> Result<(&'a Rollout, &'a str), Next> {
    let rollout = at
        .rollout
        .as_ref()
        .filter(|rollout| rollout.uid == to.uid && !rollout.deleting);
    let Some(rollout) = rollout else {
        return Err(Next::Fail(Reason::WorkloadGone.into()));
    };
    match at.arrived(to, operation) {
        Some(hash) => Ok((rollout, hash)),
        None if rollout.observed => {
            let live = at.release(rollout, &rollout.current);
            let said = format!("{live} is live instead of {to}");
            Err(Next::Yield(Reason::NewRelease.because(said)))
        }
        None => Ok((rollout, &to.hash)),
    }
}

/// Whether a target's workload is a Service that selects between two Deployments.
pub(super) fn of_service(target: &Target) -> bool {
    target.workload.kind == Kind::Service
}

/// Whether a step has had this much time. One in which nobody could look is not held against it.
pub(super) fn is_over(within: Duration, past: &Entry, now: Timestamp) -> bool {
    let started = past.watched.or(past.started).unwrap_or(now);
    now.duration_since(started) >= SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX)
}

/// Defines the enums over all steps and their dispatch: a new step is one file and one line here.
macro_rules! steps {
    ($($variant:ident = $name:literal in $module:ident,)+) => {
        /// A step as the policy asks for it.
        #[derive(Clone, Debug, Deserialize, PartialEq)]
        pub enum StepSpec {
            $(
                #[doc = concat!("See [`", stringify!($module), "`](super::", stringify!($module), ").")]
                #[serde(rename = $name)]
                $variant($module::$variant),
            )+
        }

        /// A step with everything that it needs, as it is frozen in a rollback's plan.
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
        pub enum StepPlan {
            $(
                #[doc = concat!("See [`", stringify!($module), "`](super::", stringify!($module), ").")]
                #[serde(rename = $name)]
                $variant($module::Plan),
            )+
        }

        impl StepSpec {
            /// The names of all steps that a procedure can use.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The step's name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// What a target does not declare and the step needs; see [`Step::lacks`].
            #[must_use]
            pub fn lacks(&self, target: &Target) -> Option<String> {
                match self { $(Self::$variant(step) => step.lacks(target),)+ }
            }

            /// The target's command that it runs in pods; see [`Step::command`].
            #[must_use]
            pub fn command(&self) -> Option<&str> {
                match self { $(Self::$variant(step) => step.command(),)+ }
            }

            /// The step's name, and that of the command that it runs.
            #[must_use]
            pub fn label(&self) -> String {
                let name = self.name();
                self.command().map_or_else(|| name.to_owned(), |it| format!("{name} ({it})"))
            }

            /// Resolves the step's plan; see [`Step::plan`].
            ///
            /// # Errors
            /// Why the step cannot run on this target.
            pub fn plan(&self, target: &Target, journey: &Journey, at: &Snapshot) -> Result<StepPlan, Finding> {
                match self { $(Self::$variant(step) => step.plan(target, journey, at).map(StepPlan::$variant),)+ }
            }
        }

        impl StepPlan {
            /// The step's name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// What to look at besides the snapshot, now; see [`Step::probes`].
            #[must_use]
            pub fn probes(&self, at: &Snapshot, seen: &[Sighting], now: Timestamp) -> Vec<Probe> {
                match self { $(Self::$variant(plan) => $module::$variant::probes(plan, at, seen, now),)+ }
            }

            /// How many of the latest sightings of each thing are looked back on; see [`Step::looks_back`].
            #[must_use]
            pub fn looks_back(&self) -> usize {
                match self { $(Self::$variant(plan) => $module::$variant::looks_back(plan),)+ }
            }

            /// What should happen next; see [`Step::next`].
            #[must_use]
            pub fn next(&self, at: &Snapshot, seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
                match self { $(Self::$variant(plan) => $module::$variant::next(plan, at, seen, past, now),)+ }
            }

            /// Whether the rollback may be ended here; see [`Step::safe_point`].
            #[must_use]
            pub fn safe_point(&self, at: &Snapshot) -> bool {
                match self { $(Self::$variant(plan) => $module::$variant::safe_point(plan, at),)+ }
            }

            /// Whether the rollback may be ended here while nobody can look; see [`Step::safe_unseen`].
            #[must_use]
            pub fn safe_unseen(&self) -> bool {
                match self { $(Self::$variant(plan) => $module::$variant::safe_unseen(plan),)+ }
            }
        }
    };
}

steps! {
    Revert = "revert" in revert,
    SwitchService = "switch-service" in switch_service,
    RestoreImage = "restore-image" in restore_image,
    Gone = "gone" in gone,
    FlushRedis = "flush-redis" in flush_redis,
    Restart = "restart" in restart,
    Scale = "scale" in scale,
    WaitReady = "wait-ready" in wait_ready,
    Http = "http" in http,
    Exec = "exec" in exec,
    Pause = "pause" in pause,
    Healthy = "healthy" in healthy,
    Metric = "metric" in metric,
}
