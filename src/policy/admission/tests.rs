use std::time::Duration;

use super::*;
use crate::policy::decision::tests::{World, alert, rollback, second, target, world};
use crate::policy::guard::Hold;
use crate::rollback::Phase;
use crate::rollback::memory::{Latch, Made, MemoryStatus};
use crate::target::snapshot::tests as snapshots;

fn claimed() -> Rollback {
    let mut claimed = rollback(1, Phase::Pending);
    claimed.spec.alerts = vec![alert(990)];
    claimed.spec.received = Some(second(991));
    claimed
}

fn admit(world: &World, rollback: &Rollback) -> Admission {
    world.facts().admit(rollback, &target(), &world.at, &[])
}

fn declined(admission: &Admission) -> Reason {
    let Admission::Decline { finding, .. } = admission else {
        panic!("{admission:?}")
    };
    finding.reason
}

#[test]
fn a_claim_on_the_live_release_goes_to_the_stable_one() {
    let Admission::Go {
        from,
        destination,
        procedure,
    } = admit(&world(), &claimed())
    else {
        panic!()
    };
    assert_eq!(
        (from.hash.as_str(), destination.release.hash.as_str()),
        ("bad", "good")
    );
    assert_eq!(procedure.name, crate::procedure::BUILT_IN);
}

#[test]
fn every_guard_is_asked_again() {
    let mut held = world();
    held.hold = Hold::Held("x".into());
    assert_eq!(declined(&admit(&held, &claimed())), Reason::Held);

    let mut latched = world();
    let latch = Latch {
        since: second(1),
        rollback: "old".into(),
        finding: Reason::Unhealthy.into(),
    };
    latched.memory.status = Some(MemoryStatus {
        latch: Some(latch),
        ..MemoryStatus::default()
    });
    assert_eq!(declined(&admit(&latched, &claimed())), Reason::Latched);
    latched.memory.spec.acknowledge = Some("old".into());
    assert!(matches!(admit(&latched, &claimed()), Admission::Go { .. }));

    let mut protected = world();
    protected.policy.protected.insert("prod".into());
    assert_eq!(
        declined(&admit(&protected, &claimed())),
        Reason::ProtectedNamespace
    );

    let old = World::promoted_since(-10_000);
    assert_eq!(declined(&admit(&old, &claimed())), Reason::NoRecentChange);
}

#[test]
fn one_alert_that_passes_is_enough() {
    let mut several = claimed();
    let mut other = alert(989);
    other.release_hash = Some("good".into());
    several.spec.alerts = vec![other.clone()];
    assert_eq!(declined(&admit(&world(), &several)), Reason::NotThisRelease);
    several.spec.alerts.push(alert(990));
    assert!(matches!(admit(&world(), &several), Admission::Go { .. }));
    several.spec.alerts[1].ended = Some(second(995));
    assert_eq!(declined(&admit(&world(), &several)), Reason::NotThisRelease);
    several.spec.alerts[0].ended = Some(second(995));
    assert_eq!(
        declined(&admit(&world(), &several)),
        Reason::ResolvedBeforeStart
    );
}

#[test]
fn late_is_never() {
    let mut world = world();
    world.now = second(991 + 120);
    assert!(matches!(admit(&world, &claimed()), Admission::Go { .. }));
    world.now = second(991 + 121);
    assert_eq!(declined(&admit(&world, &claimed())), Reason::TooLate);
}

#[test]
fn a_release_that_is_no_longer_live_is_let_be() {
    let mut world = world();
    world.at.rollout.as_mut().unwrap().current = "fix".into();
    assert!(matches!(admit(&world, &claimed()), Admission::Supersede(_)));
    let mut again = self::world();
    again.at.rollout.as_mut().unwrap().revision = 9;
    assert!(
        matches!(admit(&again, &claimed()), Admission::Supersede(_)),
        "the same template, deployed again"
    );
}

#[test]
fn a_missing_permission_is_named() {
    let missing = ["patch rollouts.argoproj.io in prod".to_owned()];
    let Admission::Decline { finding, .. } =
        world()
            .facts()
            .admit(&claimed(), &target(), &world().at, &missing)
    else {
        panic!()
    };
    assert_eq!(
        finding.said,
        "the service account may not patch rollouts.argoproj.io in prod"
    );
}

#[test]
fn an_unobserved_release_is_waited_for_a_while() {
    let mut world = world();
    world.at.rollout.as_mut().unwrap().observed = false;
    assert!(matches!(admit(&world, &claimed()), Admission::Wait(_)));
    world.now = second(991 + 30);
    assert_eq!(
        declined(&admit(&world, &claimed())),
        Reason::WorkloadUnobserved
    );
}

#[test]
fn our_own_release_latches_instead_of_being_pulled_back() {
    let mut world = world();
    world.at = snapshots::restored();
    let mut claim = claimed();
    claim.spec.release = world.at.live();
    // While it may not have shown its effect yet, a claim is one of a replica that was not in step.
    for (at, wanted) in [
        (600, (Reason::ReleaseIsOurs, true)),
        (900, (Reason::Duplicate, false)),
    ] {
        let made = Made {
            hash: "good".into(),
            revision: 3,
            at: second(at),
            rollback: "gone".into(),
        };
        world.memory.status = Some(MemoryStatus {
            made: vec![made],
            ..MemoryStatus::default()
        });
        let Admission::Decline { finding, latch } = admit(&world, &claim) else {
            panic!()
        };
        assert_eq!((finding.reason, latch), wanted);
    }
}

#[test]
fn a_person_may_go_where_alerts_may_not() {
    let mut by_hand = claimed();
    by_hand.spec.alerts.clear();
    by_hand.spec.release = None;
    let mut world = world();
    let latch = Latch {
        since: second(1),
        rollback: "old".into(),
        finding: Reason::Unhealthy.into(),
    };
    world.memory.status = Some(MemoryStatus {
        latch: Some(latch),
        ..MemoryStatus::default()
    });
    assert!(matches!(admit(&world, &by_hand), Admission::Go { .. }));
    world.hold = Hold::Held("x".into());
    assert_eq!(declined(&admit(&world, &by_hand)), Reason::Held);
}

#[test]
fn the_most_severe_alert_names_the_procedure() {
    let mut claim = claimed();
    let mut worse = alert(991);
    worse.severity = crate::alert::Severity::P0;
    worse.procedure = "flush".into();
    claim.spec.alerts[0].severity = crate::alert::Severity::P1;
    claim.spec.alerts.push(worse);
    let Admission::Decline { finding, .. } = admit(&world(), &claim) else {
        panic!()
    };
    assert_eq!(finding.said, "the policy has no procedure flush");
}

#[test]
fn without_a_destination_a_person_is_asked() {
    let world = World::promoted_since(980);
    assert_eq!(declined(&admit(&world, &claimed())), Reason::NoDestination);
    assert_eq!(target().start_within, Duration::from_secs(120));
}
