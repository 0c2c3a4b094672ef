//! A miniature of Argo Rollouts' controller: the basic canary (no traffic routing) with `setWeight` and `pause` steps.
//!
//! Pure: it reads the store and returns writes. It keeps the real controller's traps: a changed template forgets an abort
//! or a promotion that was not yet seen, a promoted rollout drops an abort in silence, and so does one with a full
//! promotion pending. Blue-green, traffic routing, analysis and `workloadRef` are reported as an invalid spec.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::store::{Key, Store, set, stamp};

/// What a controller wants done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    Put(Key, Value),
    Remove(Key),
    /// Nothing to write, but look again at this time.
    Wake(Timestamp),
}

/// Label that ties pods and ReplicaSets to one template.
pub(super) const HASH: &str = "rollouts-pod-template-hash";
const REVISION: &str = "rollout.argoproj.io/revision";
const HISTORY: &str = "rollout.argoproj.io/revision-history";

enum Step {
    Weight(u64),
    /// `None`: until somebody promotes.
    Pause(Option<SignedDuration>),
}

/// One ReplicaSet of the rollout, with the numbers that decide.
struct Set {
    key: Key,
    object: Value,
    hash: String,
    asked: u64,
    live: u64,
    available: u64,
    wanted: u64,
}

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
    let alive = rollouts.filter(|(_, rollout)| rollout["metadata"]["deletionTimestamp"].is_null());
    alive
        .flat_map(|(key, rollout)| one(store, key, rollout, now))
        .collect()
}

fn one(store: &Store, key: &Key, found: &Value, now: Timestamp) -> Vec<Write> {
    let mut rollout = found.clone();
    let steps = match steps(&rollout["spec"]) {
        Ok(steps) => steps,
        Err(why) => {
            invalid(&mut rollout, &why, now);
            return vec![Write::Put(key.clone(), rollout)];
        }
    };
    if complete_template(&mut rollout) {
        return vec![Write::Put(key.clone(), rollout)];
    }
    let uid = &found["metadata"]["uid"];
    let sets = store.list("apps", "replicasets", Some(&key.namespace));
    let sets = sets.filter(|(_, set)| set["metadata"]["ownerReferences"][0]["uid"] == *uid);
    let mut sync = Sync {
        sets: sets
            .map(|(key, object)| Set::new(key.clone(), object.clone()))
            .collect(),
        hash: template_hash(&rollout["spec"]["template"]),
        replicas: rollout["spec"]["replicas"].as_u64().unwrap_or(1),
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

// === impl Set ===

impl Set {
    fn new(key: Key, object: Value) -> Self {
        let asked = object["spec"]["replicas"].as_u64().unwrap_or_default();
        let count = |field: &str| object["status"][field].as_u64().unwrap_or_default();
        let [live, available] = [count("replicas"), count("availableReplicas").min(asked)];
        let hash = object["metadata"]["labels"][HASH]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Self {
            key,
            object,
            hash,
            asked,
            live,
            available,
            wanted: 0,
        }
    }

    fn revision(&self) -> u64 {
        number(&self.object["metadata"]["annotations"][REVISION])
    }
}

// === impl Sync ===

impl Sync<'_> {
    fn status(&mut self) -> &mut Value {
        &mut self.rollout["status"]
    }

    fn stable(&self) -> String {
        self.rollout["status"]["stableRS"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn step(&self) -> usize {
        let index = self.rollout["status"]["currentStepIndex"].as_u64();
        index
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or_default()
            .min(self.steps.len())
    }

    fn set_step(&mut self, index: usize) {
        let index = (!self.steps.is_empty()).then(|| json!(index));
        set(self.status(), "currentStepIndex", index);
    }

    fn unpause(&mut self) {
        set(self.status(), "pauseConditions", None);
        set(self.status(), "controllerPause", None);
    }

    fn is(&self, field: &str) -> bool {
        self.rollout["status"][field] == true
    }

    fn current(&self) -> Option<&Set> {
        self.sets.iter().find(|set| set.hash == self.hash)
    }

    /// A template that was not seen before: everything that was asked of the old one is forgotten.
    fn adopt(&mut self) {
        let revision = self
            .sets
            .iter()
            .map(Set::revision)
            .max()
            .unwrap_or_default();
        let revision = match self.sets.iter_mut().find(|set| set.hash == self.hash) {
            Some(set) if set.revision() == revision => revision,
            Some(set) => {
                let old = set.revision().to_string();
                let annotations = &mut set.object["metadata"]["annotations"];
                let history = annotations[HISTORY]
                    .as_str()
                    .map(|history| format!("{history},{old}"))
                    .unwrap_or(old);
                annotations[HISTORY] = json!(history);
                annotations[REVISION] = json!((revision + 1).to_string());
                revision + 1
            }
            None => {
                let set = self.new_set(revision + 1);
                self.sets.push(set);
                revision + 1
            }
        };
        self.rollout["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        self.unpause();
        let back = self.stable() == self.hash;
        self.set_step(if back || self.stable().is_empty() {
            self.steps.len()
        } else {
            0
        });
        for field in ["abort", "abortedAt", "promoteFull"] {
            set(self.status(), field, None);
        }
        let hash = json!(self.hash);
        self.status()["currentPodHash"] = hash;
    }

    fn new_set(&self, revision: u64) -> Set {
        let mut template = self.rollout["spec"]["template"].clone();
        template["metadata"]["labels"][HASH] = json!(self.hash);
        let mut selector = self.rollout["spec"]["selector"].clone();
        selector["matchLabels"][HASH] = json!(self.hash);
        let mut annotations = self.rollout["metadata"]["annotations"].clone();
        annotations[REVISION] = json!(revision.to_string());
        set(
            &mut annotations,
            "kubectl.kubernetes.io/last-applied-configuration",
            None,
        );
        let name = format!("{}-{}", self.key.name, self.hash);
        let object = json!({
            "metadata": {
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [owner("argoproj.io/v1alpha1", "Rollout", &self.rollout)],
            },
            "spec": { "replicas": 0, "selector": selector, "template": template },
            "status": { "replicas": 0 },
        });
        Set::new(
            Key::new("apps", "replicasets", &self.key.namespace, &name),
            object,
        )
    }

    /// Answers the requests that clients write into the status.
    fn requests(&mut self) {
        let settled = self.stable() == self.hash || self.stable().is_empty();
        if self.is("abort") && (settled || self.is("promoteFull")) {
            set(self.status(), "abort", None);
        }
        if settled {
            set(self.status(), "promoteFull", None);
        }
        if self.is("abort") {
            if self.rollout["status"]["abortedAt"].is_null() {
                let at = stamp(self.now);
                self.status()["abortedAt"] = json!(at);
            }
            self.unpause();
            self.set_step(0);
        } else {
            set(self.status(), "abortedAt", None);
        }
        if settled || self.is("promoteFull") {
            self.unpause();
            self.set_step(self.steps.len());
        }
    }

    /// Goes on to the next step when the present one is done, and to stable after the last.
    fn advance(&mut self) {
        if self.is("abort") || self.stable() == self.hash {
            return;
        }
        let Some(available) = self.current().map(|set| set.available) else {
            return;
        };
        if self.stable().is_empty()
            || (self.step() == self.steps.len() && available == self.replicas)
        {
            let hash = json!(self.hash);
            self.status()["stableRS"] = hash;
            set(self.status(), "promoteFull", None);
            return;
        }
        match self.steps.get(self.step()) {
            Some(Step::Weight(_)) => {
                self.want();
                let stable = self.stable();
                let needed = |set: &Set| {
                    set.hash != stable && set.hash != self.hash || set.available >= set.wanted
                };
                if self
                    .sets
                    .iter()
                    .all(|set| set.asked == set.wanted && needed(set))
                {
                    self.set_step(self.step() + 1);
                    self.advance();
                }
            }
            Some(Step::Pause(duration)) => self.pause(*duration),
            None => {}
        }
    }

    fn pause(&mut self, duration: Option<SignedDuration>) {
        let since = self.rollout["status"]["pauseConditions"][0]["startTime"]
            .as_str()
            .map(str::to_owned);
        let until = since
            .as_ref()
            .and_then(|since| Some(since.parse::<Timestamp>().ok()? + duration?));
        match (since, until) {
            (None, _) if self.is("controllerPause") => {
                self.unpause();
                self.set_step(self.step() + 1);
            }
            (None, _) => {
                let at = stamp(self.now);
                self.status()["pauseConditions"] =
                    json!([{ "reason": "CanaryPauseStep", "startTime": at }]);
                self.status()["controllerPause"] = json!(true);
                self.wake = duration.map(|duration| self.now + duration);
            }
            (Some(_), Some(until)) if until <= self.now => {
                self.unpause();
                self.set_step(self.step() + 1);
            }
            (Some(_), until) => self.wake = until,
        }
        // The next pass goes on with the next step.
    }

    /// How many pods each ReplicaSet should have in the end.
    fn want(&mut self) {
        let (stable, replicas) = (self.stable(), self.replicas);
        let weight = match self.step() {
            _ if self.is("abort") => 0,
            step if step == self.steps.len() => 100,
            step => {
                let weight = |step: &Step| {
                    if let Step::Weight(weight) = step {
                        Some(*weight)
                    } else {
                        None
                    }
                };
                self.steps[..=step]
                    .iter()
                    .rev()
                    .find_map(weight)
                    .unwrap_or_default()
            }
        };
        let canary = match weight {
            0 => 0,
            100.. => replicas,
            weight => ((replicas * weight + 50) / 100).max(1).min(replicas),
        };
        let rest = if weight >= 100 {
            0
        } else {
            (replicas - canary.min(replicas)).max(1).min(replicas)
        };
        for set in &mut self.sets {
            set.wanted = match &set.hash {
                hash if *hash == self.hash && (stable == self.hash || stable.is_empty()) => {
                    replicas
                }
                hash if *hash == self.hash => canary,
                hash if *hash == stable => rest,
                _ => 0,
            };
        }
    }

    /// One move towards that, within surge and availability.
    fn scale(&mut self) {
        let canary = &self.rollout["spec"]["strategy"]["canary"];
        let surge = share(&canary["maxSurge"], self.replicas, true);
        let mut missing = share(&canary["maxUnavailable"], self.replicas, false);
        if surge + missing == 0 {
            missing = 1;
        }
        let stable = self.stable();
        let rank = |set: &Set| u8::from(set.hash == self.hash) + 2 * u8::from(set.hash == stable);
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

    fn report(&mut self) {
        let sum = |count: fn(&Set) -> u64| self.sets.iter().map(count).sum::<u64>();
        let (live, available) = (sum(|set| set.live), sum(|set| set.available));
        let updated = self.current().map_or(0, |set| set.live);
        let fresh = self.current().map_or(0, |set| set.available);
        let revision = number(&self.rollout["metadata"]["annotations"][REVISION]);
        let settled = self.stable() == self.hash;
        let (phase, reason, message) = if self.is("abort") {
            (
                "Degraded",
                "RolloutAborted",
                format!("RolloutAborted: Rollout aborted update to revision {revision}"),
            )
        } else if self.rollout["spec"]["paused"] == true {
            ("Paused", "RolloutPaused", "manually paused".to_owned())
        } else if self.rollout["status"]["pauseConditions"].is_array() {
            ("Paused", "RolloutPaused", "CanaryPauseStep".to_owned())
        } else if updated < self.replicas || !settled {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "more replicas need to be updated".to_owned(),
            )
        } else if fresh < self.replicas {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "updated replicas are still becoming available".to_owned(),
            )
        } else if live > updated {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "old replicas are pending termination".to_owned(),
            )
        } else {
            ("Healthy", "NewReplicaSetAvailable", String::new())
        };
        let (replicas, now) = (self.replicas, self.now);
        let selector = self.rollout["spec"]["selector"]["matchLabels"]
            .as_object()
            .into_iter()
            .flatten();
        let selector: Vec<String> = selector
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let generation = self.rollout["metadata"]["generation"]
            .as_u64()
            .unwrap_or_default()
            .to_string();
        let status = self.status();
        for (field, count) in [
            ("replicas", live),
            ("HPAReplicas", live),
            ("readyReplicas", available),
            ("availableReplicas", available),
            ("updatedReplicas", updated),
        ] {
            status[field] = json!(count);
        }
        status["selector"] = json!(selector.join(","));
        status["observedGeneration"] = json!(generation);
        status["phase"] = json!(phase);
        set(
            status,
            "message",
            (!message.is_empty()).then(|| json!(message)),
        );
        set(status, "blueGreen", Some(json!({})));
        set(status, "canary", Some(json!({})));
        let missing = share(&Value::Null, replicas, false);
        let enough = available >= replicas - missing;
        condition(status, "Available", enough, "AvailableReason", "", now);
        condition(
            status,
            "Progressing",
            phase != "Degraded",
            reason,
            &message,
            now,
        );
        condition(
            status,
            "Paused",
            phase == "Paused",
            "RolloutPaused",
            "Rollout is paused",
            now,
        );
        condition(
            status,
            "Healthy",
            phase == "Healthy",
            "RolloutHealthy",
            "Rollout is healthy",
            now,
        );
        condition(
            status,
            "Completed",
            settled,
            "RolloutCompleted",
            "Rollout completed update",
            now,
        );
    }

    fn writes(mut self) -> Vec<Write> {
        let limit = self.rollout["spec"]["revisionHistoryLimit"]
            .as_u64()
            .unwrap_or(10);
        let stable = self.stable();
        let mut writes: Vec<Write> = self.wake.map(Write::Wake).into_iter().collect();
        self.sets
            .sort_by_key(|set| std::cmp::Reverse(set.revision()));
        let mut old = 0;
        for mut set in self.sets {
            if set.hash != self.hash && set.hash != stable {
                old += 1;
                if old > limit && set.asked == 0 && set.live == 0 {
                    writes.push(Write::Remove(set.key));
                    continue;
                }
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

/// A controller's reference to the owner of what it makes.
pub(super) fn owner(api_version: &str, kind: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The name that the controller gives a template: ten letters or less, the same for the same template.
pub(super) fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    short(&template)
}

/// A short name made of a value's content, in Kubernetes' alphabet without vowels.
pub(super) fn short(value: &Value) -> String {
    let digits = digest(value, 0x811c_9dc5).to_string();
    digits
        .bytes()
        .map(|digit| char::from(b"4567896bcdf"[usize::from(digit - b'0')]))
        .collect()
}

/// FNV-1a over the content; the order of an object's fields does not matter.
fn digest(value: &Value, seed: u32) -> u32 {
    let fold = |seed: u32, bytes: &[u8]| {
        bytes.iter().fold(seed, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            fields
                .into_iter()
                .fold(fold(seed, b"{"), |hash, (name, value)| {
                    digest(value, fold(hash, name.as_bytes()))
                })
        }
        Value::Array(items) => items
            .iter()
            .fold(fold(seed, b"["), |hash, item| digest(item, hash)),
        scalar => fold(seed, scalar.to_string().as_bytes()),
    }
}

/// The real controller writes the API's defaults into the template; here it is `resources`.
fn complete_template(rollout: &mut Value) -> bool {
    let containers = rollout["spec"]["template"]["spec"]["containers"].as_array_mut();
    let bare = containers
        .into_iter()
        .flatten()
        .filter(|container| container["resources"].is_null());
    bare.map(|container| container["resources"] = json!({}))
        .count()
        > 0
}

fn steps(spec: &Value) -> Result<Vec<Step>, String> {
    if !spec["workloadRef"].is_null() || !spec["strategy"]["blueGreen"].is_null() {
        return Err("the sandbox knows neither workloadRef nor blue-green".to_owned());
    }
    let canary = spec["strategy"]["canary"]
        .as_object()
        .ok_or("spec.strategy.canary is missing")?;
    if let Some(field) = ["trafficRouting", "analysis"]
        .iter()
        .find(|field| canary.contains_key(**field))
    {
        return Err(format!(
            "the sandbox does not know spec.strategy.canary.{field}"
        ));
    }
    let containers = spec["template"]["spec"]["containers"].as_array();
    if containers
        .is_none_or(|containers| containers.is_empty() || !containers.iter().all(Value::is_object))
    {
        return Err("spec.template.spec.containers is missing".to_owned());
    }
    let labels = spec["selector"]["matchLabels"]
        .as_object()
        .ok_or("spec.selector.matchLabels is missing")?;
    let given = spec["template"]["metadata"]["labels"]
        .as_object()
        .ok_or("spec.template.metadata.labels is missing")?;
    if labels.is_empty()
        || labels
            .iter()
            .any(|(name, value)| given.get(name) != Some(value))
    {
        return Err("spec.selector does not match spec.template.metadata.labels".to_owned());
    }
    let steps = canary
        .get("steps")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    steps.map(step).collect()
}

fn step(step: &Value) -> Result<Step, String> {
    if let Some(weight) = step["setWeight"].as_u64().filter(|weight| *weight <= 100) {
        return Ok(Step::Weight(weight));
    }
    match step.get("pause") {
        Some(Value::Null) => Ok(Step::Pause(None)),
        Some(pause) if pause["duration"].is_null() => Ok(Step::Pause(None)),
        Some(pause) => seconds(&pause["duration"])
            .map(|seconds| Step::Pause(Some(SignedDuration::from_secs(seconds))))
            .ok_or_else(|| format!("the duration of the step {step} is not understood")),
        None => Err(format!("the sandbox does not know the step {step}")),
    }
}

fn seconds(duration: &Value) -> Option<i64> {
    let Some(text) = duration.as_str() else {
        return duration.as_i64();
    };
    let unit = match text.chars().last()? {
        'm' => 60,
        'h' => 3600,
        _ => 1,
    };
    text.trim_end_matches(['s', 'm', 'h'])
        .parse::<i64>()
        .ok()
        .map(|count| count * unit)
}

/// A count or a percentage of the replicas, 25 % when not given.
fn share(value: &Value, replicas: u64, up: bool) -> u64 {
    if let Some(count) = value.as_u64() {
        return count;
    }
    let percent = value
        .as_str()
        .and_then(|text| text.trim_end_matches('%').parse().ok())
        .unwrap_or(25);
    (replicas * percent + if up { 99 } else { 0 }) / 100
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn invalid(rollout: &mut Value, why: &str, now: Timestamp) {
    let generation = rollout["metadata"]["generation"]
        .as_u64()
        .unwrap_or_default()
        .to_string();
    let status = &mut rollout["status"];
    status["phase"] = json!("Degraded");
    status["message"] = json!(format!("InvalidSpec: {why}"));
    status["observedGeneration"] = json!(generation);
    condition(status, "InvalidSpec", true, "InvalidSpec", why, now);
}

/// Sets a condition; its transition time moves only when its status does.
fn condition(
    status: &mut Value,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let mut list = status["conditions"].as_array().cloned().unwrap_or_default();
    let holds = if holds { "True" } else { "False" };
    let old = list
        .iter()
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default();
    let since = if old["status"] == holds {
        old["lastTransitionTime"].clone()
    } else {
        json!(stamp(now))
    };
    let new = json!({
        "type": kind, "status": holds, "reason": reason, "message": message,
        "lastTransitionTime": since, "lastUpdateTime": since,
    });
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) => *condition = new,
        None => list.push(new),
    }
    status["conditions"] = json!(list);
}
