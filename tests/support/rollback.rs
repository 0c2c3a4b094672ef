//! Rollbacks at every stage, as they stand in the API server: plain JSON, so that unit tests can use it too.

use serde_json::{Value, json};

/// A claimed rollback of `target` for one alert, in namespace `options-production`.
pub(crate) fn claimed(target: &str) -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1",
        "kind": "Rollback",
        "metadata": {"name": format!("{target}-r7-7dc687bd8d"), "namespace": "options-production", "uid": format!("uid-{target}"), "resourceVersion": "1"},
        "spec": {
            "target": target,
            "release": release(7, "7dc687bd8d", "v1.0.0"),
            "procedure": "emergency-canary",
            "trigger": "latency",
            "severity": "P0",
            "mode": "act",
            "received": "2026-11-22T03:12:41.100Z",
            "alerts": [alert("a1", "PinnLatencyP95High", "P0")],
        },
    })
}

/// An alert on record.
pub(crate) fn alert(fingerprint: &str, name: &str, severity: &str) -> Value {
    json!({
        "fingerprint": fingerprint, "name": name, "severity": severity, "trigger": "latency", "procedure": "emergency-canary",
        "began": "2026-11-22T03:12:05Z", "received": "2026-11-22T03:12:41.100Z",
        "summary": "P95 412 ms > 260 ms", "runbook": "https://runbooks.example/pinn?a=1&b=2", "source": "https://prometheus.example/graph?g0.expr=a%3E1",
    })
}

/// Admitted, with its first step under way.
pub(crate) fn running(target: &str) -> Value {
    let mut rollback = claimed(target);
    let (from, to) = (
        release(7, "7dc687bd8d", "v1.0.0"),
        release(6, "676b9bd6fc", "v0.9.0"),
    );
    rollback["status"] = json!({
        "phase": "Running",
        "plan": {
            "made": "2026-11-22T03:12:41.200Z", "procedure": "emergency-canary", "severity": "P0", "budgetSeconds": 30.0,
            "from": from, "to": to, "chosen": "it was stable for 2 d 3 h",
            "workload": "options-api-pinn-fixes", "giveUpSeconds": 900.0, "served": true,
            "steps": [
                {"revert": {"operation": "op", "from": from, "to": to, "replicaSet": "rs", "served": true}},
                {"healthy": {
                    "to": to, "consecutive": 3, "every": "1s", "within": "2m",
                    "health": {"path": "/health/pinn", "port": 8000, "pointer": "/overall_status", "equals": "healthy", "timeout": "2s"},
                }},
            ],
        },
        "run": {
            "epoch": 1, "seq": 2, "started": "2026-11-22T03:12:41.300Z", "firstMutation": "2026-11-22T03:12:41.400Z",
            "steps": [
                {
                    "step": "revert", "phase": "Running", "attempts": 1, "started": "2026-11-22T03:12:41.300Z",
                    "intent": {"effect": "restore_template", "generation": 4, "at": "2026-11-22T03:12:41.350Z"},
                    "observed": {"reason": "promoting", "said": "r6 676b9bd6fc is being promoted"},
                },
                {"step": "healthy", "phase": "Pending"},
            ],
        },
    });
    rollback
}

/// All traffic back, and the second step under way.
pub(crate) fn reverted(target: &str) -> Value {
    let mut rollback = running(target);
    let run = &mut rollback["status"]["run"];
    run["trafficBack"] = "2026-11-22T03:12:42.000Z".into();
    run["steps"][0]["phase"] = "Done".into();
    run["steps"][0]["finished"] = "2026-11-22T03:12:42.100Z".into();
    run["steps"][0]["observed"] = json!({"reason": "restored", "said": "all traffic is on r8 676b9bd6fc, the workload is Healthy"});
    run["steps"][1] = json!({
        "step": "healthy", "phase": "Running", "attempts": 0, "started": "2026-11-22T03:12:42.100Z",
        "observed": {"reason": "sampling", "said": "3 of 12 samples"},
    });
    rollback
}

/// Done and proved.
pub(crate) fn succeeded(target: &str) -> Value {
    let mut rollback = reverted(target);
    let status = &mut rollback["status"];
    status["phase"] = "Succeeded".into();
    status["reason"] = json!({"reason": "done"});
    status["run"]["healthy"] = "2026-11-22T03:12:43.000Z".into();
    status["run"]["finished"] = "2026-11-22T03:12:43.000Z".into();
    let step = &mut status["run"]["steps"][1];
    step["phase"] = "Done".into();
    step["finished"] = "2026-11-22T03:12:43.000Z".into();
    step["observed"] = json!({"reason": "healthy", "said": "4 pods answered 3 times in a row, last overall_status=\"healthy\""});
    rollback
}

/// Back on the old release, and not proved.
pub(crate) fn failed(target: &str) -> Value {
    let mut rollback = reverted(target);
    let status = &mut rollback["status"];
    let finding = json!({"reason": "step_timeout", "said": "2 of 4 destination pods answer overall_status=\"degraded\""});
    status["phase"] = "Failed".into();
    status["reason"] = finding.clone();
    status["run"]["finished"] = "2026-11-22T03:14:42.100Z".into();
    status["run"]["state"] = "all traffic is on r8, r7 has 0 pods".into();
    let step = &mut status["run"]["steps"][1];
    step["phase"] = "Failed".into();
    step["finished"] = "2026-11-22T03:14:42.100Z".into();
    step["observed"] = finding;
    rollback
}

/// Refused before anything was touched.
pub(crate) fn declined(target: &str, reason: &str, said: &str) -> Value {
    let mut rollback = claimed(target);
    rollback["status"] = json!({
        "phase": "Declined",
        "reason": {"reason": reason, "said": said},
        "run": {"finished": "2026-11-22T03:12:41.200Z"},
    });
    rollback
}

fn release(revision: i64, hash: &str, tag: &str) -> Value {
    json!({"uid": "w", "revision": revision, "hash": hash, "images": [format!("registry:5000/options:{tag}")]})
}
