//! In which pods a command is run, how often, and what becomes of a try that did not end well.

use super::*;
use crate::procedure::Intent;
use crate::rollback::history::tests::target;
use crate::target::command::tests::command;
use crate::target::effect::{EffectKind, Outcome};
use crate::target::snapshot::tests::{promoted, restored};

fn release(revision: i64, hash: &str) -> Release {
    Release {
        uid: "uid".into(),
        revision,
        hash: hash.into(),
        images: vec![],
    }
}

fn plan(pods: Pods, repeatable: bool) -> Plan {
    Plan {
        to: release(1, "good"),
        operation: "op".into(),
        name: "flush".into(),
        command: Command {
            repeatable,
            ..command()
        },
        pods,
        within: Duration::from_secs(60),
    }
}

fn second(n: i64) -> Timestamp {
    Timestamp::from_second(n).unwrap()
}

fn past() -> Entry {
    let mut past = Entry::pending("exec");
    past.started = Some(second(0));
    past
}

/// As the engine journals a try that was begun at this second, and its answer.
fn tried(past: &mut Entry, at: i64, pod: &str, answer: Option<(Verdict, &str)>) {
    past.attempts += 1;
    past.intent = Some(Intent {
        effect: EffectKind::Exec,
        of: Some(pod.to_owned()),
        generation: 3,
        at: second(at),
        confirmed: None,
        outcome: answer.map(|(verdict, said)| Outcome {
            verdict,
            said: said.into(),
        }),
    });
    if answer.is_some_and(|(verdict, _)| verdict == Verdict::Done) {
        past.done.push(pod.to_owned());
    }
}

/// In which pod it is run next.
fn pod(next: Next) -> String {
    let Next::Do(Effect::Exec(run)) = next else {
        panic!("{next:?}")
    };
    assert_eq!(
        (run.name.as_str(), run.command.container.as_str()),
        ("flush", "cache")
    );
    run.place.to_string()
}

#[test]
fn each_pod_comes_once_one_after_the_other() {
    let plan = plan(Pods::Every, false);
    let mut past = past();
    for name in ["good-1", "good-2", "good-3"] {
        assert_eq!(
            pod(Exec::next(&plan, &restored(), &[], &past, second(1))),
            name
        );
        tried(&mut past, 1, name, Some((Verdict::Done, "it said OK")));
    }
    let Next::Done(finding) = Exec::next(&plan, &restored(), &[], &past, second(1)) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::Executed);
    assert_eq!(
        finding.said,
        "`flush` ended well in 3 pods; the last: it said OK"
    );
}

#[test]
fn one_pod_is_enough_where_they_share_it_whatever_happened_since() {
    let plan = plan(Pods::One, false);
    let mut past = past();
    assert_eq!(
        pod(Exec::next(&plan, &restored(), &[], &past, second(1))),
        "good-1"
    );
    tried(&mut past, 1, "good-1", Some((Verdict::Done, "it said OK")));
    let next = Exec::next(&plan, &promoted(), &[], &past, second(100));
    assert!(matches!(next, Next::Done(_)), "{next:?}");
}

#[test]
fn a_pod_that_is_not_ready_or_missing_is_waited_for() {
    let plan = plan(Pods::Every, false);
    let mut at = restored();
    for pod in &mut at.pods {
        pod.ready = pod.name == "good-2";
    }
    let mut past = past();
    assert_eq!(pod(Exec::next(&plan, &at, &[], &past, second(1))), "good-2");
    tried(&mut past, 1, "good-2", Some((Verdict::Done, "")));
    let Next::Wait(finding) = Exec::next(&plan, &at, &[], &past, second(2)) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::PodsStarting);
    assert_eq!(
        finding.said,
        "`flush` ended well in 1 of 3 pods; no other is ready"
    );
    let Next::Fail(finding) = Exec::next(&plan, &at, &[], &past, second(60)) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::StepTimeout);
    // With one pod fewer than is asked for, it is not through.
    let mut fewer = restored();
    fewer.pods.pop();
    for name in ["good-1", "good-3"] {
        tried(&mut past, 2, name, Some((Verdict::Done, "")));
    }
    past.done.retain(|it| it != "good-3");
    assert!(matches!(
        Exec::next(&plan, &fewer, &[], &past, second(3)),
        Next::Wait(_)
    ));
}

#[test]
fn what_may_have_been_run_is_not_run_again_unless_it_may_be() {
    for (verdict, reason) in [
        (None, Reason::CommandUnknown),
        (
            Some((Verdict::Unknown, "no exit status")),
            Reason::CommandUnknown,
        ),
        (
            Some((Verdict::Failed, "exit code 1")),
            Reason::CommandFailed,
        ),
    ] {
        let mut past = past();
        tried(&mut past, 1, "good-1", Some((Verdict::Done, "")));
        tried(&mut past, 10, "good-2", verdict);
        let next = Exec::next(
            &plan(Pods::Every, false),
            &restored(),
            &[],
            &past,
            second(10),
        );
        let Next::Fail(finding) = next else {
            panic!("{next:?}")
        };
        assert_eq!(finding.reason, reason);
        let said = &finding.said;
        assert!(
            said.starts_with("after it ended well in 1 pod, not run again"),
            "{said}"
        );
        // Whoever may run it again does, in a while, and in the same pod.
        let again = plan(Pods::Every, true);
        assert!(matches!(
            Exec::next(&again, &restored(), &[], &past, second(10)),
            Next::Wait(_)
        ));
        assert_eq!(
            pod(Exec::next(&again, &restored(), &[], &past, second(11))),
            "good-2"
        );
        let Next::Fail(finding) = Exec::next(&again, &restored(), &[], &past, second(60)) else {
            panic!()
        };
        assert_eq!(finding.reason, reason, "it ends with what was said last");
        // That it was, is said.
        tried(&mut past, 12, "good-2", Some((Verdict::Done, "")));
        tried(&mut past, 12, "good-3", Some((Verdict::Done, "")));
        let Next::Done(finding) = Exec::next(&again, &restored(), &[], &past, second(13)) else {
            panic!()
        };
        assert!(finding.said.contains("begun 4 times"), "{}", finding.said);
    }
}

#[test]
fn which_pod_was_lost_is_said() {
    let mut past = past();
    tried(&mut past, 1, "good-1", None);
    let next = Exec::next(&plan(Pods::One, false), &restored(), &[], &past, second(2));
    let Next::Fail(finding) = next else {
        panic!("{next:?}")
    };
    assert!(
        finding.said.contains("`flush` was begun in good-1,"),
        "{}",
        finding.said
    );
    assert!(
        finding.said.starts_with("not run again"),
        "{}",
        finding.said
    );
}

#[test]
fn what_was_certainly_not_begun_is_begun_again_in_whatever_pod_is_there() {
    let plan = plan(Pods::One, false);
    let mut past = past();
    tried(
        &mut past,
        1,
        "good-1",
        Some((Verdict::NotBegun, "the pod is gone")),
    );
    let mut at = restored();
    at.pods.retain(|pod| pod.name != "good-1");
    assert!(matches!(
        Exec::next(&plan, &at, &[], &past, second(1)),
        Next::Wait(_)
    ));
    assert_eq!(pod(Exec::next(&plan, &at, &[], &past, second(2))), "good-2");
    let Next::Fail(finding) = Exec::next(&plan, &at, &[], &past, second(60)) else {
        panic!()
    };
    assert_eq!(finding.reason, Reason::StepTimeout);
    assert!(
        finding.said.ends_with("the pod is gone"),
        "{}",
        finding.said
    );
}

#[test]
fn a_refusal_ends_it_at_once() {
    let mut past = past();
    tried(
        &mut past,
        1,
        "good-1",
        Some((Verdict::Refused, "forbidden")),
    );
    let next = Exec::next(&plan(Pods::Every, true), &restored(), &[], &past, second(1));
    assert_eq!(next, Next::Fail(Reason::Rejected.because("forbidden")));
}

#[test]
fn other_pods_are_found_by_their_labels_and_one_is_enough() {
    let mut plan = plan(Pods::Other, false);
    plan.command.selector = Some("app=redis".into());
    let mut past = past();
    assert_eq!(
        pod(Exec::next(&plan, &restored(), &[], &past, second(1))),
        "a pod with app=redis"
    );
    tried(
        &mut past,
        1,
        "app=redis",
        Some((Verdict::NotBegun, "none is ready")),
    );
    let again = pod(Exec::next(&plan, &restored(), &[], &past, second(3)));
    assert_eq!(again, "a pod with app=redis");
    tried(
        &mut past,
        3,
        "app=redis",
        Some((Verdict::Done, "it said OK")),
    );
    let next = Exec::next(&plan, &restored(), &[], &past, second(4));
    assert!(matches!(next, Next::Done(_)), "{next:?}");
}

#[test]
fn another_release_wins() {
    let next = Exec::next(
        &plan(Pods::Every, true),
        &promoted(),
        &[],
        &past(),
        second(1),
    );
    assert!(matches!(next, Next::Yield(_)), "{next:?}");
}

#[test]
fn a_target_without_the_command_is_not_planned() {
    let step = Exec {
        command: "flush".into(),
        pods: Pods::Every,
        within: Exec::default_within(),
    };
    let journey = Journey {
        operation: "op".into(),
        from: release(2, "bad"),
        to: release(1, "good"),
        served: true,
        owner: None,
    };
    let mut target = target();
    let planned = step.plan(&target, &journey, &restored());
    assert_eq!(planned.unwrap_err().reason, Reason::NotApplicable);
    assert_eq!(step.lacks(&target).as_deref(), Some("commands.flush"));
    target.commands.insert("flush".into(), command());
    assert_eq!(step.lacks(&target), None);
    assert!(step.plan(&target, &journey, &restored()).is_ok());
    let elsewhere = Exec {
        pods: Pods::Other,
        ..step.clone()
    };
    assert_eq!(
        elsewhere.lacks(&target).as_deref(),
        Some("commands.flush.selector")
    );
    let refused = elsewhere.plan(&target, &journey, &restored());
    assert_eq!(refused.unwrap_err().reason, Reason::NotApplicable);
    let selector = Some("app=redis".into());
    target.commands.insert(
        "flush".into(),
        Command {
            selector,
            ..command()
        },
    );
    assert!(elsewhere.plan(&target, &journey, &restored()).is_ok());
    assert_eq!(
        step.lacks(&target).as_deref(),
        Some("commands.flush without a selector")
    );
}
