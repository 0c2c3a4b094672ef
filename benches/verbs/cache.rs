//! A real Redis that a bad release fills with bad values for as long as one of its pods runs, and what is left in it.

use std::convert::Infallible;
use std::process::Command;
use std::time::Duration;

use crate::app::warm_ups;
use crate::mirror::Mirrors;
use crate::scene::Scene;
use crate::scene::cache::fill;
use crate::support::redis::Redis;

/// Redis's own, so that what is run in its pod needs no other word for it.
const PORT: u16 = 6379;
/// How soon a bad pod writes again.
const WRITES: Duration = Duration::from_millis(50);

/// A Redis, until it is dropped.
pub(crate) struct Cache {
    redis: Redis,
    /// The hash of the release that writes bad values.
    bad: String,
}

/// What is left of it all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Whether there are values of the bad release.
    bad_values: bool,
    /// Whether all keys of others are there.
    others: bool,
    /// How many pods that serve were warmed up, and how many serve.
    warm: usize,
    serving: usize,
}

// === impl Cache ===

impl Cache {
    /// Starts one with values of the bad release and of others.
    pub(crate) async fn start(scene: &Scene) -> Self {
        let there = Command::new("redis-cli").arg("--version").output();
        there.expect("redis-cli, which is in Debian's package redis-tools");
        let redis = Redis::at(PORT, scene.folder.path(), None, &[]).await;
        fill(&redis).await;
        let bad = String::new();
        Self { redis, bad }
    }

    /// Says which release writes bad values.
    pub(crate) fn filled_by(self, bad: String) -> Self {
        Self { bad, ..self }
    }

    pub(crate) fn address(&self) -> String {
        self.redis.address()
    }

    /// The pods of the bad release write, until each has been told to stop.
    pub(crate) async fn is_spoilt(&self, mirrors: &Mirrors) -> Infallible {
        loop {
            if mirrors.runs(&self.bad) {
                self.redis.holds(0, ["pinn:1".to_owned()]).await;
            }
            tokio::time::sleep(WRITES).await;
        }
    }

    /// What is left, in it and in the pods behind the Service that takes the traffic.
    pub(crate) async fn left(&self, scene: &Scene, mirrors: &Mirrors) -> Left {
        let keys = self.redis.keys(0).await;
        let serving = mirrors.serving(&scene.front);
        let names = serving
            .iter()
            .filter_map(|it| it["metadata"]["name"].as_str());
        Left {
            bad_values: keys.iter().any(|it| it.starts_with("pinn:")),
            others: keys.iter().any(|it| it == "session:1")
                && self.redis.keys(1).await == ["pinn:1"],
            warm: names.filter(|it| warm_ups(it) > 0).count(),
            serving: serving.len(),
        }
    }
}

// === impl Left ===

impl Left {
    /// Whether it is as it has to be.
    pub(crate) const fn is_right(self) -> bool {
        !self.bad_values && self.others && self.warm == self.serving
    }

    /// In words.
    pub(crate) fn text(self) -> String {
        let Self { warm, serving, .. } = self;
        let values = if self.bad_values {
            "**bad values in the cache**"
        } else {
            "no bad value in the cache"
        };
        let others = if self.others {
            "others' keys kept"
        } else {
            "**others' keys gone**"
        };
        format!("{values}, {others}, {warm} of {serving} pods warm")
    }
}
