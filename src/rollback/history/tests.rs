use std::time::Duration;

use super::*;
use crate::target::colours::tests::looking;
use crate::target::snapshot::tests::{in_flight, promoted, restored, set};
use crate::target::workload::Strategy;
use crate::target::{Audience, Ownership, Workload};

fn second(n: i64) -> Timestamp {
    Timestamp::from_second(n).unwrap()
}

pub(crate) fn target() -> Target {
    Target {
        name: "api".into(),
        workload: Workload {
            kind: crate::target::Kind::Rollout,
            namespace: "prod".into(),
            name: "x".into(),
            deployments: vec![],
        },
        health: None,
        redis: None,
        warm_up: None,
        commands: std::collections::BTreeMap::new(),
        ownership: Ownership::Auto,
        drills: crate::target::Drills::Refused,
        manifest: None,
        known_good: None,
        change_window: Duration::from_secs(3600),
        min_soak: Duration::from_secs(600),
        settle: Duration::from_secs(300),
        start_within: Duration::from_secs(120),
        approve_within: Duration::from_secs(900),
        give_up: Duration::from_secs(900),
        audience: Audience::default(),
        links: vec![],
        after: vec![],
    }
}

/// `good` stable since 0, an update to `bad` seen at 1000 and promoted at 1100.
fn after_a_bad_promotion() -> MemoryStatus {
    let mut memory = MemoryStatus::default();
    let mut before = restored();
    before.rollout.as_mut().unwrap().revision = 1;
    memory.observe(before.rollout.as_ref().unwrap(), None, second(0));
    memory.observe(in_flight().rollout.as_ref().unwrap(), None, second(1000));
    memory.observe(promoted().rollout.as_ref().unwrap(), None, second(1100));
    memory
}

#[test]
fn the_memory_follows_a_release_from_change_to_promotion() {
    let memory = after_a_bad_promotion();
    let live = memory.live.as_ref().unwrap();
    assert_eq!(
        (live.hash.as_str(), live.changed, live.promoted),
        ("bad", second(1000), Some(second(1100)))
    );
    let stable: Vec<_> = memory
        .history
        .iter()
        .map(|s| (s.hash.as_str(), s.since, s.until))
        .collect();
    assert_eq!(
        stable,
        [
            ("good", second(0), Some(second(1100))),
            ("bad", second(1100), None)
        ]
    );
}

#[test]
fn looking_twice_teaches_nothing_new() {
    let mut memory = after_a_bad_promotion();
    assert!(!memory.observe(promoted().rollout.as_ref().unwrap(), None, second(2000)));
}

#[test]
fn an_unobserved_workload_teaches_nothing() {
    let mut at = in_flight();
    at.rollout.as_mut().unwrap().observed = false;
    let mut memory = MemoryStatus::default();
    assert!(!memory.observe(at.rollout.as_ref().unwrap(), None, second(0)));
    assert_eq!(memory, MemoryStatus::default());
}

#[test]
fn a_change_that_nobody_watched_is_dated_to_its_replica_set() {
    let mut memory = MemoryStatus::default();
    memory.observe(
        in_flight().rollout.as_ref().unwrap(),
        Some(second(40)),
        second(100),
    );
    assert_eq!(memory.live.unwrap().changed, second(40));
}

#[test]
fn a_replica_set_that_is_used_again_does_not_date_the_change() {
    let mut memory = after_a_bad_promotion();
    memory.observe(
        restored().rollout.as_ref().unwrap(),
        Some(second(1)),
        second(1200),
    );
    assert_eq!(memory.live.unwrap().changed, second(1200));
}

#[test]
fn in_flight_the_stable_release_is_the_destination() {
    let memory = MemoryStatus::default();
    let destination = memory
        .destination(&target(), &in_flight(), false, second(1))
        .unwrap();
    assert_eq!(destination.release.to_string(), "r1 good");
    assert_eq!(destination.release.images, ["app:good"]);
}

#[test]
fn a_blamed_stable_release_is_not() {
    let mut memory = MemoryStatus::default();
    let at = in_flight();
    let stable = at.release(at.rollout.as_ref().unwrap(), "good");
    assert!(memory.blame(&stable, "rb", second(0)));
    assert!(!memory.blame(&stable, "rb", second(1)));
    assert!(
        memory
            .destination(&target(), &at, false, second(1))
            .is_err()
    );
}

#[test]
fn promoted_the_newest_that_was_stable_long_enough_is() {
    let memory = after_a_bad_promotion();
    let destination = memory
        .destination(&target(), &promoted(), false, second(1200))
        .unwrap();
    assert_eq!(destination.release.hash, "good");
    assert_eq!(destination.chosen, "it was stable for 18 min 20 s");
    let mut strict = target();
    strict.min_soak = Duration::from_secs(3600);
    assert_eq!(
        memory
            .destination(&strict, &promoted(), false, second(1200))
            .unwrap_err()
            .reason,
        Reason::NoDestination
    );
}

#[test]
fn without_history_nothing_is_known_to_be_good() {
    let refused = MemoryStatus::default()
        .destination(&target(), &promoted(), false, second(0))
        .unwrap_err();
    assert_eq!(refused.reason, Reason::NoDestination);
}

#[test]
fn a_destination_without_replica_set_is_none() {
    let memory = after_a_bad_promotion();
    let mut at = promoted();
    at.replica_sets.remove(0);
    assert_eq!(
        memory
            .destination(&target(), &at, false, second(1200))
            .unwrap_err()
            .reason,
        Reason::NoDestination
    );
}

#[test]
fn a_pin_decides() {
    let mut pinned = target();
    pinned.known_good = Some(Pin::Revision(1));
    let memory = MemoryStatus::default();
    assert_eq!(
        memory
            .destination(&pinned, &promoted(), false, second(0))
            .unwrap()
            .chosen,
        "the policy pins revision 1"
    );
    pinned.known_good = Some(Pin::Hash("bad".into()));
    assert!(
        memory
            .destination(&pinned, &promoted(), false, second(0))
            .is_err()
    );
}

#[test]
fn another_workload_of_the_same_name_has_another_history() {
    let memory = after_a_bad_promotion();
    let mut at = promoted();
    at.rollout.as_mut().unwrap().uid = "new".into();
    assert!(
        memory
            .destination(&target(), &at, false, second(1200))
            .is_err()
    );
}

#[test]
fn what_was_stable_before_a_deployments_update_only_the_history_knows() {
    let memory = after_a_bad_promotion();
    let mut at = in_flight();
    let rollout = at.rollout.as_mut().unwrap();
    (rollout.strategy, rollout.stable) = (Strategy::Deployment, String::new());
    rollout.current = "newest".into();
    let recalled = memory.recall(rollout);
    assert_eq!(recalled.stable, "bad");
    assert!(recalled.in_flight() && !rollout.in_flight());
    assert_eq!(MemoryStatus::default().recall(rollout).stable, "");
    // Nothing vouches for it but the time that it was stable.
    let destination = |now| {
        memory
            .destination(&target(), &at, false, second(now))
            .unwrap()
    };
    assert_eq!(destination(1200).release.hash, "good");
    assert_eq!(destination(1700).release.hash, "bad");
    // While it rolls out, what was complete stays the newest of the history.
    let mut observed = memory.clone();
    observed.observe(at.rollout.as_ref().unwrap(), None, second(1300));
    assert_eq!(observed.history, memory.history);
    let mut another = at.rollout.unwrap();
    another.uid = "new".into();
    assert_eq!(memory.recall(&another).stable, "");
}

#[test]
fn behind_a_service_the_other_deployment_is_gone_back_to_if_it_was_good() {
    let mut memory = MemoryStatus::default();
    let learn = |memory: &mut MemoryStatus, live: &str, now| {
        let at = looking(live, 3, 3);
        let created = at.replica_set(&format!("hash-{live}")).unwrap().created;
        memory.observe(at.rollout.as_ref().unwrap(), created, second(now))
    };
    assert!(learn(&mut memory, "blue", 0));
    let at = looking("green", 3, 3);
    let found = |memory: &MemoryStatus, now| memory.destination(&target(), &at, false, second(now));
    assert!(learn(&mut memory, "green", 1000));
    let live = memory.live.clone().unwrap();
    // By when the Service was seen to lead there, however old the replica set is.
    assert_eq!(
        (live.hash.as_str(), live.changed),
        ("hash-green", second(1000))
    );
    let destination = found(&memory, 1100).unwrap();
    assert_eq!(
        (
            destination.release.hash.as_str(),
            destination.release.revision
        ),
        ("hash-blue", 1)
    );
    // Another release in the other Deployment is not the one that was good.
    let mut prepared = looking("green", 3, 3);
    prepared.replica_sets[0].hash = "new".into();
    assert!(
        memory
            .destination(&target(), &prepared, false, second(1100))
            .is_err()
    );
    let blue = destination.release;
    memory.blame(&blue, "x-r1", second(1100));
    let refused = found(&memory, 1200).unwrap_err();
    assert_eq!(refused.reason, Reason::DestinationBlamed);
    let mut short = MemoryStatus::default();
    learn(&mut short, "blue", 0);
    learn(&mut short, "green", 60);
    assert_eq!(
        found(&short, 100).unwrap_err().reason,
        Reason::NoDestination
    );
}

#[test]
fn durations_for_people() {
    let cases = [
        (1, "1.0 s"),
        (61, "1 min 1 s"),
        (3700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ];
    for (seconds, text) in cases {
        assert_eq!(rough(SignedDuration::from_secs(seconds)), text);
    }
}

#[test]
fn a_change_that_was_seen_as_it_happened_is_dated_to_the_look() {
    let mut memory = MemoryStatus::default();
    let look = Timestamp::from_millisecond(100_700).unwrap();
    memory.observe(
        in_flight().rollout.as_ref().unwrap(),
        Some(second(100)),
        look,
    );
    assert_eq!(memory.live.unwrap().changed, look);
}

/// A promoted bad release, and the image `app@sha256:…` pinned for its container.
fn image_pinned() -> (Target, Snapshot) {
    let mut pinned = target();
    pinned.known_good = Some(Pin::Image(Image {
        container: "c".into(),
        reference: "app@sha256:0123456789abcdef".into(),
    }));
    (pinned, promoted())
}

fn has_pinned_image(at: &mut Snapshot, hash: &str) {
    let mut sets = at.replica_sets.iter_mut();
    let set = sets.find(|set| set.hash == hash).unwrap();
    set.template["spec"]["containers"][0]["image"] = "app@sha256:0123456789abcdef".into();
}

#[test]
fn a_pinned_image_is_its_newest_replica_set() {
    let (pinned, mut at) = image_pinned();
    has_pinned_image(&mut at, "good");
    let mut memory = MemoryStatus::default();
    let of = |memory: &MemoryStatus, at: &Snapshot| {
        memory.destination(&pinned, at, false, second(0)).unwrap()
    };
    assert_eq!(of(&memory, &at).release.hash, "good");
    at.replica_sets.push(set("newer", 3, 0));
    has_pinned_image(&mut at, "newer");
    assert_eq!(of(&memory, &at).release.hash, "newer");
    // One that was pulled back comes last.
    let blamed = at.release(at.rollout.as_ref().unwrap(), "newer");
    memory.blame(&blamed, "x", second(0));
    assert_eq!(of(&memory, &at).release.hash, "good");
}

#[test]
fn a_pinned_image_without_a_replica_set_can_be_brought_up_where_that_is_asked_for() {
    let (pinned, mut at) = image_pinned();
    let memory = MemoryStatus::default();
    let of = |at: &Snapshot, bring_up| memory.destination(&pinned, at, bring_up, second(0));
    let refused = of(&at, false).unwrap_err();
    assert_eq!(refused.reason, Reason::NoDestination);
    assert!(refused.said.contains("`restore-image`"), "{}", refused.said);
    let found = of(&at, true).unwrap();
    assert!(found.release.is_to_be_made());
    assert_eq!(found.release.images, ["app@sha256:0123456789abcdef"]);
    assert_eq!(found.release.revision, 3, "the next one");
    assert_eq!(found.release.to_string(), "r3 sha256:0123456789ab");
    // The live release has it already, or has no such container.
    has_pinned_image(&mut at, "bad");
    let refused = of(&at, true).unwrap_err();
    assert!(
        refused.said.starts_with("the live release has"),
        "{}",
        refused.said
    );
    at.replica_sets[1].template["spec"]["containers"][0]["name"] = "other".into();
    let refused = of(&at, true).unwrap_err();
    assert!(
        refused
            .said
            .starts_with("the live template has no container c")
    );
}
