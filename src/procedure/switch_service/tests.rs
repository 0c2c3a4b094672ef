use super::*;
use crate::procedure::Intent;
use crate::procedure::entry::Scaled;
use crate::target::colours::tests::looking;

fn release(colour: &str, revision: i64) -> Release {
    Release {
        uid: "uid".into(),
        revision,
        hash: format!("hash-{colour}"),
        images: vec![],
    }
}

fn journey(owner: Option<&str>) -> Journey {
    Journey {
        operation: "op".into(),
        from: release("green", 2),
        to: release("blue", 1),
        served: true,
        owner: owner.map(str::to_owned),
    }
}

/// The plan that leaves green, which asks for three pods.
fn plan() -> Plan {
    Plan::make(
        &journey(None),
        &looking("green", 0, 3),
        Some(Duration::from_secs(60)),
    )
    .unwrap()
}

fn begun() -> Entry {
    let mut past = Entry::pending("switch-service");
    past.started = Some(Timestamp::UNIX_EPOCH);
    past
}

fn asked(effect: EffectKind, confirmed: bool) -> Entry {
    let mut past = begun();
    past.attempts = 1;
    past.scaled = (effect == EffectKind::Scale).then(|| Scaled {
        deployment: "x-blue".into(),
        from: 0,
        to: 3,
    });
    past.intent = Some(Intent {
        effect,
        generation: 50,
        at: Timestamp::UNIX_EPOCH,
        confirmed: confirmed.then_some(Timestamp::UNIX_EPOCH),
        outcome: None,
        of: None,
    });
    past
}

fn next(at: &Snapshot, past: &Entry, now: i64) -> Next {
    plan().next(at, past, Timestamp::from_second(now).unwrap())
}

fn colours(at: &mut Snapshot) -> &mut Colours {
    match &mut at.rollout.as_mut().unwrap().strategy {
        Strategy::Colours(colours) => colours,
        _ => panic!(),
    }
}

#[test]
fn the_plan_keeps_what_was_found() {
    let plan = plan();
    assert_eq!(
        (plan.found, plan.replicas, plan.deployment.as_str()),
        (0, 3, "x-blue")
    );
    assert_eq!(plan.selector["colour"], "green");
    let back: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    assert_eq!(back, plan);
    let owned = Plan::make(&journey(Some("Argo CD")), &looking("green", 3, 3), None);
    assert_eq!(owned.unwrap_err().reason, Reason::OwnedElsewhere);
    let canary = crate::target::snapshot::tests::promoted();
    let strange = Plan::make(&journey(None), &canary, None);
    assert_eq!(strange.unwrap_err().reason, Reason::NotApplicable);
}

#[test]
fn a_destination_without_pods_gets_as_many_as_serve_now_before_anything_is_switched() {
    let Next::Do(Effect::Scale {
        deployment,
        uid,
        from,
        to,
        ..
    }) = next(&looking("green", 0, 3), &begun(), 0)
    else {
        panic!()
    };
    assert_eq!(
        (deployment.as_str(), uid.as_str(), from, to),
        ("x-blue", "uid-blue", 0, 3)
    );
    let mut starting = looking("green", 3, 3);
    starting.pods[0].ready = false;
    let past = asked(EffectKind::Scale, true);
    let Next::Wait(finding) = next(&starting, &past, 1) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::PodsStarting);
    assert!(
        finding.said.starts_with("2 of 3 pods of r1 hash-blue"),
        "{}",
        finding.said
    );
    let mut unavailable = looking("green", 3, 3);
    unavailable.replica_sets[0].available = 2;
    assert!(matches!(next(&unavailable, &past, 1), Next::Wait(_)));
    assert!(matches!(
        next(&looking("green", 3, 3), &past, 1),
        Next::Do(_)
    ));
}

#[test]
fn one_that_never_gets_ready_is_not_switched_to() {
    let mut starting = looking("green", 3, 3);
    starting.pods[0].ready = false;
    let Next::Fail(finding) = next(&starting, &begun(), 60) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::StepTimeout);
    assert!(
        finding
            .said
            .contains("Service x still selects r2 hash-green"),
        "{}",
        finding.said
    );
    // `revert` has no limit but the giving up.
    let endless = Plan {
        within: None,
        ..plan()
    };
    let now = Timestamp::from_second(3600).unwrap();
    assert!(matches!(
        endless.next(&starting, &begun(), now),
        Next::Wait(_)
    ));
}

#[test]
fn the_switch_replaces_one_value_and_names_the_whole_selector() {
    let Next::Do(Effect::SwitchService { selector, keys }) =
        next(&looking("green", 3, 3), &begun(), 0)
    else {
        panic!()
    };
    assert_eq!(selector.len(), 2);
    assert_eq!(selector["colour"], "green");
    assert_eq!(
        keys,
        BTreeMap::from([("colour".to_owned(), "blue".to_owned())])
    );
}

#[test]
fn it_is_done_when_every_pod_is_behind_the_service() {
    let past = asked(EffectKind::SwitchService, true);
    let mut at = looking("blue", 3, 3);
    at.endpoints.pop();
    let Next::Wait(finding) = next(&at, &past, 1) else {
        panic!()
    };
    assert_eq!(
        finding.said,
        "2 of 3 pods of r1 hash-blue are behind Service x"
    );
    let Next::Done(finding) = next(&looking("blue", 3, 3), &past, 1) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::Restored);
    assert_eq!(
        finding.said,
        "Service x selects r1 hash-blue, with 3 pods ready behind it"
    );
    let Next::Done(finding) = next(&looking("blue", 3, 3), &begun(), 1) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::AlreadyThere);
}

#[test]
fn an_answer_that_was_lost_is_known_by_what_is_seen() {
    // The scaling took effect: it goes on. It did not: it is asked again.
    let past = asked(EffectKind::Scale, false);
    let next_of = |at: &Snapshot| next(at, &past, 1);
    assert!(matches!(
        next_of(&looking("green", 3, 3)),
        Next::Do(Effect::SwitchService { .. })
    ));
    assert!(matches!(
        next_of(&looking("green", 0, 3)),
        Next::Do(Effect::Scale { .. })
    ));
    let past = asked(EffectKind::SwitchService, false);
    assert!(matches!(
        next(&looking("blue", 3, 3), &past, 1),
        Next::Done(_)
    ));
    assert!(matches!(
        next(&looking("green", 3, 3), &past, 1),
        Next::Do(Effect::SwitchService { .. })
    ));
}

#[test]
fn what_somebody_undid_is_not_done_again() {
    let failed = |next| match next {
        Next::Fail(finding) => finding.reason,
        other => panic!("{other:?}"),
    };
    let switched = asked(EffectKind::SwitchService, true);
    assert_eq!(
        failed(next(&looking("green", 3, 3), &switched, 1)),
        Reason::Overwritten
    );
    let mut marked = looking("green", 3, 3);
    marked.rollout.as_mut().unwrap().operation = Some("op".into());
    assert_eq!(failed(next(&marked, &begun(), 1)), Reason::Overwritten);
    let scaled = asked(EffectKind::Scale, true);
    assert_eq!(
        failed(next(&looking("green", 1, 3), &scaled, 1)),
        Reason::Overwritten
    );
}

#[test]
fn another_release_wins() {
    let mut deployed = looking("green", 3, 3);
    let rollout = deployed.rollout.as_mut().unwrap();
    rollout.current = "new".into();
    assert!(matches!(next(&deployed, &begun(), 0), Next::Yield(_)));
    let mut elsewhere = looking("green", 3, 3);
    let rollout = elsewhere.rollout.as_mut().unwrap();
    (rollout.invalid, rollout.observed) = (Some(Reason::SelectorUnclear), false);
    assert!(matches!(next(&elsewhere, &begun(), 0), Next::Yield(_)));
    let mut prepared = looking("green", 3, 3);
    colours(&mut prepared).all[0].hash = "new".into();
    let Next::Fail(finding) = next(&prepared, &begun(), 0) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::DestinationGone);
    colours(&mut prepared).all.remove(0);
    assert!(matches!(next(&prepared, &begun(), 0), Next::Fail(_)));
}

#[test]
fn what_is_not_observed_is_waited_for() {
    let mut live = looking("green", 3, 3);
    live.rollout.as_mut().unwrap().observed = false;
    assert!(matches!(next(&live, &begun(), 0), Next::Wait(_)));
    let mut destination = looking("green", 3, 3);
    colours(&mut destination).all[0].observed = false;
    assert!(matches!(next(&destination, &begun(), 0), Next::Wait(_)));
}
