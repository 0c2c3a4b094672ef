use super::*;
use crate::procedure::Intent;
use crate::target::snapshot::tests::{in_flight, promoted, restored, set};
use crate::target::workload::{Rollout, Strategy};

pub(super) fn plan() -> Plan {
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
        owner: None,
        switch: None,
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

/// An update in flight, with a router between the releases.
fn behind_a_router() -> Snapshot {
    let mut at = in_flight();
    rollout(&mut at).strategy = Strategy::Canary {
        routed: true,
        services: vec![],
        canary_weight: Some(60),
        verified: None,
    };
    at
}

#[test]
fn behind_a_router_an_abort_comes_first_and_once() {
    let abort = Next::Do(Effect::Abort { hash: "bad".into() });
    assert_eq!(next(&behind_a_router()), abort);
    let mut asked = intended(EffectKind::Abort);
    asked.attempts = 1;
    let after = |at: &Snapshot, seconds| {
        let now = Timestamp::from_second(seconds).unwrap();
        Revert::next(&plan(), at, &[], &asked, now)
    };
    // A request that was lost is not repeated: the template follows at once.
    assert_eq!(after(&behind_a_router(), 1), restore(false));
    let mut aborted = behind_a_router();
    rollout(&mut aborted).aborted = true;
    // The controller has not acted on it: a moment, and no more.
    assert!(matches!(after(&aborted, 0), Next::Wait(_)));
    assert_eq!(after(&aborted, 1), restore(false));
    rollout(&mut aborted).aborted_at = Some(Timestamp::UNIX_EPOCH);
    let waits = after(&aborted, 1);
    assert!(matches!(waits, Next::Wait(it) if it.reason == Reason::TrafficMoving));
    // So it does when the traffic has turned, and when that takes too long.
    assert_eq!(after(&aborted, 10), restore(false));
    let mut turned = aborted.clone();
    if let Strategy::Canary { canary_weight, .. } = &mut rollout(&mut turned).strategy {
        *canary_weight = Some(0);
    }
    assert_eq!(after(&turned, 1), restore(false));
    assert!(Revert::safe_point(&plan(), &aborted), "the good one serves");
}

#[test]
fn behind_a_router_nothing_is_aborted_where_that_does_not_help() {
    let mut aborted = behind_a_router();
    rollout(&mut aborted).aborted = true;
    assert_eq!(next(&aborted), restore(false));
    let mut paused = behind_a_router();
    rollout(&mut paused).paused = true;
    assert_eq!(next(&paused), restore(true));
    let mut everywhere = promoted();
    rollout(&mut everywhere).strategy = rollout(&mut behind_a_router()).strategy.clone();
    assert_eq!(next(&everywhere), restore(false));
    // The traffic would go to a release that is not the destination.
    let mut elsewhere = behind_a_router();
    rollout(&mut elsewhere).stable = "worse".into();
    assert_eq!(next(&elsewhere), restore(false));
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

/// A step that intended a change at the beginning of time.
fn intended(effect: EffectKind) -> Entry {
    let mut past = Entry::pending("revert");
    past.intent = Some(crate::procedure::Intent {
        effect,
        of: None,
        generation: 2,
        at: Timestamp::UNIX_EPOCH,
        confirmed: None,
        outcome: None,
    });
    past
}

#[test]
fn the_controller_has_its_time_from_when_the_change_was_made() {
    let mut at = between();
    rollout(&mut at).observed = false;
    let mut past = intended(EffectKind::RestoreTemplate);
    let second = |n| Timestamp::from_second(n).unwrap();
    past.started = Some(second(0));
    let next = |past: &Entry| Revert::next(&plan(), &at, &[], past, second(60));
    assert_eq!(next(&past), Next::Do(Effect::Nudge));
    // It took long to put it on record.
    past.intent.as_mut().unwrap().confirmed = Some(second(59));
    assert!(matches!(next(&past), Next::Wait(f) if f.reason == Reason::ControllerLag));
}

/// What follows while the release that was left counts as live, `after` seconds after the restore was intended.
fn still_bad(plan: &Plan, images: &[&str], after: i64) -> (Next, bool) {
    let mut at = promoted();
    rollout(&mut at).operation = Some("op-1".into());
    rollout(&mut at).images = images.iter().map(|&image| image.into()).collect();
    let past = intended(EffectKind::RestoreTemplate);
    let now = Timestamp::from_second(after).unwrap();
    let next = Revert::next(plan, &at, &[], &past, now);
    (next, Revert::safe_point(plan, &at))
}

fn is(next: &Next, reason: Reason) -> bool {
    match next {
        Next::Wait(finding) | Next::Fail(finding) | Next::Yield(finding) => {
            finding.reason == reason
        }
        _ => false,
    }
}

#[test]
fn a_template_that_is_put_back_is_never_fought_over() {
    let mut plan = plan();
    plan.from.images = vec!["app:bad".into()];
    plan.to.images = vec!["app:good".into()];
    let (next, safe) = still_bad(&plan, &["app:bad"], 0);
    assert!(is(&next, Reason::Overwritten) && safe);
}

#[test]
fn a_controller_that_observed_without_looking_is_waited_for() {
    let mut plan = plan();
    plan.from.images = vec!["app:bad".into()];
    plan.to.images = vec!["app:good".into()];
    let (next, safe) = still_bad(&plan, &["app:good"], 1);
    assert!(is(&next, Reason::ControllerLag) && !safe, "{next:?}");
    let (next, safe) = still_bad(&plan, &["app:good"], 600);
    assert!(next == Next::Do(Effect::Nudge) && !safe, "{next:?}");
}

#[test]
fn a_controller_that_missed_a_change_is_made_to_look_again_and_again_but_ever_less_often() {
    let mut lost = between();
    rollout(&mut lost).promote_full = true;
    let mut unobserved = promoted();
    rollout(&mut unobserved).observed = false;
    rollout(&mut unobserved).operation = Some("op-1".into());
    for (at, expected) in [
        (lost, &[10, 20, 40, 80][..]),
        (unobserved, &[2, 4, 8, 16, 32, 64]),
    ] {
        let mut past = intended(EffectKind::PromoteFull);
        past.started = Some(Timestamp::UNIX_EPOCH);
        let mut nudged = Vec::new();
        for second in 0..100 {
            let now = Timestamp::from_second(second).unwrap();
            if Revert::next(&plan(), &at, &[], &past, now) == Next::Do(Effect::Nudge) {
                nudged.push(second);
                past.nudged = Some(now);
            }
        }
        assert_eq!(nudged, expected);
    }
}

#[test]
fn a_change_of_somebody_else_that_the_controller_missed_is_brought_to_its_notice_too() {
    let mut unobserved = promoted();
    rollout(&mut unobserved).observed = false;
    let mut unlooked = promoted();
    rollout(&mut unlooked).images = vec!["app:fix".into()];
    let mut plan = plan();
    plan.from.images = vec!["app:bad".into()];
    for at in [unobserved, unlooked] {
        let mut past = Entry::pending("revert");
        past.started = Some(Timestamp::UNIX_EPOCH);
        let next = |second| {
            let now = Timestamp::from_second(second).unwrap();
            Revert::next(&plan, &at, &[], &past, now)
        };
        assert!(is(&next(1), Reason::ControllerLag), "{:?}", next(1));
        assert_eq!(next(2), Next::Do(Effect::Nudge));
    }
}

#[test]
fn a_spec_that_the_controller_refuses_is_not_brought_to_its_notice_again() {
    let mut at = promoted();
    rollout(&mut at).invalid = Some(Reason::SpecInvalid);
    let mut past = Entry::pending("revert");
    past.started = Some(Timestamp::UNIX_EPOCH);
    let late = Timestamp::from_second(600).unwrap();
    let next = Revert::next(&plan(), &at, &[], &past, late);
    assert!(is(&next, Reason::ControllerLag), "{next:?}");
}

#[test]
fn where_no_image_tells_two_releases_apart_time_does() {
    let mut plan = plan();
    plan.from.images = vec!["app:same".into()];
    plan.to.images = vec!["app:same".into()];
    let (next, safe) = still_bad(&plan, &["app:same"], 0);
    assert!(is(&next, Reason::ControllerLag) && !safe);
    let (next, _) = still_bad(&plan, &["app:same"], 10);
    assert!(is(&next, Reason::Overwritten));
}

#[test]
fn a_newer_template_that_is_not_looked_at_yet_is_not_overwritten() {
    let mut at = promoted();
    rollout(&mut at).images = vec!["app:fix".into()];
    let mut plan = plan();
    plan.from.images = vec!["app:bad".into()];
    let past = Entry::pending("revert");
    let next = Revert::next(&plan, &at, &[], &past, Timestamp::UNIX_EPOCH);
    assert!(is(&next, Reason::ControllerLag), "{next:?}");
}

#[test]
fn a_spec_that_the_controller_refuses_is_waited_for() {
    for mut at in [promoted(), between()] {
        rollout(&mut at).invalid = Some(Reason::SpecInvalid);
        assert!(is(&next(&at), Reason::ControllerLag));
    }
}

#[test]
fn a_restored_template_that_becomes_another_release_needs_a_person() {
    let mut at = promoted();
    let ours = rollout(&mut at);
    (ours.current, ours.revision) = ("good2".into(), 3);
    ours.operation = Some("op-1".into());
    let mut again = set("good2", 3, 1);
    again.template = serde_json::json!({"spec": {"containers": [{"image": "app:good"}]}});
    at.replica_sets.push(again);
    let mut plan = plan();
    plan.to.images = vec!["app:good".into()];
    let next = |plan: &Plan| {
        let past = Entry::pending("revert");
        Revert::next(plan, &at, &[], &past, Timestamp::UNIX_EPOCH)
    };
    assert!(is(&next(&plan), Reason::Diverged), "{:?}", next(&plan));
    plan.to.images = vec!["app:other".into()];
    assert!(is(&next(&plan), Reason::NewRelease), "{:?}", next(&plan));
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
    assert!(!Revert::safe_unseen(&plan()), "it may be there");
    let mut unobserved = between();
    rollout(&mut unobserved).observed = false;
    rollout(&mut unobserved).current = "bad".into();
    assert!(!Revert::safe_point(&plan(), &unobserved));
    let mut done = restored();
    rollout(&mut done).operation = Some("op-1".into());
    assert!(Revert::safe_point(&plan(), &done));
}

/// The same Deployment with the bad release complete, half rolled out, restored, and complete again.
fn deployment(at: Snapshot, current: &str, phase: &str) -> Snapshot {
    let mut at = at;
    let it = rollout(&mut at);
    it.strategy = Strategy::Deployment;
    it.phase = phase.into();
    it.current = current.into();
    it.stable = if phase == "Healthy" {
        current.into()
    } else {
        String::new()
    };
    if current == "good" {
        it.revision = 3;
        it.operation = Some("op-1".into());
    }
    at
}

#[test]
fn a_deployment_is_restored_and_never_promoted() {
    let complete = deployment(promoted(), "bad", "Healthy");
    let rolling = deployment(in_flight(), "bad", "Progressing");
    for at in [complete, rolling] {
        assert_eq!(next(&at), restore(false));
    }
    let mut paused = deployment(in_flight(), "bad", "Paused");
    rollout(&mut paused).paused = true;
    assert_eq!(next(&paused), restore(true));
    let mut unseen = deployment(promoted(), "good", "Progressing");
    rollout(&mut unseen).observed = false;
    let mut late = Entry::pending("revert");
    late.started = Some(Timestamp::UNIX_EPOCH);
    let later = Timestamp::from_second(60).unwrap();
    let waits = Revert::next(&plan(), &unseen, &[], &late, later);
    assert!(matches!(waits, Next::Wait(f) if f.reason == Reason::ControllerLag));
    let moving = deployment(promoted(), "good", "Progressing");
    assert!(matches!(next(&moving), Next::Wait(f) if f.reason == Reason::TrafficMoving));
    assert!(Revert::safe_point(&plan(), &moving), "it goes on by itself");
    let starting = deployment(restored(), "good", "Progressing");
    assert!(matches!(next(&starting), Next::Wait(f) if f.reason == Reason::Settling));
    let there = deployment(restored(), "good", "Healthy");
    assert!(matches!(next(&there), Next::Done(f) if f.reason == Reason::Restored));
}

#[test]
fn a_deployment_that_was_put_back_is_not_fought_over() {
    let bad = deployment(promoted(), "bad", "Healthy");
    let mut past = Entry::pending("revert");
    past.attempts = 1;
    let next =
        |at: &Snapshot, past: &Entry| Revert::next(&plan(), at, &[], past, Timestamp::UNIX_EPOCH);
    // Intended, and not known to have had an effect.
    past.intent = Some(Intent {
        effect: EffectKind::RestoreTemplate,
        of: None,
        generation: 2,
        at: Timestamp::UNIX_EPOCH,
        confirmed: None,
        outcome: None,
    });
    assert_eq!(next(&bad, &past), restore(false));
    let overwritten = |at: &Snapshot, past: &Entry| {
        assert!(matches!(next(at, past), Next::Fail(f) if f.reason == Reason::Overwritten));
    };
    let mut marked = bad.clone();
    rollout(&mut marked).operation = Some("op-1".into());
    overwritten(&marked, &past);
    let mut again = bad.clone();
    rollout(&mut again).revision = 4;
    overwritten(&again, &past);
    // An `undo` of kubectl takes the mark away.
    past.intent.as_mut().unwrap().confirmed = Some(Timestamp::UNIX_EPOCH);
    overwritten(&bad, &past);
    // Before anything was done it is a release of its own.
    let untouched = Entry::pending("revert");
    assert!(matches!(next(&again, &untouched), Next::Yield(f) if f.reason == Reason::NewRelease));
}

/// What was made of a pinned image, before its promotion.
fn brought_up() -> (Plan, Snapshot) {
    let mut at = promoted();
    let mut made = set("made", 3, 1);
    made.template["spec"]["containers"][0]["image"] = "app@sha256:0123".into();
    at.replica_sets = vec![set("bad", 2, 3), made];
    let rollout = rollout(&mut at);
    let image = crate::target::Image {
        container: "c".into(),
        reference: "app@sha256:0123".into(),
    };
    let mut plan = plan();
    plan.to = Release::to_be_made(rollout, vec![image.reference.clone()], &image);
    plan.replica_set = String::new();
    rollout.current = "made".into();
    rollout.revision = 3;
    rollout.operation = Some("op-1".into());
    (plan, at)
}

#[test]
fn what_was_brought_up_is_promoted_by_the_hash_that_the_controller_gave_it() {
    let (plan, mut at) = brought_up();
    let past = Entry::pending("revert");
    let next = |at: &Snapshot| Revert::next(&plan, at, &[], &past, Timestamp::UNIX_EPOCH);
    assert_eq!(
        next(&at),
        Next::Do(Effect::PromoteFull {
            hash: "made".into()
        })
    );
    assert!(!Revert::safe_point(&plan, &at));
    rollout(&mut at).stable = "made".into();
    assert!(Revert::safe_point(&plan, &at));
    at.pods.iter_mut().for_each(|pod| pod.hash = "made".into());
    assert!(matches!(next(&at), Next::Done(it) if it.reason == Reason::Restored));
    // A later deploy of the same image by somebody else is not it.
    rollout(&mut at).revision = 4;
    assert!(matches!(next(&at), Next::Yield(_)));
    // The bad release again, and the mark taken away by whoever did that.
    let (_, mut back) = brought_up();
    rollout(&mut back).current = "bad".into();
    rollout(&mut back).operation = None;
    assert!(matches!(next(&back), Next::Fail(it) if it.reason == Reason::Overwritten));
}
