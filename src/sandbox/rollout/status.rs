//! What the controller reports in a Rollout's status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::json::{count, items, set, stamp, text};
use super::spec::share;
use super::{REVISION, Set, Sync};

// === impl Sync ===

impl Sync<'_> {
    /// Counts, phase and conditions.
    pub(super) fn report(&mut self) {
        let sum = |count: fn(&Set) -> u64| self.sets.iter().map(count).sum::<u64>();
        let (live, available) = (sum(|set| set.live), sum(|set| set.available));
        let updated = self.current().map_or(0, |set| set.live);
        let settled = self.stable() == self.hash;
        let (phase, reason, message) = self.phase(live);
        let spec = &self.rollout["spec"];
        let missing = &spec["strategy"]["canary"]["maxUnavailable"];
        let enough = available + share(missing, self.replicas, false) >= self.replicas;
        let labels = spec["selector"]["matchLabels"].as_object();
        let pair = |(name, value): (&String, &Value)| format!("{name}={}", text(value));
        let selector: Vec<String> = labels.into_iter().flatten().map(pair).collect();
        let now = self.now;
        observe(&mut self.rollout, phase, &message);
        let status = self.status();
        status["selector"] = json!(selector.join(","));
        status["replicas"] = json!(live);
        status["HPAReplicas"] = json!(live);
        status["readyReplicas"] = json!(available);
        status["availableReplicas"] = json!(available);
        status["updatedReplicas"] = json!(updated);
        status["blueGreen"] = json!({});
        status["canary"] = json!({});
        let conditions = [
            ("Available", enough, "AvailableReason", ""),
            ("Progressing", phase != "Degraded", reason, message.as_str()),
            (
                "Paused",
                phase == "Paused",
                "RolloutPaused",
                "Rollout is paused",
            ),
            (
                "Healthy",
                phase == "Healthy",
                "RolloutHealthy",
                "Rollout is healthy",
            ),
            (
                "Completed",
                settled,
                "RolloutCompleted",
                "Rollout completed update",
            ),
        ];
        set_conditions(status, &conditions, now);
    }

    /// Phase, reason of the condition `Progressing`, and message.
    fn phase(&self, live: u64) -> (&'static str, &'static str, String) {
        let (updated, available) = self
            .current()
            .map_or((0, 0), |set| (set.live, set.available));
        let revision = text(&self.rollout["metadata"]["annotations"][REVISION]);
        let (phase, reason, message) = if self.is("abort") {
            let message = format!("RolloutAborted: Rollout aborted update to revision {revision}");
            return ("Degraded", "RolloutAborted", message);
        } else if self.rollout["spec"]["paused"] == true {
            ("Paused", "RolloutPaused", "manually paused")
        } else if self.rollout["status"]["pauseConditions"].is_array() {
            ("Paused", "RolloutPaused", "CanaryPauseStep")
        } else if self.stable() != self.hash || updated < self.replicas {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "more replicas need to be updated",
            )
        } else if available < self.replicas {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "updated replicas are still becoming available",
            )
        } else if live > updated {
            (
                "Progressing",
                "ReplicaSetUpdated",
                "old replicas are pending termination",
            )
        } else {
            ("Healthy", "NewReplicaSetAvailable", "")
        };
        (phase, reason, message.to_owned())
    }
}

/// Reports a spec that this controller does not act on.
pub(super) fn invalid(rollout: &mut Value, why: &str, now: Timestamp) {
    observe(rollout, "Degraded", &format!("InvalidSpec: {why}"));
    let conditions = [("InvalidSpec", true, "InvalidSpec", why)];
    set_conditions(&mut rollout["status"], &conditions, now);
}

fn observe(rollout: &mut Value, phase: &str, message: &str) {
    // A string, unlike in every other kind.
    let generation = count(&rollout["metadata"]["generation"]).to_string();
    let status = &mut rollout["status"];
    status["observedGeneration"] = json!(generation);
    status["phase"] = json!(phase);
    set(
        status,
        "message",
        (!message.is_empty()).then(|| json!(message)),
    );
}

/// Replaces the conditions; a transition time moves only when its status does.
fn set_conditions(status: &mut Value, list: &[(&str, bool, &str, &str)], now: Timestamp) {
    let old = items(&status["conditions"]);
    let one = |(kind, holds, reason, message): &(&str, bool, &str, &str)| {
        let holds = if *holds { "True" } else { "False" };
        let mut same = old
            .iter()
            .filter(|old| old["type"] == *kind && old["status"] == holds);
        let since = same
            .next()
            .map_or(json!(stamp(now)), |old| old["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": holds, "reason": reason, "message": message,
            "lastTransitionTime": since, "lastUpdateTime": since,
        })
    };
    let list: Value = list.iter().map(one).collect();
    status["conditions"] = list;
}
