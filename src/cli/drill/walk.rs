//! What a plan would change, step by step, foretold by the steps' own code.
//!
//! Nothing is changed, so the look that a later step would have is made up from the one that there is: as if each change before
//! it had done what it is for. What the cluster would really do is not foretold.

use jiff::Timestamp;

use crate::procedure::{Entry, Next, StepPlan};
use crate::rollback::object::Plan;
use crate::target::snapshot::{Pod, pods_text};
use crate::target::workload::Strategy;
use crate::target::{Effect, Snapshot};

/// The steps after which the destination is back.
const REVERTS: [&str; 2] = ["revert", "switch-service"];

/// One step, and the changes that it would ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Foreseen {
    /// The step's name.
    pub(super) step: &'static str,
    /// In this order; none for a step that only looks.
    pub(super) effects: Vec<Effect>,
}

/// Walks through the steps of a plan that was made on this look.
pub(super) fn walk(plan: &Plan, operation: &str, at: &Snapshot, now: Timestamp) -> Vec<Foreseen> {
    let restored = restored(plan, operation, at, now);
    let settled = settled(plan, &restored);
    let mut back = false;
    let steps = plan.steps.iter().map(|step| {
        let effects = if back {
            Vec::from_iter(next(step, &settled, 0, now))
        } else {
            let mut effects = Vec::from_iter(next(step, at, 0, now));
            // An abort that only turns the traffic sooner: the template follows.
            if plan.owner.is_none() && matches!(effects.as_slice(), [Effect::Abort { .. }]) {
                effects.extend(next(step, at, 1, now));
            }
            if let [Effect::Scale { .. }] = effects.as_slice() {
                effects.extend(next(step, &scaled(plan, at), 0, now));
            }
            effects.extend(next(step, &restored, 0, now));
            effects
        };
        back = back || REVERTS.contains(&step.name());
        Foreseen {
            step: step.name(),
            effects,
        }
    });
    steps.collect()
}

/// The change that a step would ask for at once, after so many others.
fn next(step: &StepPlan, at: &Snapshot, attempts: i64, now: Timestamp) -> Option<Effect> {
    let mut past = Entry::pending(step.name());
    past.started = Some(now);
    past.attempts = attempts;
    match step.next(at, &[], &past, now) {
        Next::Do(effect) => Some(effect),
        Next::Wait(_) | Next::Done(_) | Next::Fail(_) | Next::Yield(_) => None,
    }
}

/// The look once a destination behind a Service has as many pods as serve now, all of them ready.
fn scaled(plan: &Plan, at: &Snapshot) -> Snapshot {
    let mut at = at.clone();
    let Some(rollout) = &mut at.rollout else {
        return at;
    };
    let wanted = rollout.replicas;
    if let Strategy::Colours(colours) = &mut rollout.strategy {
        let mut all = colours.all.iter_mut();
        if let Some(colour) = all.find(|it| it.hash == plan.to.hash) {
            colour.replicas = wanted;
        }
    }
    let mut sets = at.replica_sets.iter_mut();
    if let Some(set) = sets.find(|it| it.hash == plan.to.hash) {
        (set.replicas, set.available) = (wanted, wanted);
    }
    at.pods.retain(|pod| pod.hash != plan.to.hash);
    at.pods.extend((1..=wanted).map(|nth| Pod {
        name: format!("{}-{nth}", plan.to.hash),
        ip: None,
        hash: plan.to.hash.clone(),
        ready: true,
        deleting: false,
        created: None,
    }));
    at
}

/// The look right after the first change: the controller has taken it up, and has promoted nothing yet.
fn restored(plan: &Plan, operation: &str, at: &Snapshot, now: Timestamp) -> Snapshot {
    let mut at = at.clone();
    let Some(rollout) = &mut at.rollout else {
        return at;
    };
    if plan.owner.is_some() {
        rollout.aborted = true;
        rollout.aborted_at = Some(now);
        return at;
    }
    rollout.current.clone_from(&plan.to.hash);
    rollout.images.clone_from(&plan.to.images);
    rollout.revision += 1;
    rollout.operation = Some(operation.to_owned());
    rollout.paused = false;
    rollout.aborted = false;
    at
}

/// The look after the first step: all traffic is on the destination, and nothing else runs.
fn settled(plan: &Plan, restored: &Snapshot) -> Snapshot {
    let mut at = restored.clone();
    if let Some(rollout) = &mut at.rollout {
        rollout.stable.clone_from(&plan.to.hash);
        rollout.promote_full = false;
        "Healthy".clone_into(&mut rollout.phase);
    }
    for set in at
        .replica_sets
        .iter_mut()
        .filter(|it| it.hash == plan.from.hash)
    {
        (set.replicas, set.available) = (0, 0);
    }
    for pod in &mut at.pods {
        pod.hash.clone_from(&plan.to.hash);
    }
    at
}

/// A change in words.
pub(super) fn in_words(effect: &Effect, plan: &Plan) -> String {
    let to = &plan.to;
    match effect {
        Effect::RestoreTemplate { unpause, .. } => {
            let unpause = if *unpause {
                ", and release the pause"
            } else {
                ""
            };
            format!("write the template of {to} back{unpause}")
        }
        Effect::SetImage { image, .. } => format!("put {image} into the live template"),
        Effect::PromoteFull { .. } => format!("ask for the full promotion of {to}"),
        Effect::Abort { .. } => format!("ask for the update to {} to be aborted", plan.from),
        Effect::Nudge => "touch the workload, so that its controller looks".to_owned(),
        Effect::SwitchService { keys, .. } => {
            let keys: Vec<_> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("let the Service select {}, which is {to}", keys.join(","))
        }
        Effect::Scale {
            deployment,
            from,
            to,
            ..
        } => format!("let Deployment {deployment} ask for {to} pods instead of {from}"),
        Effect::Restart { .. } => "ask for every pod to be restarted".to_owned(),
        Effect::Flush(flush) => {
            format!("take {} out of Redis {}", flush.scope, flush.redis.address)
        }
        Effect::Exec(exec) => format!(
            "run `{}` ({}) in container {} of {}",
            exec.name, exec.command, exec.command.container, exec.place
        ),
        Effect::Call(calls) => {
            let request = calls.first().map(|call| call.request.to_string());
            let request = request.unwrap_or_default();
            format!("send {request} to {} at a time", pods_text(calls.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Severity;
    use crate::procedure::{Journey, StepSpec, gone, healthy, restart, revert, scale};
    use crate::rollback::history::tests::target;
    use crate::target::colours::tests::looking;
    use crate::target::effect::EffectKind;
    use crate::target::snapshot::tests::{in_flight, promoted};
    use crate::target::{Health, Kind, Release};

    fn release(hash: &str, revision: i64) -> Release {
        Release {
            uid: "uid".into(),
            revision,
            hash: hash.into(),
            images: vec![],
        }
    }

    fn plan(at: &Snapshot, owner: Option<&str>, steps: &[StepSpec]) -> Plan {
        let mut target = target();
        target.health = Some(Health {
            path: "/health".into(),
            port: 1,
            pointer: None,
            equals: None,
            url: None,
            timeout: std::time::Duration::from_secs(1),
        });
        let journey = Journey {
            operation: "op".into(),
            from: release("bad", 2),
            to: release("good", 1),
            served: true,
            owner: owner.map(str::to_owned),
        };
        Plan {
            made: Timestamp::UNIX_EPOCH,
            procedure: "p".into(),
            severity: Severity::P0,
            budget_seconds: 1.0,
            from: journey.from.clone(),
            to: journey.to.clone(),
            chosen: String::new(),
            workload: "x".into(),
            kind: Kind::Rollout,
            deployments: vec![],
            give_up_seconds: 1.0,
            served: true,
            owner: owner.map(str::to_owned),
            escalate_to: None,
            steps: steps
                .iter()
                .map(|step| step.plan(&target, &journey, at).unwrap())
                .collect(),
        }
    }

    fn foreseen(at: &Snapshot, owner: Option<&str>, steps: &[StepSpec]) -> Vec<Vec<EffectKind>> {
        let plan = plan(at, owner, steps);
        let walked = walk(&plan, "op", at, Timestamp::UNIX_EPOCH).into_iter();
        walked
            .map(|it| it.effects.iter().map(Effect::kind).collect())
            .collect()
    }

    fn revert() -> StepSpec {
        StepSpec::Revert(revert::Revert {})
    }

    #[test]
    fn an_update_in_flight_is_taken_back_by_the_template_alone() {
        let healthy = StepSpec::Healthy(healthy::Healthy::default());
        assert_eq!(
            foreseen(&in_flight(), None, &[revert(), healthy]),
            [vec![EffectKind::RestoreTemplate], vec![]]
        );
    }

    #[test]
    fn what_was_promoted_is_promoted_back() {
        assert_eq!(
            foreseen(&promoted(), None, &[revert()]),
            [vec![EffectKind::RestoreTemplate, EffectKind::PromoteFull]]
        );
    }

    #[test]
    fn a_service_is_switched_once_its_destination_has_pods() {
        let at = looking("green", 0, 3);
        let target = target();
        let of = |colour: &str, revision| release(&format!("hash-{colour}"), revision);
        let journey = Journey {
            operation: "op".into(),
            from: of("green", 2),
            to: of("blue", 1),
            served: true,
            owner: None,
        };
        let steps = [
            revert(),
            StepSpec::Scale(scale::Scale {
                replicas: 0,
                within: std::time::Duration::from_secs(60),
            }),
        ];
        let mut plan = plan(&promoted(), None, &[]);
        (plan.from, plan.to) = (journey.from.clone(), journey.to.clone());
        plan.steps = steps
            .iter()
            .map(|step| step.plan(&target, &journey, &at).unwrap())
            .collect();
        let walked = walk(&plan, "op", &at, Timestamp::UNIX_EPOCH);
        let effects: Vec<Vec<_>> = walked
            .iter()
            .map(|it| it.effects.iter().map(|it| in_words(it, &plan)).collect())
            .collect();
        assert_eq!(
            effects,
            [
                vec![
                    "let Deployment x-blue ask for 3 pods instead of 0".to_owned(),
                    "let the Service select colour=blue, which is r1 hash-blue".to_owned(),
                ],
                vec!["let Deployment x-green ask for 0 pods instead of 3".to_owned()],
            ]
        );
    }

    #[test]
    fn an_update_of_gitops_is_aborted() {
        assert_eq!(
            foreseen(&in_flight(), Some("Argo CD"), &[revert()]),
            [vec![EffectKind::Abort]]
        );
    }

    #[test]
    fn later_steps_are_asked_as_if_the_release_were_back() {
        let steps = [
            revert(),
            StepSpec::Gone(gone::Gone::default()),
            StepSpec::Restart(restart::Restart::default()),
        ];
        let all = foreseen(&promoted(), None, &steps);
        assert_eq!(all[1..], [vec![], vec![EffectKind::Restart]]);
    }
}
