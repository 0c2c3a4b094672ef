use super::*;
use crate::alert::Severity;
use crate::policy::Policy;
use crate::policy::admission::Admission;
use crate::policy::approval::Consent;
use crate::policy::decision::tests::{World, after_success, rollback, second, target, world};
use crate::procedure::{BUILT_IN, Entry, Procedure};
use crate::rollback::memory::{Latch, MemoryStatus};
use crate::rollback::object::Mode;
use crate::target::snapshot::tests::{promoted, restored};

const NEXT: &str = "complete";

/// The first rollback from `bad` (r2) to `good` failed for this reason in this step, at second 990.
fn failed(step: &str, reason: Reason) -> Rollback {
    let done = after_success();
    let mut failed = Rollback::clone(&done.rollbacks[0]);
    let status = failed.status.as_mut().unwrap();
    let plan = status.plan.as_mut().unwrap();
    plan.escalate_to = Some(NEXT.into());
    plan.to.revision = 1;
    status.phase = Phase::Failed;
    status.reason = Some(reason.into());
    status.run.healthy = None;
    status.run.first_mutation = None;
    status.run.finished = Some(second(990));
    let mut entry = Entry::pending(step);
    entry.phase = StepPhase::Failed;
    status.run.steps = vec![entry];
    failed
}

fn next_of(failed: &Rollback) -> Option<Rollback> {
    let all = [Arc::new(failed.clone())];
    climb(failed, &target(), &all, second(1000))
}

/// A bad canary in flight, latched by the rollback that failed; a person must approve what follows.
fn latched(failed: &Rollback) -> World {
    let mut world = world().with(failed.clone());
    world.policy.procedures.insert(
        NEXT.into(),
        Procedure {
            name: NEXT.into(),
            approval: true,
            ..Procedure::built_in()
        },
    );
    world.memory.status = Some(MemoryStatus {
        latch: Some(Latch {
            since: second(990),
            rollback: failed.name().into(),
            finding: Reason::Rejected.into(),
        }),
        ..MemoryStatus::default()
    });
    world
}

fn admit(world: &World, rung: &Rollback) -> Admission {
    world.facts().admit(rung, &target(), &world.at, &[])
}

fn refused(world: &World, rung: &Rollback) -> Reason {
    match admit(world, rung) {
        Admission::Decline { finding, .. } | Admission::Supersede(finding) => finding.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_follows_takes_over_the_release_the_alerts_and_the_thread_of_what_failed() {
    let failed = failed("revert", Reason::Rejected);
    let rung = next_of(&failed).unwrap();
    assert_eq!(rung.name(), "x-r2-bad-2");
    assert_eq!(rung.spec.parent.as_deref(), Some("x-r2-bad"));
    assert_eq!((rung.spec.rung, rung.spec.mode), (Some(1), Mode::Act));
    assert_eq!(rung.spec.procedure.as_deref(), Some(NEXT));
    assert_eq!(rung.spec.release, failed.from().cloned());
    assert_eq!(rung.spec.alerts, failed.spec.alerts);
    assert_eq!(rung.spec.received, Some(second(990)));
    assert!(
        rung.spec
            .reason
            .unwrap()
            .starts_with("revert-and-prove of x-r2-bad failed: ")
    );
    assert_eq!(rung.metadata.namespace, failed.metadata.namespace);
}

#[test]
fn it_climbs_only_where_the_revert_itself_could_not_be_done() {
    for reason in [
        Reason::Rejected,
        Reason::Contended,
        Reason::DestinationGone,
        Reason::GaveUp,
    ] {
        assert!(next_of(&failed("revert", reason)).is_some(), "{reason}");
    }
    // Somebody put it back, or stopped it, or acted.
    for reason in [
        Reason::Overwritten,
        Reason::Diverged,
        Reason::WorkloadGone,
        Reason::Cancelled,
        Reason::OwnedElsewhere,
        Reason::Shadow,
    ] {
        assert!(next_of(&failed("revert", reason)).is_none(), "{reason}");
    }
    assert!(next_of(&failed("healthy", Reason::Unhealthy)).is_none());
    assert!(next_of(&failed("wait-ready", Reason::StepTimeout)).is_none());
    let mut moved = failed("revert", Reason::GaveUp);
    moved.status.as_mut().unwrap().run.traffic_back = Some(second(980));
    assert!(next_of(&moved).is_none());
    let mut other = failed("revert", Reason::Rejected);
    other.status.as_mut().unwrap().phase = Phase::Declined;
    assert!(next_of(&other).is_none());
}

#[test]
fn it_climbs_once_in_time_and_not_too_far() {
    let first = failed("revert", Reason::Rejected);
    let rung = next_of(&first).unwrap();
    let all = [Arc::new(first.clone()), Arc::new(rung)];
    assert!(climb(&first, &target(), &all, second(1000)).is_none());
    let alone = [Arc::new(first.clone())];
    assert!(climb(&first, &target(), &alone, second(990 + 3600)).is_none());
    let mut ended = first.clone();
    ended.spec.alerts[0].ended = Some(second(995));
    assert!(next_of(&ended).is_none());
    let mut unasked = first.clone();
    let plan = unasked.status.as_mut().unwrap().plan.as_mut().unwrap();
    plan.escalate_to = None;
    assert!(next_of(&unasked).is_none());
    let mut watched = first.clone();
    watched.spec.mode = Mode::Shadow;
    assert!(next_of(&watched).is_none());
    let mut second_rung = first;
    second_rung.spec.rung = Some(1);
    assert_eq!(next_of(&second_rung).unwrap().spec.rung, Some(2));
    second_rung.spec.rung = Some(2);
    assert!(next_of(&second_rung).is_none());
}

#[test]
fn a_name_that_is_taken_is_passed_over() {
    let first = failed("revert", Reason::Rejected);
    let taken = rollback(2, Phase::Declined);
    let all = [Arc::new(first.clone()), Arc::new(taken)];
    let rung = climb(&first, &target(), &all, second(1000)).unwrap();
    assert_eq!(rung.name(), "x-r2-bad-3");
}

#[test]
fn a_rung_passes_the_latch_of_what_failed_and_no_other() {
    let failed = failed("revert", Reason::Rejected);
    let rung = next_of(&failed).unwrap();
    let world = latched(&failed);
    let Admission::Go {
        from,
        destination,
        procedure,
    } = admit(&world, &rung)
    else {
        panic!()
    };
    assert_eq!(Some(&from), failed.from());
    assert_eq!(Some(&destination.release), failed.to());
    assert_eq!(procedure.name, NEXT);
    // Another latch, a hold, a dead destination and an end of the alerts keep it.
    let mut other = latched(&failed);
    let latch = other.memory.status.as_mut().unwrap().latch.as_mut();
    latch.unwrap().rollback = "another".into();
    assert_eq!(refused(&other, &rung), Reason::Latched);
    let mut held = latched(&failed);
    held.hold = guard::Hold::Held("x".into());
    assert_eq!(refused(&held, &rung), Reason::Held);
    let mut gone = latched(&failed);
    gone.at.replica_sets.retain(|set| set.hash != "good");
    assert_eq!(refused(&gone, &rung), Reason::NoDestination);
    let mut ended = rung.clone();
    ended.spec.alerts[0].ended = Some(second(995));
    assert_eq!(refused(&world, &ended), Reason::ResolvedBeforeStart);
}

#[test]
fn the_destination_may_be_live_already_and_a_third_release_wins() {
    let failed = failed("revert", Reason::GaveUp);
    let rung = next_of(&failed).unwrap();
    let mut world = latched(&failed);
    world.at = restored();
    // What somebody else brought back is theirs.
    world.at.rollout.as_mut().unwrap().operation = None;
    assert_eq!(refused(&world, &rung), Reason::NewRelease);
    let mark = failed.metadata.uid.clone().expect("it was claimed");
    world.at.rollout.as_mut().unwrap().operation = Some(mark);
    let Admission::Go {
        from, destination, ..
    } = admit(&world, &rung)
    else {
        panic!()
    };
    assert_eq!((&*from.hash, &*destination.release.hash), ("bad", "good"));
    world.at = promoted();
    world.at.rollout.as_mut().unwrap().current = "fix".into();
    assert_eq!(refused(&world, &rung), Reason::NewRelease);
}

#[test]
fn nobody_makes_a_rung_of_what_does_not_follow() {
    let good = failed("revert", Reason::Rejected);
    let rung = next_of(&good).unwrap();
    let world = latched(&good);
    let mut other = rung.clone();
    other.spec.procedure = Some(BUILT_IN.into());
    assert_eq!(refused(&world, &other), Reason::NoRung);
    let mut other = rung.clone();
    other.spec.parent = Some("nobody".into());
    assert_eq!(refused(&world, &other), Reason::NoRung);
    let mut other = rung.clone();
    other.spec.rung = Some(2);
    assert_eq!(refused(&world, &other), Reason::NoRung);
    let helped = latched(&failed("healthy", Reason::Unhealthy));
    assert_eq!(refused(&helped, &rung), Reason::NoRung);
}

#[test]
fn a_person_is_asked_where_the_rungs_own_procedure_asks_whatever_else_fires() {
    let failed = failed("revert", Reason::Rejected);
    let rung = next_of(&failed).unwrap();
    let mut world = latched(&failed);
    let consent = |policy: &Policy| policy.consent(&rung, &target(), second(1000));
    let Consent::Needed(why) = consent(&world.policy) else {
        panic!()
    };
    assert_eq!(why, "procedure complete asks for an approval");
    let next = world.policy.procedures.get_mut(NEXT).unwrap();
    next.approval = false;
    assert!(matches!(consent(&world.policy), Consent::Needless(_)));
}

#[test]
fn a_procedures_own_word_counts_before_the_severitys() {
    let mut policy = world().policy;
    let mut procedure = Procedure::built_in();
    assert_eq!(policy.next_rung(&procedure, Severity::P0), None);
    policy.escalations.insert(Severity::P0, NEXT.into());
    assert_eq!(policy.next_rung(&procedure, Severity::P0), Some(NEXT));
    assert_eq!(policy.next_rung(&procedure, Severity::P1), None);
    procedure.escalate_to = Some("other".into());
    assert_eq!(policy.next_rung(&procedure, Severity::P0), Some("other"));
    procedure.escalate_to = None;
    procedure.name = NEXT.into();
    assert_eq!(policy.next_rung(&procedure, Severity::P0), None);
}
