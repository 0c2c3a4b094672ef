use super::*;
use crate::policy::Decision;
use crate::policy::admission::Admission;
use crate::policy::decision::tests::{World, alert, rollback, second, target, world};
use crate::policy::guard::Hold;
use crate::procedure::BUILT_IN;
use crate::rollback::memory::{Live, MemoryStatus};
use crate::target::snapshot::tests as snapshots;

/// The policy's one trigger asks; the other acts.
fn asking() -> World {
    let mut world = world();
    let acting = world.policy.triggers[0].clone();
    world.policy.triggers[0].mode = Mode::Ask;
    world.policy.triggers.push(Trigger {
        name: "errors".into(),
        ..acting
    });
    world
}

/// An alert of the trigger that acts, which came at this second.
fn acting(received: i64) -> AlertRecord {
    AlertRecord {
        fingerprint: "g".into(),
        trigger: "errors".into(),
        severity: Severity::P1,
        ..alert(received)
    }
}

/// A rollback to `good` that people were asked about at second 1000, until 1900.
fn asked() -> Rollback {
    let mut asked = crate::policy::decision::tests::after_success().rollbacks[0]
        .as_ref()
        .clone();
    let status = asked.status.as_mut().unwrap();
    status.phase = Phase::AwaitingApproval;
    status.run = crate::rollback::object::Run {
        asked: Some(Asked {
            at: second(1000),
            until: second(1900),
            why: "because".into(),
            released: None,
        }),
        ..crate::rollback::object::Run::default()
    };
    asked
}

fn approval(decision: Verdict, to: &str, at: i64) -> Approval {
    Approval {
        decision,
        by: "jo".into(),
        to: Some(to.into()),
        reason: "it is mine".into(),
        at: Some(second(at)),
    }
}

fn answered(decision: Verdict, to: &str, at: i64) -> Rollback {
    let mut rollback = asked();
    rollback.spec.approval = Some(approval(decision, to, at));
    rollback
}

fn refused(consent: &Consent) -> (Reason, &str) {
    let Consent::Refused(finding) = consent else {
        panic!("{consent:?}")
    };
    (finding.reason, &finding.said)
}

#[test]
fn a_trigger_a_severity_and_a_procedure_can_ask() {
    let (target, now) = (target(), second(1000));
    let claimed = rollback(1, Phase::Pending);
    let consent = |world: &World| world.policy.consent(&claimed, &target, now);
    assert_eq!(consent(&world()), Consent::Needless(second(951)));
    let why = |said: &str| Consent::Needed(format!("{said} asks for an approval"));
    assert_eq!(consent(&asking()), why("trigger latency"));
    let mut by_severity = world();
    by_severity.policy.asks.insert(Severity::P0);
    assert_eq!(consent(&by_severity), why("severity P0"));
    let mut by_procedure = world();
    let procedure = by_procedure.policy.procedures.get_mut(BUILT_IN).unwrap();
    procedure.approval = true;
    assert_eq!(
        consent(&by_procedure),
        why(&format!("procedure {BUILT_IN}"))
    );
    // What only watches asks nobody.
    let mut shadow = claimed.clone();
    shadow.spec.mode = Mode::Shadow;
    let consent = by_procedure.policy.consent(&shadow, &target, now);
    assert_eq!(consent, Consent::Needless(second(951)));
}

#[test]
fn a_persons_own_request_is_asked_about_where_it_or_its_procedure_says_so() {
    let (target, now) = (target(), second(1000));
    let mut by_hand = rollback(1, Phase::Pending);
    by_hand.spec.alerts.clear();
    let mut world = asking();
    world.policy.asks.insert(Severity::P0);
    let consent = |world: &World, it: &Rollback| world.policy.consent(it, &target, now);
    assert!(matches!(consent(&world, &by_hand), Consent::Needless(_)));
    world.policy.procedures.get_mut(BUILT_IN).unwrap().approval = true;
    assert!(matches!(consent(&world, &by_hand), Consent::Needed(_)));
    world = asking();
    by_hand.spec.mode = Mode::Ask;
    assert!(matches!(consent(&world, &by_hand), Consent::Needed(_)));
}

#[test]
fn an_alert_that_may_act_is_not_kept_waiting_by_one_that_asks() {
    let (target, now) = (target(), second(1000));
    let world = asking();
    let mut claimed = rollback(1, Phase::Pending);
    claimed.spec.alerts.push(acting(960));
    let consent = world.policy.consent(&claimed, &target, now);
    assert_eq!(consent, Consent::Needless(second(951)));
    // The less severe one decides what is run, as if it had come alone.
    let deciding = world.policy.deciding(&claimed, &target, now).unwrap();
    assert_eq!(deciding.trigger, "errors");
    claimed.spec.alerts[1].ended = Some(second(990));
    let consent = world.policy.consent(&claimed, &target, now);
    assert!(matches!(consent, Consent::Needed(_)));
    let deciding = world.policy.deciding(&claimed, &target, now).unwrap();
    assert_eq!(deciding.trigger, "latency");
}

#[test]
fn an_alert_that_joins_and_may_act_lets_it_go_while_a_start_is_still_allowed() {
    let world = asking();
    let mut waiting = asked();
    waiting.status.as_mut().unwrap().alerts.items = vec![acting(1100)];
    let consent = |now| world.policy.consent(&waiting, &target(), second(now));
    assert_eq!(consent(1110), Consent::Needless(second(1100)));
    assert_eq!(consent(1221), Consent::Needed("because".into()));
}

#[test]
fn it_fails_closed() {
    let world = asking();
    let consent = |it: &Rollback, now| world.policy.consent(it, &target(), second(now));
    assert_eq!(consent(&asked(), 1899), Consent::Needed("because".into()));
    let late = consent(&asked(), 1900);
    assert_eq!(refused(&late).0, Reason::ApprovalExpired);
    let denied = consent(&answered(Verdict::Deny, "good", 1200), 1201);
    assert_eq!(
        refused(&denied),
        (Reason::ApprovalDenied, "denied by jo: it is mine")
    );
    let too_late = consent(&answered(Verdict::Approve, "good", 1901), 1902);
    assert_eq!(refused(&too_late).0, Reason::ApprovalExpired);
    let other = consent(&answered(Verdict::Approve, "elsewhere", 1200), 1201);
    assert_eq!(refused(&other).0, Reason::ApprovalStale);
    let mut nothing = answered(Verdict::Approve, "good", 1200);
    nothing.spec.approval.as_mut().unwrap().to = None;
    assert_eq!(refused(&consent(&nothing, 1201)).0, Reason::ApprovalStale);
}

#[test]
fn a_start_is_allowed_from_the_approval_on() {
    let world = asking();
    let approved = answered(Verdict::Approve, "good", 1800);
    let late = |it: &Rollback, now| {
        let late = world.policy.too_late(it, &target(), second(now));
        late.map(|finding| finding.reason)
    };
    assert_eq!(
        world.policy.consent(&approved, &target(), second(1801)),
        Consent::Given(second(1800))
    );
    assert_eq!(late(&approved, 1920), None);
    assert_eq!(late(&approved, 1921), Some(Reason::TooLate));
    // While it is asked about, the receipt is long ago, and that does not count.
    assert_eq!(late(&asked(), 1899), None);
    let mut pending = asked();
    pending.status = None;
    assert_eq!(late(&pending, 1100), Some(Reason::TooLate));
}

#[test]
fn the_time_of_an_answer_is_what_the_api_server_noted() {
    let mut approved = answered(Verdict::Approve, "good", 1200);
    assert_eq!(approved.answered(second(1300)), Some(second(1200)));
    // A clock that is ahead gains nothing.
    assert_eq!(approved.answered(second(1100)), Some(second(1100)));
    let write = serde_json::json!([
        {"manager": "x", "time": "1970-01-01T00:21:00Z", "fieldsV1": {"f:spec": {"f:cancel": {}}}},
        {"manager": "y", "time": "1970-01-01T00:20:50Z", "fieldsV1": {"f:spec": {"f:approval": {"f:by": {}}}}},
    ]);
    approved.metadata.managed_fields = serde_json::from_value(write).unwrap();
    assert_eq!(approved.answered(second(1300)), Some(second(1250)));
}

#[test]
fn a_plan_that_waits_is_judged_by_the_guards_again() {
    let mut world = asking();
    world.at = snapshots::in_flight();
    world.now = second(1850);
    let approved = answered(Verdict::Approve, "good", 1840);
    let admit = |world: &World| {
        let facts = world.facts();
        facts.admit(&approved, &target(), &world.at, &[])
    };
    assert!(matches!(admit(&world), Admission::Go { .. }));
    world.hold = crate::policy::guard::Hold::Held("jo".into());
    let Admission::Decline { finding, .. } = admit(&world) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::Held);
}

#[test]
fn an_answer_that_stood_there_before_the_question_is_none() {
    let mut claimed = rollback(1, Phase::Pending);
    claimed.spec.approval = Some(approval(Verdict::Approve, "good", 951));
    let consent = asking().policy.consent(&claimed, &target(), second(1000));
    assert_eq!(refused(&consent).0, Reason::ApprovalStale);
}

#[test]
fn an_alert_that_could_not_have_started_it_lets_nothing_go() {
    let mut world = asking();
    // The one that acts is asked by.
    world.policy.triggers.swap(0, 1);
    let mut waiting = asked();
    waiting.spec.alerts = vec![alert(990)];
    let mut world = world.with(waiting);
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
    let joins = |world: &World, began| {
        let alert = AlertRecord {
            began: second(began),
            ..acting(1100)
        };
        matches!(world.decide(&alert), Decision::Join { .. })
    };
    assert!(joins(&world, 1000));
    assert!(!joins(&world, 1), "it began long before the release");
    world.hold = Hold::Held("somebody".into());
    assert!(!joins(&world, 1000), "a hold keeps it");
}
