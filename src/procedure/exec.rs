//! `exec`: a command of the target's has ended well in a container of the destination's pods: in one of them, or in each; or in
//! one of other pods, by the labels that the command has.
//!
//! It is run in one pod after the other, and in each pod once: which pods it has ended well in is on record, so that whoever
//! goes on after a crash goes on with the others. Where it is not known whether it was run, it is run again only if the policy
//! says that it may be (`repeatable`); else the step fails and says so. It refuses to take anything but an exit status for an
//! end, and to run in a pod of another release.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step, is_over, there};
use crate::reason::{Finding, Reason};
use crate::target::command::Place;
use crate::target::effect::Verdict;
use crate::target::snapshot::{Pod, pods_text};
use crate::target::{Command, Effect, Exec as Run, Release, Sighting, Snapshot, Target};

/// How long after a try that failed the command is run again.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Which of the target's commands is run.
    pub command: String,
    /// In which pods.
    #[serde(default, rename = "in")]
    pub pods: Pods,
    /// How long the step may take.
    #[serde(default = "Exec::default_within", with = "humantime_serde")]
    pub within: Duration,
}

/// In which pods a command is run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pods {
    /// In each of the destination's, one after the other.
    #[default]
    Every,
    /// In one of the destination's, for what they share.
    One,
    /// In one of those that the command's own labels select, such as a cache's.
    Other,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    to: Release,
    operation: String,
    name: String,
    command: Command,
    pods: Pods,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

// === impl Exec ===

impl Exec {
    fn default_within() -> Duration {
        Duration::from_secs(120)
    }

    /// Where the target declares the command.
    fn key(&self) -> String {
        format!("commands.{}", self.command)
    }
}

impl Step for Exec {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        let lacking = |what: String| {
            Reason::NotApplicable.because(format!(
                "target {} declares no `{what}`, which step `exec` needs",
                target.name
            ))
        };
        if let Some(what) = self.lacks(target) {
            return Err(lacking(what));
        }
        let command = target.commands.get(&self.command);
        let command = command.ok_or_else(|| lacking(self.key()))?;
        Ok(Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            name: self.command.clone(),
            command: command.clone(),
            pods: self.pods,
            within: self.within,
        })
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        let Some(command) = target.commands.get(&self.command) else {
            return Some(self.key());
        };
        match (self.pods, &command.selector) {
            (Pods::Other, None) => Some(format!("{}.selector", self.key())),
            (Pods::Every | Pods::One, Some(_)) => {
                Some(format!("{} without a selector", self.key()))
            }
            _ => None,
        }
    }

    fn command(&self) -> Option<&str> {
        Some(&self.command)
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let last = match Last::of(plan, past) {
            Ok(last) => last,
            Err(finding) => return Next::Fail(finding),
        };
        if plan.pods != Pods::Every && !past.done.is_empty() {
            return Next::Done(ended(plan, past, 1));
        }
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let mut pods: Vec<&Pod> = at.pods_of(hash).collect();
        pods.sort_by_key(|pod| &pod.name);
        let wanted = match plan.pods {
            Pods::Every => usize::try_from(rollout.replicas)
                .unwrap_or(0)
                .max(pods.len()),
            Pods::One | Pods::Other => 1,
        };
        let is_done = |pod: &&&Pod| past.done.contains(&pod.name);
        let done = pods.iter().filter(is_done).count();
        if done >= wanted {
            return Next::Done(ended(plan, past, done));
        }
        let told = format!(
            "`{}` ended well in {done} of {}",
            plan.name,
            pods_text(wanted)
        );
        if is_over(plan.within, past, now) {
            return Next::Fail(match last {
                Some(Last { finding, .. }) if finding.reason != Reason::Retrying => finding,
                Some(Last { finding, .. }) => Reason::StepTimeout
                    .because(format!("{told}, after {:?}: {}", plan.within, finding.said)),
                None => Reason::StepTimeout.because(format!("{told}, after {:?}", plan.within)),
            });
        }
        if let Some(last) = last.filter(|last| now.duration_since(last.at) < AGAIN) {
            return Next::Wait(Reason::Retrying.because(last.finding.said));
        }
        let mut left = pods.iter().filter(|pod| !is_done(pod) && pod.ready);
        let place = match plan.pods {
            Pods::Every | Pods::One => left.next().map(|pod| Place::Pod(pod.name.clone())),
            Pods::Other => plan.command.selector.clone().map(Place::OneOf),
        };
        match place {
            Some(place) => Next::Do(Effect::Exec(Run {
                name: plan.name.clone(),
                place,
                command: plan.command.clone(),
            })),
            None => Next::Wait(Reason::PodsStarting.because(format!("{told}; no other is ready"))),
        }
    }
}

/// A try that did not end well, and that may be made again.
struct Last {
    at: Timestamp,
    finding: Finding,
}

impl Last {
    /// What became of the last try, if it did not end well.
    ///
    /// # Errors
    /// Why there is no other try.
    fn of(plan: &Plan, past: &Entry) -> Result<Option<Self>, Finding> {
        let Some(intent) = &past.intent else {
            return Ok(None);
        };
        let finding = match &intent.outcome {
            None => {
                let pod = intent.of.as_deref().unwrap_or("a pod");
                Reason::CommandUnknown.because(format!(
                    "`{}` was begun in {pod}, and who began it was gone before its end came",
                    plan.name
                ))
            }
            Some(outcome) => match outcome.verdict {
                Verdict::Done => return Ok(None),
                Verdict::Refused => return Err(Reason::Rejected.because(&outcome.said)),
                Verdict::NotBegun => Reason::Retrying.because(&outcome.said),
                Verdict::Failed => Reason::CommandFailed.because(&outcome.said),
                Verdict::Unknown => Reason::CommandUnknown.because(&outcome.said),
            },
        };
        if finding.reason == Reason::Retrying || plan.command.repeatable {
            let at = intent.at;
            return Ok(Some(Self { at, finding }));
        }
        // Its own words come last: messages are cut.
        let done = match past.done.len() {
            0 => String::new(),
            done => format!("after it ended well in {}, ", pods_text(done)),
        };
        Err(finding.reason.because(format!(
            "{done}not run again, as the policy does not call it repeatable: {}",
            finding.said
        )))
    }
}

/// That it ended well, with the words of the last one, and whether it was begun more often.
fn ended(plan: &Plan, past: &Entry, pods: usize) -> Finding {
    let last = past.intent.as_ref().and_then(|it| it.outcome.as_ref());
    let last = last.map_or_else(String::new, |it| format!("; the last: {}", it.said));
    let begun = usize::try_from(past.attempts).unwrap_or(0);
    let repeats = if begun > past.done.len() {
        format!("; it was begun {begun} times, because an answer was lost or a try failed")
    } else {
        String::new()
    };
    let said = format!(
        "`{}` ended well in {}{last}{repeats}",
        plan.name,
        pods_text(pods)
    );
    Reason::Executed.because(said)
}

#[cfg(test)]
#[path = "exec/tests.rs"]
mod tests;
