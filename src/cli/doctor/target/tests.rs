use super::super::check::Verdict;
use super::*;
use crate::policy::decision::tests::{second, world};
use crate::reason::Reason;
use crate::rollback::memory::{Hold, Latch, MemorySpec, Stable};
use crate::rollback::object::{Mode, RollbackSpec};
use crate::target::owner::Ownership;
use crate::target::snapshot::tests::{in_flight, promoted, restored};

/// A release at rest that was seen stable for an hour.
fn seen(at: Snapshot) -> Seen {
    let rollout = at.rollout.clone().unwrap();
    let mut memory = Memory::new("api", MemorySpec::default());
    let mut state = MemoryStatus {
        workload: "Rollout/x".into(),
        ..MemoryStatus::default()
    };
    state.observe(&rollout, None, second(1000));
    state.shown.mode = "act".into();
    state.shown.live = format!("r{}", rollout.revision);
    memory.status = Some(state);
    Seen {
        at,
        memory: Some(memory),
        rollbacks: vec![],
        now: second(1000 + 3600),
    }
}

fn state(seen: &mut Seen) -> &mut MemoryStatus {
    seen.memory.as_mut().unwrap().status.as_mut().unwrap()
}

fn rollout(seen: &mut Seen) -> &mut Rollout {
    seen.at.rollout.as_mut().unwrap()
}

/// The checks that are not well, by name, with their verdicts and what was found.
fn ailing(seen: &Seen) -> Vec<(String, Verdict, String)> {
    let world = world();
    ailing_by(seen, &world.policy, &world.policy.targets["api"])
}

fn ailing_by(seen: &Seen, policy: &Policy, target: &Target) -> Vec<(String, Verdict, String)> {
    let all = seen.judge(policy, target).into_iter();
    all.filter(|it| it.verdict != Verdict::Ok)
        .map(|it| {
            assert!(it.help.is_some_and(|help| !help.is_empty()), "{}", it.name);
            (it.name, it.verdict, it.found)
        })
        .collect()
}

/// One thing is not well, and is found out.
fn is_found_out(bend: impl FnOnce(&mut Seen), name: &str, verdict: Verdict, words: &str) {
    let mut seen = seen(restored());
    bend(&mut seen);
    let found = ailing(&seen);
    assert_eq!(found.len(), 1, "{found:?}");
    let (found_name, found_verdict, said) = &found[0];
    assert_eq!((found_name.as_str(), *found_verdict), (name, verdict));
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_release_at_rest_that_soaked_is_well() {
    assert_eq!(ailing(&seen(restored())), []);
}

#[test]
fn a_workload_that_nothing_could_be_done_with_fails_alone() {
    let failed =
        |bend: fn(&mut Seen), words| is_found_out(bend, "workload", Verdict::Failed, words);
    failed(|it| it.at.rollout = None, "does not exist");
    failed(|it| rollout(it).observed = false, "has not observed");
    failed(
        |it| {
            rollout(it).invalid = Some(crate::reason::Reason::SpecInvalid);
            rollout(it).message = "no steps".into();
        },
        "refuses the spec: no steps",
    );
    failed(|it| rollout(it).workload_ref = true, "workloadRef");
    failed(|it| rollout(it).deleting = true, "deleted");
}

#[test]
fn what_keeps_a_rollback_from_starting_fails() {
    is_found_out(
        |it| {
            it.memory.as_mut().unwrap().spec.hold = Some(Hold {
                owner: "jo".into(),
                reason: "migration".into(),
                until: None,
            });
        },
        "hold",
        Verdict::Failed,
        "held by jo: migration",
    );
    is_found_out(
        |it| {
            state(it).latch = Some(Latch {
                since: second(1),
                rollback: "x-r2-bad".into(),
                finding: Reason::Unhealthy.into(),
            });
        },
        "latch",
        Verdict::Failed,
        "x-r2-bad",
    );
    is_found_out(
        |it| it.at.pods.truncate(2),
        "pods",
        Verdict::Failed,
        "2 of 3 pods ready",
    );
}

#[test]
fn the_live_release_must_be_one_that_could_be_gone_back_to() {
    is_found_out(
        |it| it.now = second(1060),
        "known good",
        Verdict::Warning,
        "seen stable for 1 min 0 s of 10 min 0 s",
    );
    is_found_out(
        |it| {
            let live = it.at.live().unwrap();
            state(it).blame(&live, "x-r3-good", second(1));
        },
        "known good",
        Verdict::Failed,
        "was pulled back before",
    );
    // An earlier time of the same release counts, as it does for a rollback.
    let mut back = seen(restored());
    back.now = second(1060);
    state(&mut back).history.insert(
        0,
        Stable {
            uid: "uid".into(),
            revision: 1,
            hash: "good".into(),
            since: second(0),
            until: Some(second(900)),
        },
    );
    assert_eq!(ailing(&back), []);
}

#[test]
fn a_deployment_has_nothing_else_to_go_back_by() {
    let mut world = world();
    let target = world.policy.targets.get_mut("api").unwrap();
    target.workload.kind = Kind::Deployment;
    let target = target.clone();
    let mut seen = seen(restored());
    rollout(&mut seen).strategy = crate::target::workload::Strategy::Deployment;
    state(&mut seen).workload = "Deployment/x".into();
    assert_eq!(ailing_by(&seen, &world.policy, &target), []);
    seen.now = second(1060);
    let found = ailing_by(&seen, &world.policy, &target);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].0.as_str(), found[0].1),
        ("known good", Verdict::Failed)
    );
}

#[test]
fn while_an_update_is_in_flight_its_stable_release_is_the_way_back() {
    let mut flying = seen(in_flight());
    let names = |seen: &Seen| -> Vec<_> {
        let found = ailing(seen).into_iter();
        found.map(|(name, verdict, _)| (name, verdict)).collect()
    };
    let at_rest = ("at rest".to_owned(), Verdict::Warning);
    assert_eq!(names(&flying), std::slice::from_ref(&at_rest));
    let stable = flying
        .at
        .release(&flying.at.rollout.clone().unwrap(), "good");
    state(&mut flying).blame(&stable, "x-r1-good", second(1));
    let good = ("known good".to_owned(), Verdict::Failed);
    assert_eq!(names(&flying), [at_rest, good]);
}

#[test]
fn a_pin_needs_a_replica_set_and_nothing_else() {
    let mut world = world();
    let target = world.policy.targets.get_mut("api").unwrap();
    target.known_good = Some(Pin::Hash("bad".into()));
    let mut pinned = target.clone();
    let seen = seen(promoted());
    assert_eq!(ailing_by(&seen, &world.policy, &pinned), []);
    pinned.known_good = Some(Pin::Revision(7));
    let found = ailing_by(&seen, &world.policy, &pinned);
    assert_eq!(
        (found[0].0.as_str(), found[0].1),
        ("known good", Verdict::Failed)
    );
}

#[test]
fn a_service_that_knows_something_else_is_found_out() {
    let failed = |bend: fn(&mut Seen), words| is_found_out(bend, "memory", Verdict::Failed, words);
    failed(|it| state(it).workload = "Rollout/y".into(), "Rollout/y");
    failed(
        |it| state(it).live.as_mut().unwrap().hash = "old".into(),
        "has not noticed",
    );
    is_found_out(
        |it| state(it).shown.mode = "shadow".into(),
        "memory",
        Verdict::Warning,
        "this policy says act",
    );
    let mut unknown = seen(restored());
    unknown.memory = None;
    let found = ailing(&unknown);
    let memory = found.iter().find(|(name, _, _)| name == "memory").unwrap();
    assert_eq!(memory.1, Verdict::Failed);
}

#[test]
fn what_only_a_person_can_judge_is_a_warning() {
    let mut world = world();
    let mut target = world.policy.targets["api"].clone();
    target.ownership = Ownership::Gitops;
    let at_rest = seen(restored());
    let found = ailing_by(&at_rest, &world.policy, &target);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].0.as_str(), found[0].1),
        ("owner", Verdict::Warning)
    );

    world.policy.triggers[0].mode = Mode::Shadow;
    let found = ailing_by(&at_rest, &world.policy, &world.policy.targets["api"]);
    let names: Vec<_> = found.iter().map(|it| (it.0.as_str(), it.1)).collect();
    assert_eq!(
        names,
        [("triggers", Verdict::Warning), ("memory", Verdict::Warning)]
    );

    is_found_out(
        |it| {
            let spec: RollbackSpec =
                serde_json::from_value(serde_json::json!({"target": "api"})).unwrap();
            let mut open = Rollback::new("x-r2-bad", spec);
            open.metadata.namespace = Some("prod".into());
            it.rollbacks.push(open);
        },
        "at rest",
        Verdict::Warning,
        "prod/x-r2-bad is Pending",
    );
}
