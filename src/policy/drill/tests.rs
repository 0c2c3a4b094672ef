use std::sync::Arc;

use super::*;
use crate::policy::admission::Admission;
use crate::policy::decision::tests::{World, alert, rollback, second, world};
use crate::policy::guard::Hold;
use crate::policy::{Decision, decision};
use crate::rollback::memory::{Latch, Live, MemoryStatus, Stable};
use crate::rollback::{Memory, Phase};
use crate::target::Owner;
use crate::target::drill::tests::drilled;
use crate::target::snapshot::tests::{restored, set};

fn target() -> Target {
    Target {
        drills: Drills::Allowed,
        ..decision::tests::target()
    }
}

fn status(memory: &mut Memory) -> &mut MemoryStatus {
    memory.status.as_mut().unwrap()
}

/// `good` is live since this second and stable, as r3; `older` was before it, from -9000 on.
fn at_rest(since: i64) -> World {
    let mut world = world();
    world.at = restored();
    world.at.rollout.as_mut().unwrap().phase = "Healthy".into();
    world.at.replica_sets.push(set("older", 0, 0));
    let stable = |hash: &str, since, until: Option<i64>| Stable {
        uid: "uid".into(),
        revision: 3,
        hash: hash.into(),
        since: second(since),
        until: until.map(second),
    };
    world.memory.status = Some(MemoryStatus {
        live: Some(Live {
            uid: "uid".into(),
            revision: 3,
            hash: "good".into(),
            changed: second(since),
            promoted: Some(second(since)),
        }),
        history: vec![
            stable("older", -9000, Some(since)),
            stable("good", since, None),
        ],
        ..MemoryStatus::default()
    });
    world
}

/// The same, and a drill of it is in flight as `bad`.
fn in_flight(since: i64) -> World {
    let mut world = at_rest(since);
    let mut at = drilled();
    at.rollout.as_mut().unwrap().revision = 4;
    at.replica_sets.push(set("older", 0, 0));
    learn(&mut world, &at);
    world.at = at;
    world
}

fn learn(world: &mut World, at: &Snapshot) {
    let now = world.now;
    let memory = status(&mut world.memory);
    if let Some(twin) = at.drilled() {
        memory.remember_drilled(&twin, now);
    }
    memory.observe(at.rollout.as_ref().unwrap(), None, now);
}

/// The request that takes the drill's release back.
fn request(world: &World) -> Rollback {
    let mut request = rollback(1, Phase::Pending);
    request.metadata.name = Some("x-drill-d1".into());
    request.spec.alerts.clear();
    request.spec.drill = true;
    request.spec.release = world.at.live();
    request.spec.received = Some(second(999));
    request
}

fn refused(world: &World, target: &Target) -> Reason {
    world
        .facts()
        .drillable(target, &world.at)
        .unwrap_err()
        .reason
}

fn declined(world: &World, target: &Target, rollback: &Rollback) -> Reason {
    match world.facts().admit(rollback, target, &world.at, &[]) {
        Admission::Decline { finding, latch } => {
            assert!(!latch, "a drill latches nothing");
            finding.reason
        }
        other => panic!("{other:?}"),
    }
}

/// A drill that ended in this phase: `good` is back, as r5.
fn over(phase: Phase) -> World {
    let mut world = in_flight(-500);
    let mut done = request(&world);
    let before = rollback(1, phase);
    done.status = before.status;
    let status = done.status.as_mut().unwrap();
    status.phase = phase;
    status.run.first_mutation = Some(second(1001));
    status.run.finished = Some(second(1003));
    world.rollbacks = vec![Arc::new(done)];
    let mut back = restored();
    back.rollout.as_mut().unwrap().revision = 5;
    back.replica_sets.push(set("older", 0, 0));
    learn(&mut world, &back);
    world.at = back;
    world.now = second(1005);
    world
}

#[test]
fn a_drill_begins_only_where_everything_is_at_rest_and_allowed() {
    let world = at_rest(-9000);
    let live = world.facts().drillable(&target(), &world.at).unwrap();
    assert_eq!(live.hash, "good");
    assert_eq!(
        refused(&world, &decision::tests::target()),
        Reason::DrillNotAllowed
    );
    let pinned = |pin| Target {
        known_good: Some(pin),
        ..target()
    };
    let other = pinned(Pin::Hash("older".into()));
    assert_eq!(refused(&world, &other), Reason::NoDestination);
    let revision = pinned(Pin::Revision(3));
    assert_eq!(refused(&world, &revision), Reason::NoDestination);
    let same = pinned(Pin::Hash("good".into()));
    assert!(world.facts().drillable(&same, &world.at).is_ok());
}

#[test]
fn each_thing_under_way_refuses_a_drill() {
    type Change = fn(&mut World);
    let cases: &[(Reason, Change)] = &[
        (Reason::Held, |it| it.hold = Hold::Held("x".into())),
        (Reason::Latched, |it| {
            status(&mut it.memory).latch = Some(Latch {
                since: second(1),
                rollback: "old".into(),
                finding: Reason::Unhealthy.into(),
            });
        }),
        (Reason::ProtectedNamespace, |it| {
            it.policy.protected.insert("prod".into());
        }),
        (Reason::NotAtRest, |it| {
            it.rollbacks = vec![Arc::new(rollback(1, Phase::Running))];
        }),
        (Reason::NotAtRest, |it| {
            it.rollbacks = vec![Arc::new(rollback(1, Phase::AwaitingApproval))];
        }),
        (Reason::NotAtRest, |it| {
            it.at.rollout.as_mut().unwrap().current = "new".into();
        }),
        (Reason::NotAtRest, |it| {
            it.at.rollout.as_mut().unwrap().paused = true;
        }),
        (Reason::NotAtRest, |it| {
            it.at.rollout.as_mut().unwrap().phase = "Degraded".into();
        }),
        (Reason::NotAtRest, |it| {
            it.at.rollout.as_mut().unwrap().drill = Some("d0".into());
        }),
        (Reason::OwnedElsewhere, |it| {
            it.at.rollout.as_mut().unwrap().owner = Some(Owner::ArgoCd(None));
        }),
        (Reason::SpecInvalid, |it| {
            it.at.rollout.as_mut().unwrap().invalid = Some(Reason::SpecInvalid);
        }),
        (Reason::TemplateElsewhere, |it| {
            it.at.rollout.as_mut().unwrap().workload_ref = true;
        }),
        (Reason::WorkloadUnobserved, |it| {
            it.at.rollout.as_mut().unwrap().observed = false;
        }),
        (Reason::WorkloadMissing, |it| it.at.rollout = None),
        (Reason::DestinationBlamed, |it| {
            let good = it.at.live().unwrap();
            status(&mut it.memory).blame(&good, "old", second(1));
        }),
    ];
    for (at, (reason, change)) in cases.iter().enumerate() {
        let mut world = at_rest(-9000);
        change(&mut world);
        assert_eq!(refused(&world, &target()), *reason, "case {at}");
    }
    // What has ended, and what only watched, is nothing under way.
    let mut shadow = rollback(1, Phase::Pending);
    shadow.spec.mode = crate::rollback::object::Mode::Shadow;
    let world = at_rest(-9000)
        .with(rollback(1, Phase::Succeeded))
        .with(shadow);
    assert!(world.facts().drillable(&target(), &world.at).is_ok());
}

#[test]
fn a_drill_leads_back_to_what_it_was_made_of() {
    // However new that is.
    let mut world = in_flight(990);
    let request = request(&world);
    let go = |world: &World| match world.facts().admit(&request, &target(), &world.at, &[]) {
        Admission::Go {
            from,
            destination,
            procedure,
        } => {
            assert_eq!(procedure.escalate_to, None);
            (from.hash, destination.release.hash)
        }
        other => panic!("{other:?}"),
    };
    world
        .policy
        .escalations
        .insert(crate::alert::Severity::P0, "next".into());
    assert_eq!(go(&world), ("bad".into(), "good".into()));
    // Promoted meanwhile.
    let rollout = world.at.rollout.as_mut().unwrap();
    rollout.stable = "bad".into();
    assert_eq!(go(&world), ("bad".into(), "good".into()));
}

#[test]
fn what_is_no_drill_is_not_taken_back_as_one() {
    let drilled = in_flight(-9000);
    let request = request(&drilled);
    assert_eq!(
        declined(&drilled, &decision::tests::target(), &request),
        Reason::DrillNotAllowed
    );
    // A bad release, and somebody who would like it not to be blamed.
    let mut plain = in_flight(-9000);
    plain.at = crate::target::snapshot::tests::in_flight();
    plain.at.rollout.as_mut().unwrap().revision = 4;
    assert_eq!(declined(&plain, &target(), &request), Reason::NoDrill);
    let mut owned = in_flight(-9000);
    owned.at.rollout.as_mut().unwrap().owner = Some(Owner::ArgoCd(None));
    assert_eq!(
        declined(&owned, &target(), &request),
        Reason::OwnedElsewhere
    );
    let mut held = in_flight(-9000);
    held.hold = Hold::Held("x".into());
    assert_eq!(declined(&held, &target(), &request), Reason::Held);
}

#[test]
fn an_alert_during_a_drill_is_judged_as_if_there_were_none() {
    // What serves is old: no cause, although something is in flight.
    let old = in_flight(-9000);
    assert_eq!(
        old.decide(&alert(995)).finding().reason,
        Reason::NoRecentChange
    );
    // It is new: it is pulled back to what was before it, and not to itself.
    let mut new = in_flight(-500);
    let Decision::Start {
        name,
        release,
        refusal,
        ..
    } = new.decide(&alert(995))
    else {
        panic!()
    };
    assert_eq!((&*name, refusal), ("x-r4-bad", None));
    let mut claim = rollback(1, Phase::Pending);
    claim.spec.alerts = vec![alert(995)];
    claim.spec.received = Some(second(999));
    claim.spec.release = release;
    let to = |world: &World, claim: &Rollback| match world.facts().admit(
        claim,
        &target(),
        &world.at,
        &[],
    ) {
        Admission::Go {
            from, destination, ..
        } => (from.hash, destination.release.hash),
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&new, &claim), ("bad".into(), "older".into()));
    // The drill's own request is under way: the alert does not join it, and its labels may name either hash.
    new.rollbacks = vec![Arc::new(request(&new))];
    let mut named = alert(995);
    for hash in ["good", "bad"] {
        named.release_hash = Some(hash.into());
        assert_eq!(new.decide(&named).word(), "start", "{hash}");
    }
    named.release_hash = Some("older".into());
    assert_eq!(new.decide(&named).finding().reason, Reason::NotThisRelease);
    // The drill ended before the alert's turn came: it is about what serves all the same.
    let after = over(Phase::Superseded);
    assert_eq!(to(&after, &claim), ("good".into(), "older".into()));
}

#[test]
fn after_a_drill_nothing_is_as_if_there_had_been_one() {
    for phase in [Phase::Succeeded, Phase::Failed, Phase::Superseded] {
        let new = over(phase);
        assert_eq!(new.decide(&alert(1004)).word(), "start", "{phase:?}");
        let live = new.at.live().unwrap();
        assert!(new.facts().ours(&live).is_none());
        assert!(new.facts().exhausted(&live).is_ok());
        assert_eq!(new.facts().changed(&live), Some(second(-500)));
        assert!(new.facts().drillable(&target(), &new.at).is_ok());
    }
}
