//! One target: its workload, the release that could be gone back to, who owns the spec, and what keeps anything from starting.
//!
//! It judges a deployment that has not begun: while one is in flight, it says so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

use super::check::{Check, Expected, Section, expect};
use super::ground::Ground;
use super::{around, drilled, health};
use crate::cli::reach;
use crate::cluster::Error;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rollback::history::rough;
use crate::rollback::{Memory, MemoryStatus, Rollback};
use crate::target::snapshot::pods_text;
use crate::target::workload::Rollout;
use crate::target::{Kind, Pin, Snapshot, Target, template};

/// How long the controller may take to observe a change.
const OBSERVES: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// What was read of a target.
pub(super) struct Seen {
    pub(super) at: Snapshot,
    pub(super) memory: Option<Memory>,
    pub(super) rollbacks: Vec<Rollback>,
    pub(super) now: Timestamp,
}

/// Looks at one target, and at these further health paths.
pub(in crate::cli) async fn section(
    ground: &Ground<'_>,
    target: &Target,
    also: &[String],
) -> Section {
    let title = format!("target {} ({})", target.name, target.workload);
    let checks = match read(ground, target).await {
        Ok(seen) => {
            let mut checks = seen.judge(ground.policy, target);
            checks.extend(drilled::seen(&seen, target, ground.drilled_within));
            let (health, redis) = tokio::join!(
                health::checks(ground, target, &seen, also),
                around::redis(ground, target),
            );
            checks.extend(health);
            checks.extend(redis);
            checks
        }
        Err((error, what)) => {
            let asked = expect("workload", format!("{} exists", target.workload));
            let namespace = &target.workload.namespace;
            vec![asked.unread(&error, &format!("read {what} in {namespace}"))]
        }
    };
    Section::of(title, checks)
}

async fn read(ground: &Ground<'_>, target: &Target) -> Result<Seen, (Error, &'static str)> {
    let (at, memory, rollbacks) = tokio::join!(
        snapshot(ground, target),
        ground.cluster.recall(target),
        ground.cluster.rollbacks(&target.workload.namespace),
    );
    let mut rollbacks = rollbacks.map_err(|error| (error, "rollbacks.ripcord.dev"))?;
    rollbacks.retain(|it| it.spec.target == target.name);
    let workload = "the workload, replicasets, pods and endpointslices";
    Ok(Seen {
        at: at.map_err(|error| (error, workload))?,
        memory: memory.map_err(|error| (error, "targets.ripcord.dev"))?,
        rollbacks,
        now: reach::now(),
    })
}

/// What the cluster says once the controller has observed the spec, or has had the time to.
async fn snapshot(ground: &Ground<'_>, target: &Target) -> Result<Snapshot, Error> {
    let began = Instant::now();
    loop {
        let at = ground.cluster.snapshot(&target.workload, &ground.clock);
        let at = at.await?;
        let waits = at.rollout.as_ref().is_some_and(|it| !it.observed);
        if !waits || began.elapsed() > OBSERVES {
            return Ok(at);
        }
        sleep(LOOK).await;
    }
}

// === impl Seen ===

impl Seen {
    /// Every check that needs nobody else to be asked.
    fn judge(&self, policy: &Policy, target: &Target) -> Vec<Check> {
        let (asked, rollout) = match self.workload(policy, target) {
            Ok((check, rollout)) => (check, rollout),
            Err(check) => return vec![check],
        };
        vec![
            asked,
            self.settled(rollout),
            self.pods(rollout),
            triggers(policy, target),
            self.remembered(policy, target, rollout),
            self.known_good(target, rollout),
            owner(target, rollout),
            self.hold(target),
            self.latch(target),
        ]
    }

    /// Whether the workload is one that Ripcord could act on at all.
    fn workload(&self, policy: &Policy, target: &Target) -> Result<(Check, &Rollout), Check> {
        let asked = expect(
            "workload",
            "it exists, its controller has observed its spec and takes it",
        );
        let Some(rollout) = &self.at.rollout else {
            let found = format!("{} does not exist", target.workload);
            return Err(asked.failed(found, "see `workload` in the policy, or deploy it"));
        };
        let refused = if rollout.deleting {
            Some(("it is being deleted".to_owned(), "deploy it again"))
        } else if let Some(Reason::SelectorUnclear | Reason::ServiceOfRollout) = rollout.invalid {
            let help = "let its selector reach the pods of one of the two Deployments";
            Some((rollout.message.clone(), help))
        } else if !rollout.observed {
            let found = format!(
                "its controller has not observed generation {}",
                rollout.generation
            );
            Some((found, "see whether the controller runs"))
        } else if rollout.invalid.is_some() {
            let found = format!("its controller refuses the spec: {}", rollout.message);
            Some((found, "mend the spec"))
        } else if rollout.workload_ref {
            let found = "its template is in another object (workloadRef)".to_owned();
            Some((found, "give the Rollout a template of its own"))
        } else if rollout.is_plain() && rollout.replicas == 0 {
            let found = "it is scaled to zero".to_owned();
            Some((found, "name the workload that serves"))
        } else {
            let finding = policy.unprotected(target).err();
            finding.map(|it| (it.to_string(), "move it, or see `protected` in the policy"))
        };
        match refused {
            Some((found, help)) => Err(asked.failed(found, help)),
            None => Ok((asked.ok(self.at.state()), rollout)),
        }
    }

    /// Whether nothing is on its way: a deployment begins where another one has ended.
    fn settled(&self, rollout: &Rollout) -> Check {
        let asked = expect("at rest", "no update is in flight, and no rollback runs");
        if let Some(open) = self.rollbacks.iter().find(|it| !it.phase().ended()) {
            let found = format!("{} is {}", open.full_name(), open.phase().name());
            return asked.warning(
                found,
                format!("wait for it: ripcord watch {}", open.full_name()),
            );
        }
        if self.recalled(rollout).in_flight() {
            let found = format!("an update is in flight, phase {}", rollout.phase);
            return asked.warning(found, "promote it or take it back first");
        }
        if rollout.paused {
            return asked.warning("it is paused by its spec", "resume it");
        }
        asked.ok("the live release is promoted, and nothing runs")
    }

    fn pods(&self, rollout: &Rollout) -> Check {
        let wanted = if self.recalled(rollout).in_flight() {
            1
        } else {
            usize::try_from(rollout.replicas).unwrap_or(0)
        };
        let said = format!("{} of the release to go back to ready", pods_text(wanted));
        let asked = expect("pods", said);
        let back = self.back(rollout);
        let ready = self.at.pods_of(&back).filter(|pod| pod.ready).count();
        if ready >= wanted {
            return asked.ok(format!("{} ready", pods_text(ready)));
        }
        let found = format!("{ready} of {} ready", pods_text(wanted));
        asked.failed(found, "see what keeps the others: kubectl describe pod")
    }

    /// Whether the service knows the target, as this policy has it.
    fn remembered(&self, policy: &Policy, target: &Target, rollout: &Rollout) -> Check {
        let asked = expect("memory", "the service watches it, by this policy");
        let same =
            "is this the policy that the service runs? See ripcord check and the service's log";
        let Some(memory) = &self.memory else {
            return asked.failed("the service remembers nothing of it", same);
        };
        let state = memory.state();
        let workload = format!("{}/{}", target.workload.kind.name(), target.workload.name);
        if state.workload != workload {
            return asked.failed(format!("it remembers {:?} there", state.workload), same);
        }
        let live = state.live.as_ref();
        if live.is_none_or(|live| live.hash != rollout.current || live.uid != rollout.uid) {
            let found = format!("it has not noticed that {} is live", rollout.current);
            return asked.failed(found, "see the service's log");
        }
        let mode = policy.mode_of(target);
        if state.shown.mode != mode {
            let found = format!(
                "it runs in mode {}, this policy says {mode}",
                state.shown.mode
            );
            return asked.warning(found, same);
        }
        asked.ok(format!(
            "it knows {} as live, in mode {mode}",
            state.shown.live
        ))
    }

    /// The release that a bad one would be left for: while an update is in flight, that of the update; before the next
    /// one, the live one.
    fn known_good(&self, target: &Target, rollout: &Rollout) -> Check {
        let asked = expect(
            "known good",
            "there is a release to go back to from a bad one",
        );
        let state = self.state();
        let recalled = self.recalled(rollout);
        if let Some(pin) = &target.known_good {
            let set = self.at.replica_sets.iter().find(|set| match pin {
                Pin::Hash(hash) => set.hash == *hash,
                Pin::Revision(revision) => set.revision == *revision,
                Pin::Image(image) => template::container(&set.template, &image.container)
                    .is_some_and(|(_, reference)| reference == image.reference),
            });
            return match set {
                Some(set) => asked.ok(format!(
                    "r{} {}: the policy pins {pin}",
                    set.revision, set.hash
                )),
                None if matches!(pin, Pin::Image(_)) => self.gone_back_to(asked, target, &state),
                None => asked.failed(
                    format!("the release that the policy pins ({pin}) has no replica set"),
                    "pin another one, or none",
                ),
            };
        }
        if recalled.in_flight() {
            return self.gone_back_to(asked, target, &state);
        }
        self.live_as_good(asked, target, rollout, &state)
    }

    /// Where a rollback would lead now; a pinned image counts also where it must be brought up.
    fn gone_back_to(&self, asked: Expected, target: &Target, state: &MemoryStatus) -> Check {
        match state.destination(target, &self.at, true, self.now) {
            Ok(found) if found.release.is_to_be_made() => asked.warning(
                format!("{}: {}", found.release, found.chosen),
                "see that the registry has this image: one that it lacks is found out when it is needed",
            ),
            Ok(found) => asked.ok(format!("{}: {}", found.release, found.chosen)),
            Err(finding) => asked.failed(
                finding.to_string(),
                "pin a release that is good (`known_good` in the policy)",
            ),
        }
    }

    /// Whether the live release would be gone back to from the next one.
    fn live_as_good(
        &self,
        asked: Expected,
        target: &Target,
        rollout: &Rollout,
        state: &MemoryStatus,
    ) -> Check {
        let live = self.at.release(rollout, &rollout.current);
        if state.blames(&live.hash) {
            return asked.failed(
                format!("{live} is live and was pulled back before: nothing goes back to it"),
                "deploy a release that is good, or pin one (`known_good` in the policy)",
            );
        }
        if self.at.replica_set(&live.hash).is_none() {
            return asked.failed(format!("{live} has no replica set"), "see the controller");
        }
        let times = state.history.iter();
        let times = times.filter(|it| it.uid == live.uid && it.hash == live.hash);
        let lasted = times.map(|it| it.until.unwrap_or(self.now).duration_since(it.since));
        let lasted = lasted.max().unwrap_or_default();
        let soak = SignedDuration::try_from(target.min_soak).unwrap_or(SignedDuration::MAX);
        if lasted >= soak {
            return asked.ok(format!("{live}, which was stable for {}", rough(lasted)));
        }
        let found = format!(
            "{live} was seen stable for {} of {}",
            rough(lasted),
            rough(soak)
        );
        if rollout.is_plain() {
            // Nothing but the history tells what a Deployment came from.
            asked.failed(found, format!("wait for {}", rough(soak - lasted)))
        } else {
            let help = format!(
                "wait for {}: before that, only an update in flight goes back to it",
                rough(soak - lasted)
            );
            asked.warning(found, help)
        }
    }

    fn hold(&self, target: &Target) -> Check {
        let asked = expect("hold", "nobody holds the target");
        match self
            .memory
            .as_ref()
            .and_then(|memory| memory.hold(self.now))
        {
            None => asked.ok("nobody holds it"),
            Some(hold) => asked.failed(
                format!("held by {}: {}", hold.owner, hold.reason),
                patch(target, "{\"spec\":{\"hold\":null}}"),
            ),
        }
    }

    fn latch(&self, target: &Target) -> Check {
        let asked = expect("latch", "the target is not latched");
        match self.memory.as_ref().and_then(Memory::latch) {
            None => asked.ok("it is not latched"),
            Some(latch) => {
                let change = format!("{{\"spec\":{{\"acknowledge\":\"{}\"}}}}", latch.rollback);
                asked.failed(
                    format!("latched by {}: {}", latch.rollback, latch.finding),
                    format!("look at it, then {}", patch(target, &change)),
                )
            }
        }
    }

    pub(super) fn state(&self) -> MemoryStatus {
        let memory = self.memory.as_ref();
        memory.map(|it| it.state().into_owned()).unwrap_or_default()
    }

    /// The hash of the release that a bad one would be left for: the stable one, which before an update is the live one.
    pub(super) fn back(&self, rollout: &Rollout) -> String {
        let recalled = self.recalled(rollout);
        if recalled.in_flight() {
            recalled.stable
        } else {
            recalled.current
        }
    }

    fn recalled(&self, rollout: &Rollout) -> Rollout {
        self.state().recall(rollout).into_owned()
    }
}

/// Whether an alert could lead here at all.
fn triggers(policy: &Policy, target: &Target) -> Check {
    let asked = expect("triggers", "an alert may lead to a rollback");
    match policy.mode_of(target) {
        "none" => asked.warning("no trigger leads here", "add one to the policy"),
        "shadow" => asked.warning(
            "every trigger that leads here is in shadow mode",
            "say `mode: act` in the trigger that you trust most",
        ),
        mode => asked.ok(format!("those that lead here are in mode {mode}")),
    }
}

/// Who would undo what is written to the spec.
fn owner(target: &Target, rollout: &Rollout) -> Check {
    let asked = expect("owner", "nobody undoes a restored template");
    let Some(owner) = target.owner(rollout) else {
        return asked.ok("nobody who would undo a change");
    };
    let left = match target.workload.kind {
        Kind::Deployment | Kind::Service => "nothing is done, and somebody is called",
        Kind::Rollout => "an update in flight is aborted, and anything else is left to a person",
    };
    asked.warning(
        format!("{owner} owns the spec: {left}"),
        "know how to revert it in Git; `owner: none` in the policy, where it does not heal by itself",
    )
}

fn patch(target: &Target, change: &str) -> String {
    format!(
        "kubectl patch rt {} -n {} --type merge -p '{change}'",
        target.name, target.workload.namespace
    )
}

#[cfg(test)]
mod tests;
