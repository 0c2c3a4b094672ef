//! What is remembered of drills: the releases that they made, each of which counts as the one that it was made of, and how
//! the last drill ended.
//!
//! A drill's release is never a change: neither going to it nor coming back from it makes a release new, or takes from the
//! time for which one was stable.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Phase;
use super::memory::{Live, MemoryStatus};
use super::object::Run;
use crate::target::drill::Twin;
use crate::target::workload::Rollout;

/// How many drills' releases are kept.
const KEPT: usize = 30;

/// A release that a drill made.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Drilled {
    /// The pod-template hash.
    pub hash: String,
    /// The hash of the release that it was made of, and as which it counts.
    pub of: String,
    /// The drill's id.
    pub id: String,
    /// When it was seen.
    pub at: Timestamp,
}

/// How the last drill ended that changed anything.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct LastDrill {
    /// When.
    pub at: Timestamp,
    /// Whether every step of the way back reached its state.
    pub ok: bool,
    /// How long it took.
    pub seconds: Seconds,
    /// The rollback that took the drill's release back.
    pub rollback: String,
}

/// How many seconds after the rollback was asked for something was seen. Kubernetes dates the request to whole seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct Seconds {
    /// The API server confirmed the first change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_change: Option<f64>,
    /// All traffic was on the release from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_back: Option<f64>,
    /// Every step was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<f64>,
}

// === impl Seconds ===

impl Seconds {
    /// The times of a run that was asked for at this time.
    #[must_use]
    pub fn of(run: &Run, received: Timestamp) -> Self {
        let since = |at: Option<Timestamp>| {
            let passed = at?.duration_since(received).as_millis();
            // To the millisecond, and never before the request.
            let passed = u32::try_from(passed.max(0)).unwrap_or(u32::MAX);
            Some(f64::from(passed) / 1000.0)
        };
        Self {
            first_change: since(run.first_mutation),
            traffic_back: since(run.traffic_back),
            healthy: since(run.healthy),
        }
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = |what: &str, seconds: Option<f64>| match seconds {
            Some(seconds) => format!("{what} after {seconds:.1} s"),
            None => format!("{what} not seen"),
        };
        let Self {
            first_change,
            traffic_back,
            healthy,
        } = *self;
        write!(
            f,
            "{}, {}, {}",
            said("first change", first_change),
            said("traffic back", traffic_back),
            said("healthy", healthy)
        )
    }
}

// === impl MemoryStatus ===

impl MemoryStatus {
    /// The hash of the release as which this one counts: that of a drill as the one that it was made of, any other as itself.
    #[must_use]
    pub fn origin<'a>(&'a self, hash: &'a str) -> &'a str {
        let found = self.drilled.iter().find(|drilled| drilled.hash == hash);
        found.map_or(hash, |drilled| &drilled.of)
    }

    /// Whether two hashes count as one release.
    #[must_use]
    pub fn same(&self, one: &str, other: &str) -> bool {
        one == other || self.origin(one) == self.origin(other)
    }

    /// The drill whose release has this hash.
    #[must_use]
    pub fn drill(&self, hash: &str) -> Option<&Drilled> {
        self.drilled.iter().find(|drilled| drilled.hash == hash)
    }

    /// Remembers a release that a drill made, once. It must be known before it is observed as live.
    pub fn remember_drilled(&mut self, twin: &Twin, now: Timestamp) -> bool {
        if self.drill(&twin.hash).is_some() {
            return false;
        }
        self.drilled.push(Drilled {
            hash: twin.hash.clone(),
            of: twin.of.clone(),
            id: twin.id.clone(),
            at: now,
        });
        if self.drilled.len() > KEPT {
            self.drilled.remove(0);
        }
        true
    }

    /// Notes how a drill ended that changed something. One that somebody stopped, or that gave way, shows nothing.
    pub fn remember_drill(
        &mut self,
        rollback: &str,
        phase: Phase,
        run: &Run,
        received: Timestamp,
        now: Timestamp,
    ) -> bool {
        let ended = matches!(phase, Phase::Succeeded | Phase::Failed);
        if !ended || run.first_mutation.is_none() {
            return false;
        }
        self.drill = Some(LastDrill {
            at: now,
            ok: phase == Phase::Succeeded,
            seconds: Seconds::of(run, received),
            rollback: rollback.to_owned(),
        });
        true
    }

    /// The live release as it was before a drill's made its place, or the other way round: what is live now counts as the
    /// same, so that it is as old. So does a drill's own under another revision: the controller counts the revision of what
    /// follows before it says what that is.
    pub(super) fn carried(&self, rollout: &Rollout) -> Option<&Live> {
        self.live.as_ref().filter(|live| {
            let moved = live.hash != rollout.current || self.drill(&live.hash).is_some();
            live.uid == rollout.uid && moved && self.same(&live.hash, &rollout.current)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rollback::history::tests::target;
    use crate::target::Snapshot;
    use crate::target::drill::tests::drilled;
    use crate::target::snapshot::tests::{in_flight, promoted, restored, set};

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn see(memory: &mut MemoryStatus, at: &Snapshot, now: i64) {
        if let Some(twin) = at.drilled() {
            memory.remember_drilled(&twin, second(now));
        }
        memory.observe(at.rollout.as_ref().unwrap(), None, second(now));
    }

    /// `good` live and stable since 0, as r1.
    fn before() -> MemoryStatus {
        let mut memory = MemoryStatus::default();
        let mut at = restored();
        at.rollout.as_mut().unwrap().revision = 1;
        see(&mut memory, &at, 0);
        memory
    }

    fn drilled_and_promoted() -> Snapshot {
        let mut at = drilled();
        let rollout = at.rollout.as_mut().unwrap();
        rollout.stable = "bad".into();
        rollout.phase = "Healthy".into();
        at
    }

    #[test]
    fn a_drill_makes_nothing_new_and_takes_nothing_away() {
        let untouched = before();
        for shipped in [drilled(), drilled_and_promoted()] {
            let mut memory = before();
            see(&mut memory, &drilled(), 5000);
            see(&mut memory, &shipped, 5001);
            let live = memory.live.clone().unwrap();
            assert_eq!((&*live.hash, live.revision), ("bad", 2));
            assert_eq!(
                (live.changed, live.promoted),
                (second(0), Some(second(0))),
                "as old as what it was made of"
            );
            assert_eq!(memory.history, untouched.history, "it was never stable");
            // Back: before the promotion of the release from before, and after it.
            let mut back = restored();
            back.rollout.as_mut().unwrap().stable = shipped.rollout.unwrap().stable;
            see(&mut memory, &back, 5002);
            see(&mut memory, &restored(), 5003);
            let live = memory.live.clone().unwrap();
            assert_eq!((&*live.hash, live.revision), ("good", 3));
            assert_eq!((live.changed, live.promoted), (second(0), Some(second(0))));
            assert_eq!(memory.history.len(), 1);
            let stable = &memory.history[0];
            assert_eq!(
                (stable.since, stable.until, stable.revision),
                (second(0), None, 3)
            );
        }
    }

    #[test]
    fn a_revision_that_is_counted_before_the_way_back_is_seen_makes_nothing_new() {
        let untouched = before();
        let mut memory = before();
        see(&mut memory, &drilled(), 5000);
        let mut counted = drilled();
        counted.rollout.as_mut().unwrap().revision = 3;
        see(&mut memory, &counted, 5001);
        see(&mut memory, &restored(), 5002);
        let live = memory.live.clone().unwrap();
        assert_eq!((&*live.hash, live.revision), ("good", 3));
        assert_eq!((live.changed, live.promoted), (second(0), Some(second(0))));
        assert_eq!(memory.history.len(), untouched.history.len());
    }

    #[test]
    fn without_a_drill_a_template_that_comes_back_is_new() {
        let mut memory = before();
        see(&mut memory, &in_flight(), 5000);
        see(&mut memory, &restored(), 5003);
        assert_eq!(memory.live.unwrap().changed, second(5003));
        assert_eq!(memory.history.len(), 2);
    }

    #[test]
    fn what_is_deployed_over_what_a_drill_left_is_a_release_of_its_own() {
        let mut memory = before();
        see(&mut memory, &drilled(), 5000);
        let mut over = promoted();
        let rollout = over.rollout.as_mut().unwrap();
        (rollout.current, rollout.stable, rollout.revision) = ("new".into(), "new".into(), 3);
        rollout.drill = Some("d1".into());
        see(&mut memory, &over, 6000);
        assert_eq!(memory.live.as_ref().unwrap().changed, second(6000));
        assert!(!memory.same("new", "good"));
        let stable: Vec<_> = memory.history.iter().map(|it| &*it.hash).collect();
        assert_eq!(stable, ["good", "new"]);
    }

    #[test]
    fn a_rollback_for_an_alert_leaves_the_release_behind_a_drills_as_well() {
        let mut memory = MemoryStatus::default();
        let mut older = restored();
        let rollout = older.rollout.as_mut().unwrap();
        (rollout.current, rollout.stable, rollout.revision) = ("older".into(), "older".into(), 0);
        see(&mut memory, &older, 0);
        let mut good = restored();
        good.rollout.as_mut().unwrap().revision = 1;
        see(&mut memory, &good, 5000);
        let mut at = drilled();
        at.replica_sets.push(set("older", 0, 0));
        see(&mut memory, &at, 6000);
        let mut target = target();
        target.min_soak = Duration::from_secs(600);
        let found = memory
            .destination(&target, &at, false, second(6100))
            .unwrap();
        assert_eq!(found.release.hash, "older");
        // Blamed is then what was deployed, whatever its hash.
        let live = at.live().unwrap();
        memory.blame(&live, "rb", second(6100));
        assert!(memory.blames("good") && memory.blames("bad"));
    }

    #[test]
    fn only_what_changed_something_and_came_to_an_end_is_a_drill() {
        let mut memory = MemoryStatus::default();
        let run = Run {
            first_mutation: Some(second(101)),
            traffic_back: Some(second(102)),
            ..Run::default()
        };
        let untouched = Run::default();
        let mut noted =
            |phase, run: &Run| memory.remember_drill("rb", phase, run, second(100), second(109));
        assert!(!noted(Phase::Succeeded, &untouched));
        assert!(!noted(Phase::Superseded, &run));
        assert!(!noted(Phase::Cancelled, &run));
        assert!(noted(Phase::Failed, &run));
        let last = memory.drill.unwrap();
        assert_eq!((last.at, last.ok), (second(109), false));
        assert_eq!(
            last.seconds.to_string(),
            "first change after 1.0 s, traffic back after 2.0 s, healthy not seen"
        );
    }
}
