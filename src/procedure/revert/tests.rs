use super::*;
use crate::target::snapshot::tests::{in_flight, promoted, restored, set};
use crate::target::workload::Rollout;

fn plan() -> Plan {
    let release = |revision, hash: &str| Release {
        uid: "uid".into(),
        revision,
        hash: hash.into(),
        images: vec![],
    };
    Plan {
        operation: "op-1".into(),
        from: release(2, "bad"),
        to: release(1, "good"),
        replica_set: "uid-good".into(),
        served: true,
    }
}

fn next(at: &Snapshot) -> Next {
    Revert::next(
        &plan(),
        at,
        &[],
        &Entry::pending("revert"),
        Timestamp::UNIX_EPOCH,
    )
}

fn rollout(at: &mut Snapshot) -> &mut Rollout {
    at.rollout.as_mut().unwrap()
}

fn restore(unpause: bool) -> Next {
    Next::Do(Effect::RestoreTemplate {
        hash: "good".into(),
        replica_set: "uid-good".into(),
        unpause,
    })
}

/// The workload after the restore and before the promotion: the bad release still is the stable one.
fn between() -> Snapshot {
    let mut at = promoted();
    rollout(&mut at).current = "good".into();
    rollout(&mut at).operation = Some("op-1".into());
    at
}

#[test]
fn one_verb_for_in_flight_aborted_and_promoted() {
    assert_eq!(next(&in_flight()), restore(false));
    let mut aborted = in_flight();
    rollout(&mut aborted).aborted = true;
    rollout(&mut aborted).phase = "Degraded".into();
    assert_eq!(next(&aborted), restore(false));
    assert_eq!(next(&promoted()), restore(false));
    let mut paused = in_flight();
    rollout(&mut paused).paused = true;
    assert_eq!(next(&paused), restore(true));
}

#[test]
fn nothing_is_decided_while_the_controller_lags() {
    for mut at in [in_flight(), promoted(), restored(), between()] {
        rollout(&mut at).observed = false;
        assert!(matches!(next(&at), Next::Wait(f) if f.reason == Reason::ControllerLag));
    }
}

#[test]
fn a_promotion_is_requested_until_its_effect_is_seen() {
    let mut at = between();
    let promote = Next::Do(Effect::PromoteFull {
        hash: "good".into(),
    });
    assert_eq!(next(&at), promote);
    rollout(&mut at).promote_full = true;
    assert!(matches!(next(&at), Next::Wait(f) if f.reason == Reason::Promoting));
    rollout(&mut at).promote_full = false; // lost to the controller's own write
    assert_eq!(next(&at), promote);
}

#[test]
fn already_there_changes_nothing() {
    assert!(matches!(next(&restored()), Next::Done(f) if f.reason == Reason::AlreadyThere));
}

#[test]
fn done_only_when_traffic_is_back_and_the_workload_is_healthy() {
    let mut at = restored();
    rollout(&mut at).operation = Some("op-1".into());
    rollout(&mut at).phase = "Progressing".into();
    assert!(matches!(next(&at), Next::Wait(f) if f.reason == Reason::Settling));
    rollout(&mut at).phase = "Healthy".into();
    at.endpoints = in_flight().endpoints;
    at.pods = in_flight().pods;
    assert!(matches!(next(&at), Next::Wait(f) if f.reason == Reason::TrafficMoving));
    let mut at = restored();
    rollout(&mut at).operation = Some("op-1".into());
    assert!(matches!(next(&at), Next::Done(f) if f.reason == Reason::Restored));
}

#[test]
fn a_third_release_wins() {
    let mut at = in_flight();
    rollout(&mut at).current = "fix".into();
    at.replica_sets.push(set("fix", 3, 1));
    let Next::Yield(finding) = next(&at) else {
        panic!("must yield")
    };
    assert_eq!(finding.reason, Reason::NewRelease);
    assert_eq!(finding.said, "r2 fix is live, neither r2 bad nor r1 good");
}

#[test]
fn a_template_that_is_put_back_is_never_fought_over() {
    let mut at = in_flight();
    rollout(&mut at).operation = Some("op-1".into());
    assert!(matches!(next(&at), Next::Fail(f) if f.reason == Reason::Overwritten));
}

#[test]
fn another_replica_set_under_the_same_hash_is_not_the_destination() {
    let mut at = in_flight();
    at.replica_sets[0].uid = "another".into();
    assert!(matches!(next(&at), Next::Fail(f) if f.reason == Reason::DestinationGone));
}

#[test]
fn a_workload_that_was_made_again_is_not_touched() {
    let mut at = in_flight();
    rollout(&mut at).uid = "new".into();
    assert!(matches!(next(&at), Next::Fail(f) if f.reason == Reason::WorkloadGone));
}

#[test]
fn there_is_no_safe_point_between_restore_and_promotion() {
    assert!(Revert::safe_point(&plan(), &promoted()));
    assert!(!Revert::safe_point(&plan(), &between()));
    let mut unobserved = between();
    rollout(&mut unobserved).observed = false;
    rollout(&mut unobserved).current = "bad".into();
    assert!(!Revert::safe_point(&plan(), &unobserved));
    let mut done = restored();
    rollout(&mut done).operation = Some("op-1".into());
    assert!(Revert::safe_point(&plan(), &done));
}
