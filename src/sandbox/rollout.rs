//! A miniature of Argo Rollouts' controller: the basic canary (no traffic routing) with `setWeight` and `pause` steps.
//!
//! Pure: it reads the store and returns writes. It keeps the real controller's traps: a changed template forgets an abort
//! or a promotion that was not yet seen, a promoted rollout drops an abort in silence, and so does one with a full
//! promotion pending. Blue-green, traffic routing, analysis and `workloadRef` are reported as an invalid spec.

mod scale;
mod spec;
mod status;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::spec::Step;
use super::json::{count, owned, set, stamp, text};
use super::store::{Key, Store};

/// What a controller wants done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Put(Key, Value),
    Remove(Key),
    /// Nothing to write, but look again at this time.
    Wake(Timestamp),
}

/// Label that ties pods and `ReplicaSets` to one template.
const HASH: &str = "rollouts-pod-template-hash";
const REVISION: &str = "rollout.argoproj.io/revision";
const HISTORY: &str = "rollout.argoproj.io/revision-history";

/// One `ReplicaSet` of the rollout, with the numbers that decide.
struct Set {
    key: Key,
    object: Value,
    hash: String,
    asked: u64,
    live: u64,
    available: u64,
    wanted: u64,
}

/// One pass over one rollout.
struct Sync<'a> {
    rollout: Value,
    sets: Vec<Set>,
    steps: Vec<Step>,
    hash: String,
    replicas: u64,
    now: Timestamp,
    wake: Option<Timestamp>,
    store: &'a Store,
    key: &'a Key,
}

/// One pass of the controller over every rollout.
pub(super) fn reconcile(store: &Store, now: Timestamp) -> Vec<Write> {
    let rollouts = store.list("argoproj.io", "rollouts", None);
    let alive = rollouts.filter(|(_, one)| one["metadata"]["deletionTimestamp"].is_null());
    alive
        .flat_map(|(key, one)| sync(store, key, one, now))
        .collect()
}

fn sync(store: &Store, key: &Key, found: &Value, now: Timestamp) -> Vec<Write> {
    let mut rollout = found.clone();
    let steps = match spec::steps(&rollout["spec"]) {
        Ok(steps) => steps,
        Err(why) => {
            status::invalid(&mut rollout, &why, now);
            return vec![Write::Put(key.clone(), rollout)];
        }
    };
    if spec::complete(&mut rollout["spec"]["template"]) {
        return vec![Write::Put(key.clone(), rollout)];
    }
    let sets = store.list("apps", "replicasets", Some(&key.namespace));
    let sets = sets.filter(|(_, set)| owned(set, found));
    let mut sync = Sync {
        sets: sets
            .map(|(key, set)| Set::new(key.clone(), set.clone()))
            .collect(),
        hash: spec::template_hash(&rollout["spec"]["template"]),
        // No more than a sandbox has addresses for.
        replicas: rollout["spec"]["replicas"].as_u64().unwrap_or(1).min(150),
        wake: None,
        rollout,
        steps,
        now,
        store,
        key,
    };
    if sync.rollout["status"]["currentPodHash"] == sync.hash.as_str() {
        sync.requests();
        if sync.rollout["spec"]["paused"] != true {
            sync.advance();
            sync.want();
            sync.scale();
        }
    } else {
        sync.adopt();
    }
    sync.report();
    sync.writes()
}

/// A controller's reference to the owner of what it makes.
pub(super) fn owner(api_version: &str, kind: &str, owner: &Value) -> Value {
    let metadata = &owner["metadata"];
    json!({
        "apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

// === impl Set ===

impl Set {
    fn new(key: Key, object: Value) -> Self {
        let asked = count(&object["spec"]["replicas"]);
        Self {
            asked,
            live: count(&object["status"]["replicas"]),
            // The status may be from before the last scaling.
            available: count(&object["status"]["availableReplicas"]).min(asked),
            wanted: 0,
            hash: text(&object["metadata"]["labels"][HASH]).to_owned(),
            key,
            object,
        }
    }

    fn revision(&self) -> u64 {
        text(&self.object["metadata"]["annotations"][REVISION])
            .parse()
            .unwrap_or_default()
    }

    /// A template that comes back becomes the newest revision.
    fn renumber(&mut self, revision: u64) {
        let old = self.revision();
        if old != revision {
            let annotations = &mut self.object["metadata"]["annotations"];
            let history = format!("{},{old}", text(&annotations[HISTORY]));
            annotations[HISTORY] = json!(history.trim_start_matches(','));
            annotations[REVISION] = json!(revision.to_string());
        }
    }
}

// === impl Sync ===

impl Sync<'_> {
    fn status(&mut self) -> &mut Value {
        &mut self.rollout["status"]
    }

    fn is(&self, field: &str) -> bool {
        self.rollout["status"][field] == true
    }

    fn clear(&mut self, fields: &[&str]) {
        for field in fields {
            set(self.status(), field, None);
        }
    }

    fn unpause(&mut self) {
        self.clear(&["pauseConditions", "controllerPause"]);
    }

    fn stable(&self) -> String {
        text(&self.rollout["status"]["stableRS"]).to_owned()
    }

    fn current(&self) -> Option<&Set> {
        self.sets.iter().find(|set| set.hash == self.hash)
    }

    fn step(&self) -> usize {
        let index = count(&self.rollout["status"]["currentStepIndex"]);
        usize::try_from(index)
            .unwrap_or_default()
            .min(self.steps.len())
    }

    fn set_step(&mut self, index: usize) {
        let index = (!self.steps.is_empty()).then(|| json!(index));
        set(self.status(), "currentStepIndex", index);
    }

    /// A template that was not seen before: everything that was asked of the old one is forgotten.
    fn adopt(&mut self) {
        let newest = self
            .sets
            .iter()
            .map(Set::revision)
            .max()
            .unwrap_or_default();
        let known = self.sets.iter().position(|set| set.hash == self.hash);
        let revision = match known.map(|at| &mut self.sets[at]) {
            Some(set) if set.revision() == newest => newest,
            Some(set) => {
                set.renumber(newest + 1);
                newest + 1
            }
            None => {
                let set = self.new_set(newest + 1);
                self.sets.push(set);
                newest + 1
            }
        };
        self.rollout["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        self.unpause();
        self.clear(&["abort", "abortedAt", "promoteFull"]);
        let back = self.stable() == self.hash || self.stable().is_empty();
        self.set_step(if back { self.steps.len() } else { 0 });
        self.rollout["status"]["currentPodHash"] = json!(self.hash);
    }

    fn new_set(&self, revision: u64) -> Set {
        let spec = &self.rollout["spec"];
        let (mut template, mut selector) = (spec["template"].clone(), spec["selector"].clone());
        template["metadata"]["labels"][HASH] = json!(self.hash);
        selector["matchLabels"][HASH] = json!(self.hash);
        let mut annotations = self.rollout["metadata"]["annotations"].clone();
        annotations[REVISION] = json!(revision.to_string());
        let object = json!({
            "metadata": {
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [owner("argoproj.io/v1alpha1", "Rollout", &self.rollout)],
            },
            "spec": { "replicas": 0, "selector": selector, "template": template },
            "status": { "replicas": 0 },
        });
        let name = format!("{}-{}", self.key.name, self.hash);
        Set::new(
            Key::new("apps", "replicasets", &self.key.namespace, &name),
            object,
        )
    }

    /// Answers the requests that clients write into the status.
    fn requests(&mut self) {
        let settled = self.stable() == self.hash || self.stable().is_empty();
        if settled || self.is("promoteFull") {
            self.clear(&["abort"]);
            self.unpause();
            self.set_step(self.steps.len());
        }
        if settled {
            self.clear(&["promoteFull"]);
        }
        if !self.is("abort") {
            return self.clear(&["abortedAt"]);
        }
        if self.rollout["status"]["abortedAt"].is_null() {
            self.rollout["status"]["abortedAt"] = json!(stamp(self.now));
        }
        self.unpause();
        self.set_step(0);
    }

    /// Goes on to the next step when the present one is done, and to stable after the last.
    fn advance(&mut self) {
        let stable = self.stable();
        if self.is("abort") || stable == self.hash {
            return;
        }
        let available = self.current().map_or(0, |set| set.available);
        match self.steps.get(self.step()) {
            _ if stable.is_empty() => self.promote(),
            None if available >= self.replicas => self.promote(),
            None => {}
            Some(Step::Pause(duration)) => self.pause(*duration),
            Some(Step::Weight(_)) => {
                self.want();
                let serves = |set: &Set| set.hash == self.hash || set.hash == stable;
                let there = |set: &Set| set.available >= set.wanted || !serves(set);
                if self
                    .sets
                    .iter()
                    .all(|set| set.asked == set.wanted && there(set))
                {
                    self.set_step(self.step() + 1);
                    self.advance();
                }
            }
        }
    }

    fn promote(&mut self) {
        self.rollout["status"]["stableRS"] = json!(self.hash);
        self.clear(&["promoteFull"]);
    }

    /// Begins a pause, or ends it when its time is over or somebody took its condition away.
    fn pause(&mut self, duration: Option<SignedDuration>) {
        let since = text(&self.rollout["status"]["pauseConditions"][0]["startTime"]);
        let since: Option<Timestamp> = since.parse().ok();
        let begun = since.is_some();
        if !begun && !self.is("controllerPause") {
            let condition = json!({ "reason": "CanaryPauseStep", "startTime": stamp(self.now) });
            self.rollout["status"]["pauseConditions"] = json!([condition]);
            self.rollout["status"]["controllerPause"] = json!(true);
        }
        let end = duration.map(|duration| since.unwrap_or(self.now) + duration);
        let taken = !begun && self.rollout["status"]["pauseConditions"].is_null();
        if taken || end.is_some_and(|end| end <= self.now) {
            self.unpause();
            self.set_step(self.step() + 1);
            return self.advance();
        }
        self.wake = end;
    }

    fn writes(mut self) -> Vec<Write> {
        let limit = self.rollout["spec"]["revisionHistoryLimit"]
            .as_u64()
            .unwrap_or(10);
        let stable = self.stable();
        let mut writes: Vec<Write> = self.wake.map(Write::Wake).into_iter().collect();
        self.sets.sort_by_key(|set| Reverse(set.revision()));
        let mut old = 0;
        for mut set in self.sets {
            old += u64::from(set.hash != self.hash && set.hash != stable);
            let empty = set.asked + set.live + set.wanted == 0;
            if old > limit && empty && set.hash != self.hash && set.hash != stable {
                writes.push(Write::Remove(set.key));
                continue;
            }
            set.object["spec"]["replicas"] = json!(set.asked);
            if self.store.get(&set.key) != Some(&set.object) {
                writes.push(Write::Put(set.key, set.object));
            }
        }
        writes.push(Write::Put(self.key.clone(), self.rollout));
        writes
    }
}
