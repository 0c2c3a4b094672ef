//! Looks at a release while a contender acts: who serves, what the Rollout says, and how the users are answered.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::good::hash_of;
use crate::outcome::End;
use crate::scene::router::{canary_ingress, weight_of};
use crate::scene::{NAME, Scene, now};
use crate::turn::Turn;

/// How long the users must have had good answers only.
const QUIET: Duration = Duration::from_millis(1_500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What is so at one moment.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all are asked together"
)]
pub(crate) struct Look {
    /// Ready endpoints of the good release, and of others.
    good: usize,
    bad: usize,
    /// How many of the good ones are no pods of a Rollout.
    elsewhere: usize,
    /// How many pods run, whether they are ready or not.
    running: usize,
    /// How many pods are asked for.
    wanted: u64,
    /// What the router sends to the canary, in per cent; nothing where it does not say so.
    weight: Option<u64>,
    phase: String,
    /// Whether the controller has looked at the latest spec.
    observed: bool,
    live: bool,
    stable: bool,
    /// Whether the users' answers were good for a while.
    quiet: bool,
}

/// What was seen while a contender acted.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) last: Look,
    /// From when on it was Healthy on the good release.
    pub(crate) healthy: Option<Timestamp>,
}

// === impl Look ===

impl Look {
    fn take(turn: &Turn<'_>) -> Self {
        let rollout = turn.mirrors.rollout(NAME);
        let status = &rollout["status"];
        let serving = turn.mirrors.serving(&turn.scene.front);
        let (good, bad): (Vec<_>, Vec<_>) = serving.iter().partition(|it| turn.good.has(it));
        let weight = if turn.ready.router.is_some() {
            let ingress = turn.mirrors.ingress(&canary_ingress());
            weight_of(&ingress).and_then(|it| it.parse().ok())
        } else {
            Some(0)
        };
        let generation = rollout["metadata"]["generation"].to_string();
        let last_bad = last_bad(turn.scene, turn.began).unwrap_or(turn.began);
        Self {
            elsewhere: good.iter().filter(|it| hash_of(it).is_null()).count(),
            good: good.len(),
            bad: bad.len(),
            running: turn.mirrors.running(),
            wanted: rollout["spec"]["replicas"].as_u64().unwrap_or_default(),
            weight,
            phase: status["phase"].as_str().unwrap_or("?").to_owned(),
            observed: status["observedGeneration"] == generation.as_str(),
            live: turn.good.is_live(&rollout),
            stable: turn.good.is_stable(&rollout),
            quiet: now().duration_since(last_bad).unsigned_abs() >= QUIET,
        }
    }

    /// Whether only good pods are asked, and there are enough of them.
    fn serves_well(&self) -> bool {
        self.is_clean() && self.good as u64 >= self.wanted
    }

    fn is_clean(&self) -> bool {
        self.bad == 0 && self.weight == Some(0)
    }

    fn healthy(&self) -> bool {
        self.observed && self.live && self.stable && self.phase == "Healthy"
    }

    /// Where it ended.
    pub(crate) fn end(&self) -> End {
        if self.serves_well() && self.quiet && self.observed {
            if self.healthy() {
                return End::Healthy;
            }
            if self.stable && self.phase == "Degraded" {
                return End::Degraded;
            }
            if self.elsewhere == self.good {
                return End::Elsewhere;
            }
        }
        match (self.good, self.bad) {
            (0, 0) => End::Nobody,
            _ if self.quiet && self.is_clean() => End::Unfinished,
            _ => End::Bad,
        }
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        let weight = match self.weight {
            Some(0) => String::new(),
            Some(weight) => format!("; {weight} % of the requests go to the bad release"),
            None => "; the router finds no weight".to_owned(),
        };
        format!(
            "{} good and {} bad ready endpoints, {} pods; {}{weight}",
            self.good, self.bad, self.running, self.phase
        )
    }
}

/// Looks until `acted` says that the contender is done and the end is a good one, or until `bound`, counted from the
/// beginning.
pub(crate) async fn watch(
    turn: &Turn<'_>,
    bound: Duration,
    acted: impl Fn() -> Option<Value>,
) -> Watched {
    let mut healthy = None;
    loop {
        let last = Look::take(turn);
        if last.healthy() {
            healthy = healthy.or_else(|| Some(now()));
        } else {
            healthy = None;
        }
        // Who refuses has no more to do.
        let done =
            acted().is_some_and(|it| it["status"]["phase"] == "Declined" || last.end().is_back());
        let late = now().duration_since(turn.began).unsigned_abs() >= bound;
        if done || late {
            return Watched { last, healthy };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// When the users had their last bad answer, since the beginning.
pub(crate) fn last_bad(scene: &Scene, began: Timestamp) -> Option<Timestamp> {
    let tally = scene.users.as_ref()?.tally();
    tally.last_bad.filter(|at| *at >= began)
}
