//! How many pods each `ReplicaSet` of a rollout should have, and the next move towards that.

use super::spec::{Step, share};
use super::{Set, Sync};

// === impl Sync ===

impl Sync<'_> {
    /// What each `ReplicaSet` should have in the end, at the present step.
    pub(super) fn want(&mut self) {
        let (stable, replicas) = (self.stable(), self.replicas);
        let alone = stable == self.hash || stable.is_empty();
        let weight = if alone { 100 } else { self.weight() };
        let canary = match weight {
            0 => 0,
            100 => replicas,
            // The nearest count, but not none.
            weight => ((replicas * weight + 50) / 100).max(1).min(replicas),
        };
        let rest = match weight {
            100 => 0,
            _ => (replicas - canary).max(1).min(replicas),
        };
        for set in &mut self.sets {
            set.wanted = match set.hash.as_str() {
                hash if hash == self.hash => canary,
                hash if hash == stable => rest,
                _ => 0,
            };
        }
    }

    /// One move towards that, within surge and availability.
    pub(super) fn scale(&mut self) {
        let canary = &self.rollout["spec"]["strategy"]["canary"];
        let surge = share(&canary["maxSurge"], self.replicas, true);
        let missing = share(&canary["maxUnavailable"], self.replicas, false);
        // One of them must give way, or nothing could ever move.
        let missing = if surge == 0 { missing.max(1) } else { missing };
        let (hash, stable) = (self.hash.clone(), self.stable());
        let rank = |set: &Set| (set.hash == stable, set.hash == hash);
        self.sets.sort_by_key(rank);

        let available: u64 = self.sets.iter().map(|set| set.available).sum();
        let mut spare = available.saturating_sub(self.replicas.saturating_sub(missing));
        for set in &mut self.sets {
            let excess = set.asked.saturating_sub(set.wanted);
            let broken = excess.min(set.asked - set.available);
            let healthy = (excess - broken).min(spare);
            spare -= healthy;
            set.asked -= broken + healthy;
        }
        let total: u64 = self.sets.iter().map(|set| set.asked).sum();
        let mut room = (self.replicas + surge).saturating_sub(total);
        for set in self.sets.iter_mut().rev() {
            let more = set.wanted.saturating_sub(set.asked).min(room);
            room -= more;
            set.asked += more;
        }
    }

    fn weight(&self) -> u64 {
        if self.is("abort") {
            return 0;
        }
        let Some(done) = self.steps.get(..=self.step()) else {
            return 100;
        };
        let mut weights = done.iter().rev().filter_map(|step| match step {
            Step::Weight(weight) => Some(*weight),
            Step::Pause(_) => None,
        });
        weights.next().unwrap_or_default()
    }
}
