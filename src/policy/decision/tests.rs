use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::alert::{Matchers, Severity};
use crate::policy::Policy;
use crate::policy::guard::Hold;
use crate::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use crate::procedure::{BUILT_IN, Procedure};
use crate::rollback::memory::{Blame, Latch, Live, Made, Memory, MemorySpec, MemoryStatus};
use crate::rollback::object::{Persisting, Plan, RollbackSpec, RollbackStatus};
use crate::target::snapshot::tests as snapshots;
use crate::target::{Snapshot, Target};

/// Everything that a decision is made from, to be bent by each test.
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) at: Snapshot,
    pub(crate) hold: Hold,
    pub(crate) memory: Memory,
    pub(crate) rollbacks: Vec<Arc<Rollback>>,
    pub(crate) now: Timestamp,
    pub(crate) unobserved_for: std::time::Duration,
}

pub(crate) fn second(n: i64) -> Timestamp {
    Timestamp::from_second(n).unwrap()
}

pub(crate) fn target() -> Target {
    crate::rollback::history::tests::target()
}

/// A bad canary in flight at second 1000, and nothing on record.
pub(crate) fn world() -> World {
    let procedure = Procedure::built_in();
    World {
        policy: Policy {
            digest: String::new(),
            cluster: None,
            protected: BTreeSet::new(),
            hash_label: "rollouts_pod_template_hash".into(),
            targets: BTreeMap::from([("api".into(), target())]),
            triggers: vec![trigger(Severity::P0, Mode::Act)],
            severities: BTreeMap::from([
                (Severity::P0, BUILT_IN.into()),
                (Severity::P1, BUILT_IN.into()),
            ]),
            asks: BTreeSet::new(),
            escalations: BTreeMap::new(),
            procedures: BTreeMap::from([(procedure.name.clone(), procedure)]),
        },
        at: snapshots::in_flight(),
        hold: Hold::Free,
        memory: Memory::new("api", MemorySpec::default()),
        rollbacks: vec![],
        now: second(1000),
        unobserved_for: std::time::Duration::ZERO,
    }
}

fn trigger(severity: Severity, mode: Mode) -> Trigger {
    Trigger {
        name: "latency".into(),
        place: "rollbacks.yaml:1".into(),
        matchers: Matchers::default(),
        target: TargetChoice::Named("api".into()),
        severity: SeverityChoice::Fixed(severity),
        mode,
        procedure: None,
    }
}

/// An alert that began at this second.
pub(crate) fn alert(began: i64) -> AlertRecord {
    AlertRecord {
        fingerprint: "f".into(),
        name: "LatencyHigh".into(),
        began: second(began),
        received: second(began),
        severity: Severity::P0,
        trigger: "latency".into(),
        procedure: BUILT_IN.into(),
        release_hash: None,
        summary: None,
        runbook: None,
        source: None,
        ended: None,
    }
}

/// A rollback from `bad` (r2) under the lock's name, in this phase.
pub(crate) fn rollback(number: u32, phase: Phase) -> Rollback {
    let from = snapshots::in_flight().live().unwrap();
    let spec = RollbackSpec {
        target: "api".into(),
        release: Some(from.clone()),
        procedure: None,
        trigger: None,
        severity: Severity::P0,
        mode: Mode::Act,
        alerts: vec![alert(950)],
        alerts_omitted: 0,
        received: Some(second(951)),
        parent: None,
        rung: None,
        reason: None,
        requested_by: None,
        drill: false,
        unplaced: None,
        trace: None,
        cancel: None,
        approval: None,
    };
    let mut rollback = Rollback::new(&name::lock("x", &from, number), spec);
    rollback.metadata.namespace = Some("prod".into());
    rollback.metadata.uid = Some("rb-uid".into());
    rollback.status = Some(RollbackStatus {
        phase,
        ..RollbackStatus::default()
    });
    rollback
}

/// The rollback from `bad` to `good` that ended at second 960, and the world after it.
pub(crate) fn after_success() -> World {
    let mut world = world();
    world.at = snapshots::restored();
    let mut done = rollback(1, Phase::Succeeded);
    let status = done.status.as_mut().unwrap();
    status.plan = Some(Plan {
        made: second(951),
        procedure: BUILT_IN.into(),
        severity: Severity::P0,
        budget_seconds: 30.0,
        from: snapshots::in_flight().live().unwrap(),
        to: snapshots::restored().live().unwrap(),
        chosen: String::new(),
        workload: "x".into(),
        kind: crate::target::Kind::Rollout,
        deployments: vec![],
        give_up_seconds: 900.0,
        served: true,
        owner: None,
        escalate_to: None,
        steps: vec![],
    });
    status.run.first_mutation = Some(second(952));
    status.run.healthy = Some(second(960));
    status.run.finished = Some(second(960));
    world.rollbacks = vec![Arc::new(done)];
    world
}

impl World {
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            now: self.now,
            policy: &self.policy,
            hold: &self.hold,
            memory: Some(&self.memory),
            rollout: self.at.rollout.as_ref(),
            live_created: None,
            live: self.at.live(),
            unobserved_for: self.unobserved_for,
            rollbacks: &self.rollbacks,
        }
    }

    pub(crate) fn decide(&self, alert: &AlertRecord) -> Decision {
        let ask = self
            .policy
            .ask_of(&self.policy.triggers[0], &crate::alert::Labels::default())
            .unwrap();
        self.facts().decide(&ask, alert)
    }

    /// The bad release promoted, and remembered as live since this second.
    pub(crate) fn promoted_since(changed: i64) -> Self {
        let mut world = world();
        world.at = snapshots::promoted();
        let live = Live {
            uid: "uid".into(),
            revision: 2,
            hash: "bad".into(),
            changed: second(changed),
            promoted: Some(second(changed)),
        };
        world.memory.status = Some(MemoryStatus {
            live: Some(live),
            ..MemoryStatus::default()
        });
        world
    }

    pub(crate) fn with(mut self, rollback: Rollback) -> Self {
        self.rollbacks.push(Arc::new(rollback));
        self
    }
}

fn reason_of(decision: &Decision) -> Reason {
    decision.finding().reason
}

#[test]
fn a_release_in_flight_is_claimed_under_its_name() {
    let Decision::Start {
        name,
        release,
        parent,
        refusal,
        ask,
    } = world().decide(&alert(990))
    else {
        panic!()
    };
    assert_eq!((name.as_str(), parent, refusal), ("x-r2-bad", None, None));
    assert_eq!((release.unwrap().hash.as_str(), ask), ("bad", None));
}

#[test]
fn what_must_be_asked_about_is_claimed_all_the_same() {
    let mut world = world();
    world.policy.triggers[0].mode = Mode::Ask;
    let asked = world.decide(&alert(990));
    assert_eq!(asked.word(), "ask");
    assert_eq!(asked.rollback(), Some("x-r2-bad"));
    assert_eq!(reason_of(&asked), Reason::AwaitingApproval);
    // While it waits, alerts join it.
    let world = world.with(rollback(1, Phase::AwaitingApproval));
    assert_eq!(world.decide(&alert(990)).word(), "join");
}

#[test]
fn a_persons_no_is_final_and_silence_is_asked_about_again() {
    let ended = |reason: Reason, now: i64| {
        let mut ended = rollback(1, Phase::Declined);
        let status = ended.status.as_mut().unwrap();
        status.reason = Some(reason.into());
        status.run.finished = Some(second(1000));
        let mut world = world().with(ended);
        world.policy.triggers[0].mode = Mode::Ask;
        world.now = second(now);
        world.decide(&alert(990))
    };
    let denied = ended(Reason::ApprovalDenied, 3000);
    assert_eq!(
        (denied.word(), reason_of(&denied)),
        ("decline", Reason::ApprovalDenied)
    );
    let silent = ended(Reason::ApprovalExpired, 1100);
    assert_eq!(
        (silent.word(), reason_of(&silent)),
        ("decline", Reason::ApprovalExpired)
    );
    let again = ended(Reason::ApprovalExpired, 1301);
    assert_eq!(
        (again.word(), again.rollback()),
        ("ask", Some("x-r2-bad-2"))
    );
}

#[test]
fn a_note_never_acts() {
    let mut world = world();
    world.policy.triggers[0].severity = SeverityChoice::Fixed(Severity::P2);
    let decision = world.decide(&alert(990));
    assert_eq!(decision.finding().to_string(), "P2 is a note");
    assert_eq!(reason_of(&decision), Reason::NoteOnly);
}

#[test]
fn a_trigger_that_is_a_note_never_acts_however_severe_it_is() {
    let mut world = world();
    let trigger = &mut world.policy.triggers[0];
    trigger.procedure = Some("note".into());
    trigger.severity = SeverityChoice::Fixed(Severity::P0);
    let decision = world.decide(&alert(990));
    assert_eq!(decision.finding().to_string(), "trigger latency is a note");
    assert_eq!(reason_of(&decision), Reason::NoteOnly);
    // Nor are people told where it leads to no workload, and its mode is none of the target's.
    let policy = &world.policy;
    let labels = crate::alert::Labels::default();
    assert_eq!(policy.severity_unplaced(&policy.triggers[0], &labels), None);
    assert_eq!(policy.mode_of(&policy.targets["api"]), "none");
}

#[test]
fn a_shadow_is_recorded_once_and_blocks_nothing() {
    let mut world = world();
    world.policy.triggers[0].mode = Mode::Shadow;
    let Decision::Shadow { name, .. } = world.decide(&alert(990)) else {
        panic!()
    };
    let mut shadow = rollback(1, Phase::Shadowed);
    shadow.metadata.name = Some(name);
    shadow.spec.mode = Mode::Shadow;
    let mut world = world.with(shadow);
    assert_eq!(reason_of(&world.decide(&alert(990))), Reason::Shadow);
    world.policy.triggers[0].mode = Mode::Act;
    assert!(matches!(
        world.decide(&alert(990)),
        Decision::Start { refusal: None, .. }
    ));
}

#[test]
fn alerts_join_what_is_under_way_and_repeats_are_known() {
    let world = world().with(rollback(1, Phase::Running));
    assert_eq!(
        world.decide(&alert(950)),
        Decision::Join {
            rollback: "x-r2-bad".into(),
            known: true
        }
    );
    assert_eq!(
        world.decide(&alert(955)),
        Decision::Join {
            rollback: "x-r2-bad".into(),
            known: false
        }
    );
}

#[test]
fn an_alert_joins_while_our_own_change_is_not_observed_yet() {
    let mut world = world().with(rollback(1, Phase::Running));
    let rollout = world.at.rollout.as_mut().unwrap();
    rollout.observed = false;
    rollout.operation = Some("rb-uid".into());
    assert!(matches!(
        world.decide(&alert(990)),
        Decision::Join { known: false, .. }
    ));
    world.at.rollout.as_mut().unwrap().operation = None;
    assert!(
        matches!(world.decide(&alert(990)), Decision::Wait(_)),
        "somebody else's change has no identity yet"
    );
}

#[test]
fn a_release_without_identity_is_waited_for_and_then_told() {
    let mut world = world();
    world.at.rollout.as_mut().unwrap().observed = false;
    assert!(
        matches!(world.decide(&alert(990)), Decision::Wait(f) if f.reason == Reason::WorkloadUnobserved)
    );
    world.unobserved_for = UNOBSERVED_LIMIT;
    let Decision::Start {
        name,
        release: None,
        refusal: Some(refusal),
        ..
    } = world.decide(&alert(990))
    else {
        panic!()
    };
    assert_eq!(refusal.reason, Reason::WorkloadUnobserved);
    let mut told = rollback(1, Phase::Declined);
    told.metadata.name = Some(name.clone());
    told.spec.release = None;
    let world = world.with(told);
    assert!(
        matches!(world.decide(&alert(990)), Decision::Decline { rollback: Some(by), .. } if by == name)
    );
}

#[test]
fn a_selector_that_names_no_release_is_told_at_once() {
    let mut world = world();
    let rollout = world.at.rollout.as_mut().unwrap();
    (rollout.observed, rollout.invalid) = (false, Some(Reason::ServiceOfRollout));
    let Decision::Start {
        release: None,
        refusal: Some(refusal),
        ..
    } = world.decide(&alert(990))
    else {
        panic!()
    };
    assert_eq!(refusal.reason, Reason::ServiceOfRollout);
}

#[test]
fn refused_by_a_guard_is_claimed_once_and_answered_from_its_record() {
    let mut world = world();
    world.hold = Hold::Held("jo: freeze".into());
    let Decision::Start {
        refusal: Some(refusal),
        ..
    } = world.decide(&alert(990))
    else {
        panic!()
    };
    assert_eq!(refusal.to_string(), "held: jo: freeze");
    let mut declined = rollback(1, Phase::Declined);
    declined.status.as_mut().unwrap().reason = Some(refusal);
    let mut world = world.with(declined);
    assert_eq!(reason_of(&world.decide(&alert(990))), Reason::Held);
    world.hold = Hold::Free;
    let Decision::Start { name, parent, .. } = world.decide(&alert(990)) else {
        panic!("the hold was lifted")
    };
    assert_eq!(
        (name.as_str(), parent.as_deref()),
        ("x-r2-bad-2", Some("x-r2-bad"))
    );
}

#[test]
fn an_unreadable_hold_means_held() {
    let mut world = world();
    world.hold = Hold::Unreadable("no ConfigMap".into());
    assert_eq!(
        reason_of(&world.decide(&alert(990))),
        Reason::HoldUnreadable
    );
}

#[test]
fn what_only_the_leader_can_judge_holds_for_a_while() {
    let mut declined = rollback(1, Phase::Declined);
    let status = declined.status.as_mut().unwrap();
    status.reason = Some(Reason::NoDestination.into());
    status.run.finished = Some(second(900));
    let mut world = world().with(declined);
    assert_eq!(reason_of(&world.decide(&alert(990))), Reason::NoDestination);
    world.now = second(900 + 301);
    assert!(
        matches!(world.decide(&alert(990)), Decision::Start { name, .. } if name == "x-r2-bad-2")
    );
}

#[test]
fn a_late_one_is_asked_again_and_a_cancelled_one_is_not() {
    let mut late = rollback(1, Phase::Declined);
    late.status.as_mut().unwrap().reason = Some(Reason::TooLate.into());
    assert!(
        matches!(world().with(late).decide(&alert(990)), Decision::Start { name, .. } if name == "x-r2-bad-2")
    );
    let cancelled = world().with(rollback(1, Phase::Cancelled));
    assert_eq!(reason_of(&cancelled.decide(&alert(990))), Reason::Cancelled);
}

#[test]
fn a_failed_one_latches_until_a_person_acknowledges_it() {
    let mut world = world().with(rollback(1, Phase::Failed));
    assert_eq!(reason_of(&world.decide(&alert(990))), Reason::Latched);
    world.memory.spec.acknowledge = Some("x-r2-bad".into());
    assert!(
        matches!(world.decide(&alert(990)), Decision::Start { name, .. } if name == "x-r2-bad-2")
    );
}

#[test]
fn only_rollbacks_that_changed_something_count_towards_the_cap() {
    let of = |touched: bool, count: usize| {
        let mut world = world();
        for number in 1..=u32::try_from(count).unwrap() {
            let mut past = rollback(number, Phase::Declined);
            let status = past.status.as_mut().unwrap();
            status.reason = Some(Reason::TooLate.into());
            status.run.first_mutation = touched.then(|| second(960));
            world = world.with(past);
        }
        reason_of(&world.decide(&alert(990)))
    };
    assert_eq!(of(true, name::CAP - 1), Reason::Claimed);
    assert_eq!(of(true, name::CAP), Reason::AttemptsExhausted);
    assert_eq!(of(false, name::CAP + 4), Reason::Claimed);
    assert_eq!(of(false, name::NUMBERS as usize), Reason::AttemptsExhausted);
}

#[test]
fn an_alert_that_began_before_the_deploy_never_pulls_back_the_fix() {
    let mut world = world();
    let live = Live {
        uid: "uid".into(),
        revision: 2,
        hash: "bad".into(),
        changed: second(900),
        promoted: None,
    };
    world.memory.status = Some(MemoryStatus {
        live: Some(live),
        ..MemoryStatus::default()
    });
    let Decision::Start { refusal, .. } = world.decide(&alert(100)) else {
        panic!()
    };
    assert_eq!(refusal.unwrap().reason, Reason::NoRecentChange);
    let Decision::Start { refusal, .. } = world.decide(&alert(850)) else {
        panic!()
    };
    assert_eq!(refusal, None, "within the skew of clocks");
}

#[test]
fn a_promotion_while_the_alert_fires_does_not_clear_the_release() {
    let mut world = World::promoted_since(0);
    let live = world.memory.status.as_mut().unwrap().live.as_mut().unwrap();
    live.promoted = Some(second(990));
    let Decision::Start { refusal, .. } = world.decide(&alert(120)) else {
        panic!()
    };
    assert_eq!(refusal, None);
}

#[test]
fn a_succeeded_one_whose_from_is_live_again_is_followed() {
    let world = world().with(rollback(1, Phase::Succeeded));
    assert!(
        matches!(world.decide(&alert(990)), Decision::Start { name, .. } if name == "x-r2-bad-2")
    );
}

#[test]
fn another_workload_of_the_same_name_is_followed_not_joined() {
    let mut other = rollback(1, Phase::Failed);
    other.spec.release.as_mut().unwrap().uid = "before".into();
    let world = world().with(other);
    assert!(
        matches!(world.decide(&alert(990)), Decision::Start { name, .. } if name == "x-r2-bad-2")
    );
}

#[test]
fn alerts_that_our_rollback_has_mended_are_duplicates_while_it_settles() {
    let world = after_success();
    assert_eq!(reason_of(&world.decide(&alert(950))), Reason::Duplicate);
    assert_eq!(reason_of(&world.decide(&alert(990))), Reason::Duplicate);
}

#[test]
fn an_alert_that_outlives_the_settle_window_latches_once() {
    let mut world = after_success();
    world.now = second(960 + 301);
    let Decision::Persist { rollback, finding } = world.decide(&alert(950)) else {
        panic!()
    };
    assert_eq!(
        (rollback.as_str(), finding.reason),
        ("x-r2-bad", Reason::StillFiring)
    );
    let mut marked = Rollback::clone(&world.rollbacks[0]);
    marked.status.as_mut().unwrap().alerts.persisting = Some(Persisting {
        noticed: world.now,
        finding,
    });
    world.rollbacks = vec![Arc::new(marked)];
    assert_eq!(reason_of(&world.decide(&alert(950))), Reason::StillFiring);
    let latch = Latch {
        since: world.now,
        rollback,
        finding: Reason::StillFiring.into(),
    };
    world.memory.status = Some(MemoryStatus {
        latch: Some(latch),
        ..MemoryStatus::default()
    });
    assert_eq!(reason_of(&world.decide(&alert(950))), Reason::Latched);
}

#[test]
fn an_alert_that_begins_after_our_restore_never_pulls_it_back() {
    let mut world = after_success();
    world.now = second(2000);
    let Decision::Persist { finding, .. } = world.decide(&alert(1990)) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::ReleaseIsOurs);
}

#[test]
fn the_memory_knows_our_releases_after_their_rollbacks_are_gone() {
    let mut world = after_success();
    world.rollbacks.clear();
    world.now = second(2000);
    let made = Made {
        hash: "good".into(),
        revision: 3,
        at: second(955),
        rollback: "x-r2-bad".into(),
    };
    let blame = Blame {
        hash: "bad".into(),
        revision: 2,
        at: second(952),
        rollback: "x-r2-bad".into(),
    };
    world.memory.status = Some(MemoryStatus {
        made: vec![made],
        blamed: vec![blame],
        ..MemoryStatus::default()
    });
    assert!(
        matches!(world.decide(&alert(1990)), Decision::Start { name, .. } if name == "x-r3-good")
    );
    world.now = second(956);
    assert_eq!(reason_of(&world.decide(&alert(950))), Reason::Duplicate);
}

#[test]
fn series_of_the_bad_release_that_still_ring_are_duplicates() {
    let mut world = after_success();
    world.now = second(5000);
    let mut lingering = alert(950);
    lingering.release_hash = Some("bad".into());
    assert_eq!(reason_of(&world.decide(&lingering)), Reason::Duplicate);
}

#[test]
fn a_later_deploy_of_the_restored_template_is_not_ours() {
    let mut world = after_success();
    world.now = second(2000);
    world.at.rollout.as_mut().unwrap().revision = 5;
    assert!(
        matches!(world.decide(&alert(1990)), Decision::Start { name, .. } if name == "x-r5-good")
    );
}

#[test]
fn a_change_counts_as_cause_only_within_its_window() {
    let cases = [
        (950, 1000, None),                          // 50 s before
        (1050, 1000, None),                         // after, within the skew of clocks
        (1061, 1000, Some(Reason::NoRecentChange)), // after the alert began
        (0, 3601, Some(Reason::NoRecentChange)),    // too long before
        (1, 3601, None),                            // just within
    ];
    for (changed, began, wanted) in cases {
        let world = World::promoted_since(changed);
        let Decision::Start { refusal, .. } = world.decide(&alert(began)) else {
            panic!()
        };
        assert_eq!(
            refusal.map(|f| f.reason),
            wanted,
            "changed {changed}, began {began}"
        );
    }
}

#[test]
fn an_alert_that_names_the_destination_is_not_about_this_release() {
    let mut named = alert(990);
    named.release_hash = Some("good".into());
    let Decision::Start {
        refusal: Some(refusal),
        ..
    } = world().decide(&named)
    else {
        panic!()
    };
    assert_eq!(refusal.reason, Reason::NotThisRelease);
    named.release_hash = Some("bad".into());
    assert!(matches!(
        world().decide(&named),
        Decision::Start { refusal: None, .. }
    ));
}

#[test]
fn a_new_deploy_in_the_middle_of_a_rollback_is_claimed_for_itself() {
    let mut world = world().with(rollback(1, Phase::Running));
    let rollout = world.at.rollout.as_mut().unwrap();
    rollout.current = "fix".into();
    rollout.revision = 3;
    assert!(
        matches!(world.decide(&alert(990)), Decision::Start { name, .. } if name == "x-r3-fix")
    );
}

#[test]
fn a_missing_workload_is_told_once() {
    let mut world = world();
    world.at.rollout = None;
    let Decision::Start {
        refusal: Some(refusal),
        release: None,
        ..
    } = world.decide(&alert(990))
    else {
        panic!()
    };
    assert_eq!(refusal.reason, Reason::WorkloadMissing);
}

#[test]
fn a_late_copy_of_an_ended_firing_starts_nothing() {
    let mut declined = rollback(1, Phase::Declined);
    declined.status.as_mut().unwrap().reason = Some(Reason::ResolvedBeforeStart.into());
    declined.spec.alerts[0].ended = Some(second(990));
    let mut world = world().with(declined);
    assert_eq!(reason_of(&world.decide(&alert(950))), Reason::LateCopy);
    assert!(matches!(world.decide(&alert(995)), Decision::Start { .. }));
    world.now = second(990 + 301);
    assert!(matches!(world.decide(&alert(950)), Decision::Start { .. }));
}

#[test]
fn a_release_that_came_after_a_rollback_is_given_time_to_show_its_effect() {
    let reason = |world: &World, began| world.decide(&alert(began)).finding().reason;
    for phase in [Phase::Superseded, Phase::Succeeded, Phase::Cancelled] {
        let mut world = World::promoted_since(970);
        let mut before = rollback(1, phase);
        before.metadata.name = Some("x-r1-older".into());
        before.spec.release.as_mut().unwrap().hash = "older".into();
        before.status.as_mut().unwrap().run.finished = Some(second(965));
        world.rollbacks = vec![Arc::new(before)];
        assert_eq!(reason(&world, 960), Reason::Duplicate, "{phase:?}");
        // It began once that rollback had ended, and is about what was there before it all the same.
        assert_eq!(reason(&world, 968), Reason::Duplicate, "{phase:?}");
        assert_eq!(reason(&world, 980), Reason::Claimed, "{phase:?}");
        // After the settle window it is judged like any other.
        world.now = second(1271);
        assert_eq!(reason(&world, 960), Reason::Claimed, "{phase:?}");
    }
}
