//! The closed set of reason codes: every decision, refusal, wait and end names one of them.
//!
//! The same code appears in the answer to Alertmanager, in the log, in metrics, on the objects and in `ripcord
//! explain`. The list in `docs/reasons.md` is checked against this file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines the enum, its codes and its explanations in one place, so that none can be forgotten.
macro_rules! reasons {
    ($($(#[$attr:meta])* $variant:ident = $code:literal : $meaning:literal,)+) => {
        /// Why something was decided, refused, awaited or ended.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum Reason {
            $(
                #[doc = $meaning]
                #[serde(rename = $code)]
                $variant,
            )+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it appears everywhere outside the program.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// One sentence for people, used by `explain`, messages and the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

reasons! {
    // Deciding about an alert.
    Claimed = "claimed": "A rollback was claimed for the live release.",
    Joined = "joined": "The alert joined a rollback that is under way.",
    Known = "known": "This firing of the alert is already on record with the rollback.",
    LateCopy = "late_copy": "This firing is already on record as ended: the notification is a late copy.",
    ResolvedRecorded = "resolved_recorded": "The end of the alert was recorded with its rollback.",
    ResolvedUnknown = "resolved_unknown": "The alert ended and belongs to no rollback.",
    NoTrigger = "no_trigger": "No trigger of the policy matches the alert.",
    NoteOnly = "note_only": "The severity of the alert, or its trigger, asks for a note, not for a rollback.",
    Shadow = "shadow": "The trigger is in shadow mode: the rollback was planned and recorded, nothing was touched.",
    TargetUnknown = "target_unknown": "The labels of the alert name no target of the policy.",
    SeverityUnknown = "severity_unknown": "The label that carries the severity has a value that the policy does not map.",
    OtherCluster = "other_cluster": "The alert's cluster label names another cluster.",
    ProtectedNamespace = "protected_namespace": "The target's namespace is protected: Ripcord never acts there.",
    Held = "held": "The global hold is set: no rollback starts anywhere.",
    TargetHeld = "target_held": "A person holds this target.",
    HoldUnreadable = "hold_unreadable": "The global hold could not be read, which counts as held.",
    Duplicate = "duplicate": "A rollback away from this release already ran, or the alert began before it could show an effect.",
    Latched = "latched": "The target is latched: an earlier rollback failed or did not help, and a person has not acknowledged it.",
    NoRecentChange = "no_recent_change": "Nothing was released within the change window before the alert began, so a rollback would not be its cure.",
    NotThisRelease = "not_this_release": "The alert names another release than the one that would be pulled back.",
    WayBack = "way_back": "The live release was stable before: somebody has gone back to it already.",
    StillFiring = "still_firing": "The destination was proved healthy and the alert still fires: the release was not the cause.",
    ReleaseIsOurs = "release_is_ours": "The live release is one that Ripcord itself restored: it is never pulled back by itself.",
    AttemptsExhausted = "attempts_exhausted": "The cap on rollbacks of one release is reached.",
    NameTaken = "name_taken": "The rollback's name is taken by an object that belongs to another target.",
    WorkloadMissing = "workload_missing": "The target's workload does not exist.",
    WorkloadUnobserved = "workload_unobserved": "The controller has not observed the latest change of the workload, so the live release has no identity yet.",
    NotReady = "not_ready": "The caches of this replica are not filled yet, or not up to date.",
    Draining = "draining": "This replica is shutting down.",
    Unrecorded = "unrecorded": "The decision could not be recorded in the cluster.",

    // Admission by the leader.
    PermissionMissing = "permission_missing": "Ripcord's service account lacks a permission that the plan needs.",
    TooLate = "too_late": "The rollback could not begin within the time allowed after the alert was received.",
    ResolvedBeforeStart = "resolved_before_start": "Every alert ended before the first change was made.",
    NoDestination = "no_destination": "No release is known to be good and still restorable.",
    SpecInvalid = "spec_invalid": "The controller refuses the workload's spec, and does nothing until it is mended.",
    SelectorUnclear = "selector_unclear": "The Service selects the pods of none of the target's Deployments, or of both, or by a label that one of them lacks: it cannot be led from one to the other.",
    ServiceOfRollout = "service_of_rollout": "A Rollout leads the Service: its selector is the controller's, and never changed.",
    ScaledToZero = "scaled_to_zero": "The Deployment asks for no pods: nothing is served by it, and a Rollout may run its template.",
    DestinationSuspect = "destination_suspect": "The destination was reported as bad itself a short while ago.",
    DestinationBlamed = "destination_blamed": "The only destination was itself pulled back before.",
    OwnedElsewhere = "owned_elsewhere": "GitOps owns the workload's spec and would undo a restored template, and an abort does not help, because the release is promoted or the controller would not act on it: it must be reverted in Git.",
    TemplateElsewhere = "template_elsewhere": "The workload takes its template from another object (workloadRef), which this step does not restore.",
    NotApplicable = "procedure_not_applicable": "The procedure needs something that the target does not declare.",
    TargetGone = "target_gone": "The policy no longer has this target.",
    ProcedureUnknown = "procedure_unknown": "The policy has no such procedure.",
    AwaitingApproval = "awaiting_approval": "A person must approve the rollback before anything is touched.",
    Approved = "approved": "A person approved the rollback, and every guard was asked again on fresh facts.",
    ApprovalDenied = "approval_denied": "A person denied the rollback.",
    ApprovalExpired = "approval_expired": "Nobody approved the rollback in the time allowed for it.",
    ApprovalStale = "approval_stale": "What was approved is not what would be done now: it must be asked for again.",
    Admitted = "admitted": "Every guard was asked again on fresh facts and let the rollback pass.",
    Escalated = "escalated": "The revert failed, and the next procedure of the ladder was asked for.",
    DrillNotAllowed = "drill_not_allowed": "The policy does not allow drills with an effect on this target (`drill: allowed`).",
    NotAtRest = "not_at_rest": "A drill begins only where nothing is under way: no update, no pause, no open rollback, and nothing that an earlier drill left.",
    DrillUnfit = "drill_unfit": "The target is not fit for a drill: a check of `ripcord doctor` has failed.",
    NoDrill = "no_drill": "The live release is no drill's: it bears no mark, or differs from every other release in more than that.",
    RealAlert = "real_alert": "Something that is no drill is asked for on the target, and goes first.",
    NoRung = "no_rung": "The rollback does not follow one whose revert failed and whose plan asks for it.",

    // While a step runs.
    Restoring = "restoring": "The pinned template of the destination is written to the workload.",
    BringingUp = "bringing_up": "The pinned image of the destination is written to the workload, because no replica set of it is left.",
    Promoting = "promoting": "The full promotion of the destination was requested and is awaited.",
    Aborting = "aborting": "The abort of the update in flight was requested and is awaited.",
    Paused = "paused": "The workload was paused by its spec after the restore: whoever did that must release it.",
    ControllerLag = "controller_lag": "The controller has not observed the latest change yet.",
    Nudged = "nudged": "The controller seems to have missed a change: the workload was touched, so that it looks again.",
    Switching = "switching": "The Service's selector is led to the destination.",
    Scaling = "scaling": "A Deployment behind the Service is asked for another number of pods.",
    PodsRemaining = "pods_remaining": "Pods of the bad release still run: they could fill a cache again.",
    Flushing = "flushing": "The cache is being flushed.",
    Restarting = "restarting": "The restart of the destination's pods was asked for and is awaited.",
    Warming = "warming": "The destination's pods are being warmed up.",
    Executing = "executing": "A command runs in a container of the destination's pods.",
    Pausing = "pausing": "The procedure pauses.",
    PodsStarting = "pods_starting": "Destination pods are not all available yet.",
    TrafficMoving = "traffic_moving": "Pods of the bad release still take traffic.",
    Settling = "settling": "The workload has not reached its final state yet.",
    Sampling = "sampling": "Health samples are being collected.",
    Unhealthy = "unhealthy": "A destination pod or the shared address does not answer as healthy.",
    MetricBad = "metric_bad": "A number of Prometheus is not where the policy wants it.",
    MetricUnknown = "metric_unknown": "Prometheus gives no number: no data, several series, a query that it refuses, or no answer.",
    Retrying = "retrying": "A call failed and is tried again.",

    // How a step or a rollback ended.
    AlreadyThere = "already_there": "The workload already was at its destination: nothing was changed.",
    BroughtUp = "brought_up": "The controller has made a release of the pinned image.",
    Restored = "restored": "The destination is stable and takes all traffic.",
    Aborted = "aborted": "The update in flight is aborted and the stable release takes all traffic; the spec, which is GitOps's, still holds the bad one.",
    Gone = "gone": "No pod of the bad release runs any more.",
    Flushed = "flushed": "The cache was flushed.",
    Restarted = "restarted": "Every destination pod is from after the restart.",
    Scaled = "scaled": "The Deployment that was left asks for no more pods than the procedure says.",
    Ready = "ready": "The workload has all its pods, and they are available.",
    Warmed = "warmed": "Every destination pod answered the warm-up as it should.",
    Executed = "executed": "The command ended well in every pod that it was meant for.",
    PausedFor = "paused_for": "The pause is over.",
    Healthy = "healthy": "Every destination pod answered as healthy often enough in a row.",
    MetricGood = "metric_good": "The number was good often enough in a row.",
    NotChecked = "not_checked": "The release was not looked at after the end: Prometheus could not be asked, or nobody looked in time.",
    Done = "done": "Every step of the plan reached its state.",
    Overwritten = "overwritten": "What was restored or aborted was undone: somebody else owns the spec, or wants the bad release.",
    Diverged = "diverged": "The restored template became a release of its own instead of the pinned one.",
    NewRelease = "new_release": "Another release went live: a person or a pipeline acted, and theirs wins.",
    WorkloadGone = "workload_gone": "The workload was deleted or replaced during the rollback.",
    DestinationGone = "destination_gone": "The destination's replica set is gone or no longer the one that was pinned.",
    Rejected = "rejected": "The API server rejected the change for good.",
    Contended = "contended": "The change lost every race with other writers.",
    StepTimeout = "step_timeout": "The step did not reach its state in its time.",
    CacheUnreachable = "cache_unreachable": "The cache could not be flushed in time.",
    CacheRefused = "cache_refused": "The cache refused the flush, and will until somebody changes something.",
    WarmUpFailed = "warm_up_failed": "Not every destination pod answered the warm-up as it should in time.",
    CommandFailed = "command_failed": "The command ended with another exit code than 0, or did not say what it should.",
    CommandUnknown = "command_unknown": "No exit status of the command came back: nobody knows whether it was run, or with what end.",
    GaveUp = "gave_up": "The rollback did not end within the time after which it is given up.",
    Cancelled = "cancelled": "A person cancelled the rollback.",
    Deleted = "deleted": "The rollback's object was deleted while it ran.",
}

/// A reason together with what was observed when it was given.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Finding {
    /// The code. Any text in the schema, so that definitions from before a new code take it.
    #[schemars(with = "String")]
    pub reason: Reason,
    /// What was observed, in words for people; empty where the code says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Reason {
    /// Adds what was observed.
    #[must_use]
    pub fn because(self, said: impl Into<String>) -> Finding {
        Finding {
            reason: self,
            said: said.into(),
        }
    }
}

impl From<Reason> for Finding {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            said: String::new(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.said.is_empty() {
            f.write_str(self.reason.meaning())
        } else {
            f.write_str(&self.said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_what_serde_writes() {
        let mut seen = std::collections::BTreeSet::new();
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(seen.insert(code), "{code} stands twice");
            assert!(
                code.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{code}"
            );
            assert_eq!(serde_json::to_value(reason).unwrap(), code);
            assert!(reason.meaning().ends_with('.'), "{code}");
        }
    }
}
