//! A miniature of Argo Rollouts' controller: the basic canary with `setWeight` and `pause` steps.
//!
//! Pure: it reads the store and returns writes. It keeps the real controller's traps: it completes the template that it
//! finds, a changed template forgets an abort or a promotion that was not yet seen, a promoted rollout drops an abort in
//! silence, and so does one with a full promotion pending. Rollouts of any other kind are left alone: never observed.

mod spec;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::spec::Step;
use super::object::{count, is_owned, is_stopping, owner, short, stamp, text};
use super::store::{Key, Store, Write};

/// Label that ties pods and `ReplicaSets` to one template.
const HASH: &str = "rollouts-pod-template-hash";
const REVISION: &str = "rollout.argoproj.io/revision";

/// What the controller remembers, tells and is asked for: `status` of a Rollout.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(rename = "currentPodHash")]
    current: String,
    #[serde(rename = "stableRS")]
    stable: String,
    #[serde(rename = "currentStepIndex")]
    step: Option<usize>,
    #[serde(rename = "currentStepHash")]
    step_hash: String,
    abort: bool,
    aborted_at: Option<String>,
    promote_full: bool,
    controller_pause: bool,
    pause_conditions: Option<Value>,
    /// A string, unlike in every other kind.
    observed_generation: String,
    phase: String,
    message: String,
    conditions: Value,
    updated_replicas: u64,
}

/// One `ReplicaSet` of the rollout, with the numbers that decide.
struct Set {
    object: Value,
    hash: String,
    asked: u64,
    live: u64,
    available: u64,
}

/// One pass over one rollout.
struct Sync {
    rollout: Value,
    status: Status,
    sets: Vec<Set>,
    steps: Vec<Step>,
    step_hash: String,
    hash: String,
    replicas: u64,
    now: Timestamp,
}

/// One pass of the controller over every rollout.
pub(super) fn reconcile(store: &Store) -> Vec<Write> {
    let rollouts = store.objects("rollouts");
    let alive = rollouts.filter(|rollout| !is_stopping(rollout));
    let writes = alive.filter_map(|rollout| sync(store, rollout.clone()));
    writes.flatten().collect()
}

fn sync(store: &Store, mut rollout: Value) -> Option<Vec<Write>> {
    let steps = spec::steps(&rollout["spec"])?;
    if spec::complete(&mut rollout) {
        return Some(vec![(Key::of("rollouts", &rollout), Some(rollout))]);
    }
    let sets = store.objects("replicasets");
    let sets = sets.filter(|set| is_owned(set, &rollout)).cloned();
    let mut sync = Sync {
        status: serde_json::from_value(rollout["status"].clone()).unwrap_or_default(),
        sets: sets.map(Set::new).collect(),
        hash: short(&rollout["spec"]["template"]),
        step_hash: short(&rollout["spec"]["strategy"]["canary"]["steps"]),
        replicas: rollout["spec"]["replicas"].as_u64().unwrap_or(1).min(100),
        rollout,
        steps,
        now: store.now,
    };
    if sync.status.current == sync.hash && sync.status.step_hash == sync.step_hash {
        sync.obey();
        if sync.rollout["spec"]["paused"] != true {
            sync.advance();
            sync.scale();
        }
    } else {
        sync.adopt();
    }
    sync.report();
    Some(sync.writes())
}

impl Set {
    fn new(object: Value) -> Self {
        let asked = count(&object["spec"]["replicas"]);
        Self {
            hash: text(&object["metadata"]["labels"][HASH]).to_owned(),
            asked,
            live: count(&object["status"]["replicas"]),
            // The status may be from before the last scaling.
            available: count(&object["status"]["availableReplicas"]).min(asked),
            object,
        }
    }

    fn revision(&self) -> u64 {
        let revision = text(&self.object["metadata"]["annotations"][REVISION]);
        revision.parse().unwrap_or_default()
    }
}

impl Sync {
    fn is_settled(&self) -> bool {
        self.status.stable == self.hash
    }

    fn step(&self) -> usize {
        self.status.step.unwrap_or_default().min(self.steps.len())
    }

    fn set_step(&mut self, step: usize) {
        self.status.step = (!self.steps.is_empty()).then_some(step);
    }

    /// A template, or steps, that were not seen before: everything that was asked is forgotten. A template that comes back
    /// becomes the newest revision.
    fn adopt(&mut self) {
        let others = self.sets.iter().filter(|set| set.hash != self.hash);
        let newest = others.map(Set::revision).max();
        let revision = json!((newest.unwrap_or_default() + 1).to_string());
        if !self.sets.iter().any(|set| set.hash == self.hash) {
            self.sets.push(self.new_set());
        }
        for set in self.sets.iter_mut().filter(|set| set.hash == self.hash) {
            set.object["metadata"]["annotations"][REVISION] = revision.clone();
        }
        self.rollout["metadata"]["annotations"][REVISION] = revision;
        if self.status.stable.is_empty() {
            self.status.stable.clone_from(&self.hash);
        }
        self.status.current.clone_from(&self.hash);
        self.status.step_hash.clone_from(&self.step_hash);
        self.status.abort = false;
        self.status.promote_full = false;
        self.unpause();
        self.set_step(0);
    }

    fn new_set(&self) -> Set {
        let (metadata, spec) = (&self.rollout["metadata"], &self.rollout["spec"]);
        let (mut template, mut selector) = (spec["template"].clone(), spec["selector"].clone());
        template["metadata"]["labels"][HASH] = json!(self.hash);
        selector["matchLabels"][HASH] = json!(self.hash);
        Set::new(json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{}", text(&metadata["name"]), self.hash),
                "namespace": metadata["namespace"],
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner(&self.rollout)],
            },
            "spec": { "replicas": 0, "selector": selector, "template": template },
        }))
    }

    /// Answers the requests that clients write into the status.
    fn obey(&mut self) {
        if self.is_settled() || self.status.promote_full {
            self.status.abort = false;
            self.unpause();
            self.set_step(self.steps.len());
        }
        if self.is_settled() {
            self.status.promote_full = false;
        }
        if self.status.abort {
            let now = self.now;
            self.status.aborted_at.get_or_insert_with(|| stamp(now));
            self.unpause();
            self.set_step(0);
        } else {
            self.status.aborted_at = None;
        }
    }

    /// Goes on to the next step while the present one is done, and makes the release stable after the last.
    fn advance(&mut self) {
        while !self.status.abort && !self.is_settled() {
            let at = self.step();
            let there = |set: &Set| set.asked == self.wanted(set) && set.available == set.asked;
            let done = match self.steps.get(at) {
                None => {
                    let current = self.sets.iter().find(|set| set.hash == self.hash);
                    if current.is_some_and(|set| set.available >= self.replicas) {
                        self.status.stable.clone_from(&self.hash);
                        self.status.promote_full = false;
                    }
                    return;
                }
                Some(Step::SetWeight(_)) => self.sets.iter().all(there),
                Some(Step::Pause { duration }) => self.has_paused(*duration),
            };
            if !done {
                return;
            }
            self.unpause();
            self.set_step(at + 1);
        }
    }

    /// Begins a pause. It is over after its time, or when somebody took its condition away.
    fn has_paused(&mut self, duration: Option<SignedDuration>) -> bool {
        let Some(conditions) = &self.status.pause_conditions else {
            let condition = json!({ "reason": "CanaryPauseStep", "startTime": stamp(self.now) });
            self.status.pause_conditions = Some(json!([condition]));
            return std::mem::replace(&mut self.status.controller_pause, true);
        };
        let since = text(&conditions[0]["startTime"]).parse();
        let passed = self.now.duration_since(since.unwrap_or(self.now));
        duration.is_some_and(|duration| passed >= duration)
    }

    fn unpause(&mut self) {
        self.status.controller_pause = false;
        self.status.pause_conditions = None;
    }

    /// How many pods a set should have in the end, at the present step.
    fn wanted(&self, set: &Set) -> u64 {
        let weight = match self.steps.get(..=self.step()) {
            _ if self.is_settled() => 100,
            _ if self.status.abort => 0,
            None => 100,
            Some(done) => {
                let mut weights = done.iter().rev().filter_map(Step::weight);
                weights.next().unwrap_or_default()
            }
        };
        // The nearest count, but none of either only when that is what was asked for.
        let nearest = (self.replicas * weight + 50) / 100;
        let least = self.replicas.min(1);
        let canary = if weight == 0 { 0 } else { nearest.max(least) };
        if set.hash == self.hash {
            canary
        } else if set.hash == self.status.stable && weight < 100 {
            (self.replicas - canary).max(least)
        } else {
            0
        }
    }

    /// Sets grow at once, and shrink as soon as enough others are available: the rollout never has fewer than it found.
    fn scale(&mut self) {
        let available: u64 = self.sets.iter().map(|set| set.available).sum();
        let mut spare = available.saturating_sub(self.replicas);
        let wanted: Vec<u64> = self.sets.iter().map(|set| self.wanted(set)).collect();
        for (set, wanted) in self.sets.iter_mut().zip(wanted) {
            let excess = set.asked.saturating_sub(wanted);
            let broken = excess.min(set.asked - set.available);
            let healthy = (excess - broken).min(spare);
            spare -= healthy;
            set.asked = set.asked.max(wanted) - broken - healthy;
        }
    }

    /// Generation, phase and message.
    fn report(&mut self) {
        let generation = count(&self.rollout["metadata"]["generation"]);
        let revision = text(&self.rollout["metadata"]["annotations"][REVISION]);
        let status = &mut self.status;
        let healthy = self.sets.iter().all(|set| {
            let current = set.hash == self.hash;
            current && set.available >= self.replicas || !current && set.live == 0
        });
        let aborted = format!("RolloutAborted: Rollout aborted update to revision {revision}");
        let (phase, message) = if status.abort {
            ("Degraded", aborted.as_str())
        } else if self.rollout["spec"]["paused"] == true {
            ("Paused", "manually paused")
        } else if status.pause_conditions.is_some() {
            ("Paused", "CanaryPauseStep")
        } else if status.stable == self.hash && healthy {
            ("Healthy", "")
        } else {
            ("Progressing", "more replicas need to be updated")
        };
        let paused = if phase == "Paused" { "True" } else { "False" };
        status.conditions = json!([{ "type": "Paused", "status": paused }]);
        let current = self.sets.iter().find(|set| set.hash == self.hash);
        status.updated_replicas = current.map_or(0, |set| set.live);
        status.observed_generation = generation.to_string();
        phase.clone_into(&mut status.phase);
        message.clone_into(&mut status.message);
    }

    fn writes(mut self) -> Vec<Write> {
        let mut status = json!(self.status);
        if let Some(fields) = status.as_object_mut() {
            fields.retain(|_, value| !value.is_null() && *value != false && *value != "");
        }
        self.rollout["status"] = status;
        let mut writes = vec![(Key::of("rollouts", &self.rollout), Some(self.rollout))];
        for mut set in self.sets {
            set.object["spec"]["replicas"] = json!(set.asked);
            writes.push((Key::of("replicasets", &set.object), Some(set.object)));
        }
        writes
    }
}
