use serde_json::json;

use super::*;
use crate::procedure::Intent;
use crate::rollback::history::tests::target;
use crate::target::effect::EffectKind;
use crate::target::snapshot::tests::{promoted, set};
use crate::target::workload::Strategy;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn image() -> Image {
    Image {
        container: "c".into(),
        reference: format!("app@{DIGEST}"),
    }
}

/// The bad release is promoted, and no replica set of another is left.
fn alone() -> Snapshot {
    let mut at = promoted();
    at.replica_sets.retain(|set| set.hash == "bad");
    at.rollout.as_mut().unwrap().images = vec!["app:bad".into()];
    at
}

/// The image is in, and the controller has made a release of it.
fn made() -> Snapshot {
    let mut at = alone();
    let rollout = at.rollout.as_mut().unwrap();
    rollout.current = "made".into();
    rollout.revision = 3;
    rollout.operation = Some("op".into());
    rollout.images = vec![image().reference];
    let mut set = set("made", 3, 1);
    set.template["spec"]["containers"][0]["image"] = json!(image().reference);
    at.replica_sets.push(set);
    at
}

fn plan() -> Plan {
    let at = alone();
    let rollout = at.rollout.as_ref().unwrap();
    Plan {
        operation: "op".into(),
        from: at.live().unwrap(),
        to: Release::to_be_made(rollout, vec![image().reference], &image()),
        image: Some(image()),
    }
}

fn next(at: &Snapshot, past: &Entry) -> Next {
    RestoreImage::next(&plan(), at, &[], past, Timestamp::UNIX_EPOCH)
}

fn pending() -> Entry {
    Entry::pending("restore-image")
}

fn confirmed() -> Entry {
    let mut past = pending();
    past.attempts = 1;
    past.started = Some(Timestamp::UNIX_EPOCH);
    past.intent = Some(Intent {
        effect: EffectKind::SetImage,
        of: None,
        generation: 2,
        at: Timestamp::UNIX_EPOCH,
        confirmed: Some(Timestamp::UNIX_EPOCH),
        outcome: None,
    });
    past
}

#[test]
fn the_image_is_put_in_once_and_seen_by_its_mark() {
    assert_eq!(
        next(&alone(), &pending()),
        Next::Do(Effect::SetImage {
            image: image(),
            unpause: false
        })
    );
    // Written, and not looked at yet, whether or not the answer was lost.
    let mut written = alone();
    let rollout = written.rollout.as_mut().unwrap();
    rollout.operation = Some("op".into());
    rollout.images = vec![image().reference];
    rollout.observed = false;
    for past in [pending(), confirmed()] {
        assert!(matches!(next(&written, &past), Next::Wait(_)));
    }
    written.rollout.as_mut().unwrap().observed = true;
    assert!(matches!(next(&written, &confirmed()), Next::Wait(_)));
    let Next::Done(done) = next(&made(), &confirmed()) else {
        panic!()
    };
    assert_eq!(done.reason, Reason::BroughtUp);
    assert!(done.said.starts_with("r3 made is made"), "{}", done.said);
}

#[test]
fn what_somebody_else_made_is_not_the_destination() {
    let mut other = made();
    other.rollout.as_mut().unwrap().operation = None;
    assert!(matches!(next(&other, &confirmed()), Next::Yield(_)));
    // The mark stays on a later deploy of the same image.
    let mut later = made();
    later.rollout.as_mut().unwrap().revision = 4;
    assert!(matches!(next(&later, &confirmed()), Next::Yield(_)));
    let mut sidecar = made();
    let containers = &mut sidecar.replica_sets[1].template["spec"]["containers"];
    containers
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "s", "image": "s:1"}));
    assert!(matches!(next(&sidecar, &confirmed()), Next::Yield(_)));
}

#[test]
fn what_is_put_back_is_not_fought() {
    let mut back = alone();
    back.rollout.as_mut().unwrap().operation = Some("op".into());
    for (at, past) in [(&back, pending()), (&alone(), confirmed())] {
        assert!(matches!(next(at, &past), Next::Fail(it) if it.reason == Reason::Overwritten));
    }
    let mut gone = alone();
    gone.rollout = None;
    assert!(matches!(next(&gone, &pending()), Next::Fail(_)));
}

#[test]
fn an_unknown_container_is_never_added() {
    let mut other = alone();
    other.replica_sets[0].template["spec"]["containers"][0]["name"] = json!("x");
    let Next::Fail(finding) = next(&other, &pending()) else {
        panic!()
    };
    assert_eq!(finding.said, "the live template has no container c");
}

#[test]
fn it_is_not_left_between_the_image_and_the_promotion() {
    assert!(RestoreImage::safe_point(&plan(), &alone()));
    assert!(!RestoreImage::safe_point(&plan(), &made()));
    assert!(!RestoreImage::safe_unseen(&plan()));
    let mut deployment = made();
    deployment.rollout.as_mut().unwrap().strategy = Strategy::Deployment;
    assert!(RestoreImage::safe_point(&plan(), &deployment));
}

#[test]
fn it_does_nothing_while_a_replica_set_is_left_and_writes_to_no_spec_of_gitops() {
    let at = promoted();
    let rollout = at.rollout.as_ref().unwrap();
    let mut target = target();
    target.known_good = Some(Pin::Image(image()));
    let mut journey = Journey {
        operation: "op".into(),
        from: at.live().unwrap(),
        to: at.release(rollout, "good"),
        served: true,
        owner: Some("Argo CD".into()),
    };
    let step = RestoreImage {};
    let idle = step.plan(&target, &journey, &at).unwrap();
    assert_eq!(idle.image, None);
    let now = Timestamp::UNIX_EPOCH;
    let next = RestoreImage::next(&idle, &at, &[], &pending(), now);
    assert!(matches!(next, Next::Done(it) if it.reason == Reason::AlreadyThere));
    assert!(RestoreImage::safe_point(&idle, &at));
    assert!(RestoreImage::safe_unseen(&idle));
    journey.to = plan().to;
    let refused = step.plan(&target, &journey, &at).unwrap_err();
    assert_eq!(refused.reason, Reason::OwnedElsewhere);
    journey.owner = None;
    let planned = step.plan(&target, &journey, &at).unwrap();
    assert_eq!(planned.image, Some(image()));
}
