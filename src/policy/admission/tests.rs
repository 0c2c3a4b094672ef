use std::time::Duration;

use super::*;
use crate::policy::decision::tests::{World, alert, rollback, second, target, world};
use crate::policy::guard::Hold;
use crate::rollback::Phase;
use crate::rollback::memory::{Latch, Made, MemoryStatus, Stable};
use crate::rollback::object::Mode;
use crate::target::Owner;
use crate::target::snapshot::tests as snapshots;
use crate::target::workload::Strategy;

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
fn a_persons_own_way_back_is_not_pulled_back_to_the_bad_release() {
    // `bad` was stable until 500, something else after it, and now somebody goes back to it.
    let mut world = world();
    let stable = |hash: &str, since, until| Stable {
        uid: "uid".into(),
        revision: 1,
        hash: hash.into(),
        since: second(since),
        until: Some(second(until)),
    };
    let mut status = MemoryStatus {
        history: vec![stable("bad", -1000, 500), stable("other", 500, 900)],
        ..MemoryStatus::default()
    };
    world.memory.status = Some(status.clone());
    assert_eq!(declined(&admit(&world, &claimed())), Reason::WayBack);
    // Nor is one that was never stable for long enough, or one of long ago, or one that was reported.
    for (since, until) in [(450, 500), (-20_000, -10_000)] {
        let mut other = status.clone();
        other.history[0] = stable("bad", since, until);
        world.memory.status = Some(other);
        assert!(matches!(admit(&world, &claimed()), Admission::Go { .. }));
    }
    world.memory.status = Some(status.clone());
    let mut held = rollback(1, Phase::Declined);
    held.metadata.name = Some("x-r1-bad".into());
    held.status.as_mut().unwrap().reason = Some(Reason::Held.into());
    world = world.with(held);
    assert!(matches!(admit(&world, &claimed()), Admission::Go { .. }));
    world.rollbacks.clear();
    // What was pulled back before is nobody's way back.
    status.blame(&world.at.live().unwrap(), "x", second(900));
    world.memory.status = Some(status);
    assert!(matches!(admit(&world, &claimed()), Admission::Go { .. }));
}

#[test]
fn a_destination_that_was_reported_itself_is_doubted() {
    let reported = |phase, reason: Reason, received| {
        let mut other = rollback(1, phase);
        other.metadata.name = Some("x-r1-good".into());
        other.spec.release.as_mut().unwrap().hash = "good".into();
        other.spec.received = Some(second(received));
        other.status.as_mut().unwrap().reason = Some(reason.into());
        world().with(other)
    };
    let held = reported(Phase::Declined, Reason::Held, 900);
    assert_eq!(
        declined(&admit(&held, &claimed())),
        Reason::DestinationSuspect
    );
    let mut shadow = rollback(1, Phase::Shadowed);
    shadow.metadata.name = Some("x-r1-good-shadow".into());
    shadow.spec.release.as_mut().unwrap().hash = "good".into();
    shadow.spec.mode = Mode::Shadow;
    for settled in [
        world().with(shadow),
        reported(Phase::Declined, Reason::NoRecentChange, 900),
        reported(Phase::Declined, Reason::Held, -1_000_000),
    ] {
        assert!(matches!(admit(&settled, &claimed()), Admission::Go { .. }));
    }
    let mut pinned = target();
    pinned.known_good = Some(crate::target::Pin::Hash("good".into()));
    let admission = held.facts().admit(&claimed(), &pinned, &held.at, &[]);
    assert!(matches!(admission, Admission::Go { .. }));
}

#[test]
fn a_template_that_is_put_back_again_and_again_latches() {
    let mut world = world();
    for revision in 1..=3 {
        let mut past = rollback(1, Phase::Succeeded);
        past.metadata.name = Some(format!("x-r{revision}0-bad"));
        past.spec.release.as_mut().unwrap().revision = revision * 10;
        past.status.as_mut().unwrap().run.first_mutation = Some(second(900));
        world = world.with(past);
    }
    let Admission::Decline { finding, latch } = admit(&world, &claimed()) else {
        panic!()
    };
    assert_eq!((finding.reason, latch), (Reason::AttemptsExhausted, true));
    assert_eq!(
        finding.said,
        "r2 bad was pulled back 3 times, and is live again"
    );
}

#[test]
fn a_spec_that_the_controller_refuses_is_left_alone() {
    let mut world = world();
    world.at.rollout.as_mut().unwrap().invalid = true;
    assert_eq!(declined(&admit(&world, &claimed())), Reason::SpecInvalid);
}

#[test]
fn a_deployment_without_pods_is_left_alone() {
    let mut world = world();
    let rollout = world.at.rollout.as_mut().unwrap();
    rollout.replicas = 0;
    assert!(matches!(admit(&world, &claimed()), Admission::Go { .. }));
    world.at.rollout.as_mut().unwrap().strategy = Strategy::Deployment;
    assert_eq!(declined(&admit(&world, &claimed())), Reason::ScaledToZero);
}

/// Owned by Argo CD.
fn owned(mut world: World) -> World {
    world.at.rollout.as_mut().unwrap().owner = Some(Owner::ArgoCd(Some("shop".into())));
    world
}

#[test]
fn what_its_owner_would_undo_is_left_to_them_unless_an_abort_helps() {
    assert!(matches!(
        admit(&owned(world()), &claimed()),
        Admission::Go { .. }
    ));
    let promoted = owned(World::promoted_since(900));
    let left = admit(&promoted, &claimed());
    let Admission::Decline { finding, latch } = &left else {
        panic!("{left:?}")
    };
    assert_eq!((finding.reason, latch), (Reason::OwnedElsewhere, &false));
    assert_eq!(
        finding.said,
        "Argo CD application shop owns the spec and would undo a restored template, and an abort does not help: r2 bad \
         (bad) is promoted"
    );
    // A person's request is no more than an alert here.
    let mut by_hand = claimed();
    by_hand.spec.alerts.clear();
    assert_eq!(
        declined(&admit(&promoted, &by_hand)),
        Reason::OwnedElsewhere
    );
    let mut paused = owned(world());
    paused.at.rollout.as_mut().unwrap().paused = true;
    assert_eq!(
        declined(&admit(&paused, &claimed())),
        Reason::OwnedElsewhere
    );
}

#[test]
fn an_abort_leads_nowhere_but_to_the_stable_release() {
    let mut world = owned(world());
    let mut pinned = target();
    world.at.replica_sets.push(snapshots::set("older", 0, 0));
    pinned.known_good = Some(crate::target::Pin::Hash("older".into()));
    let admit = |world: &World| world.facts().admit(&claimed(), &pinned, &world.at, &[]);
    assert_eq!(declined(&admit(&world)), Reason::NoDestination);
    world.at.rollout.as_mut().unwrap().owner = None;
    assert!(matches!(admit(&world), Admission::Go { .. }));
}

#[test]
fn one_alert_that_passes_is_enough() {
    let mut several = claimed();
    let mut other = alert(989);
    other.fingerprint = "another".into();
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

#[test]
fn a_request_without_a_release_does_not_undo_what_another_has_done() {
    let mut by_hand = claimed();
    by_hand.spec.alerts.clear();
    by_hand.spec.release = None;
    let mut other = rollback(1, Phase::Succeeded);
    let run = &mut other.status.as_mut().unwrap().run;
    run.first_mutation = Some(second(992));
    run.finished = Some(second(995));
    let mut world = world();
    world.rollbacks = vec![std::sync::Arc::new(other)];
    assert_eq!(declined(&admit(&world, &by_hand)), Reason::Duplicate);
    by_hand.spec.received = Some(second(996));
    assert!(matches!(admit(&world, &by_hand), Admission::Go { .. }));
}

#[test]
fn a_trigger_that_acts_no_more_is_not_acted_on() {
    let mut world = world();
    world.policy.triggers[0].mode = crate::rollback::object::Mode::Shadow;
    assert_eq!(declined(&admit(&world, &claimed())), Reason::Shadow);
}
