//! Waits for what comes to be in the cluster, and counts the calls that it took.

use std::time::Duration;

use ripcord::rollback::{Memory, Rollback};
use ripcord::sandbox::Request;
use serde_json::Value;

use super::Scene;
use crate::support::stage::{LIMIT, NAME, NAMESPACE};

impl Scene {
    /// Waits until the cluster has a rollback like this.
    pub(crate) async fn until(&self, what: impl Fn(&Rollback) -> bool) -> Rollback {
        let found = |view: &ripcord::sandbox::Store| {
            let mut all = view.objects("rollbacks");
            all.any(|object| serde_json::from_value(object.clone()).is_ok_and(|r| what(&r)))
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        assert!(there, "it never came: {:#?}", self.rollbacks());
        self.rollbacks().into_iter().find(|r| what(r)).unwrap()
    }

    /// Waits until this rollback has ended and the engine has let it go.
    pub(crate) async fn ended(&self, name: &str) -> Rollback {
        self.until(|rollback| {
            let mut held = rollback.metadata.finalizers.iter().flatten();
            rollback.name() == name && rollback.phase().ended() && held.next().is_none()
        })
        .await
    }

    /// Waits until the calls of the API are like this.
    pub(crate) async fn until_called(&self, what: impl Fn() -> bool) {
        let called = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, called)
            .await
            .expect("the calls that were waited for");
    }

    /// Waits until the only rollback has ended and is let go.
    pub(crate) async fn done(&self) -> Rollback {
        let name = self.only().name().to_owned();
        self.ended(&name).await
    }

    /// The target's memory.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let object = self.sandbox.object("targets", NAMESPACE, NAME)?;
        Some(serde_json::from_value(object).unwrap())
    }

    /// Waits until the target's memory is like this.
    pub(crate) async fn until_memory(&self, what: impl Fn(&Memory) -> bool) -> Memory {
        let found = |view: &ripcord::sandbox::Store| {
            let object = view.object("targets", NAMESPACE, NAME).cloned();
            object.is_some_and(|o| serde_json::from_value(o).is_ok_and(|memory| what(&memory)))
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        assert!(there, "it never came: {:#?}", self.memory());
        self.memory().unwrap()
    }

    /// Waits until the workload is like this.
    pub(crate) async fn until_workload(&self, what: impl Fn(&Value) -> bool) {
        let found = |view: &ripcord::sandbox::Store| {
            view.object("rollouts", NAMESPACE, NAME).is_some_and(&what)
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        let workload = self.sandbox.object("rollouts", NAMESPACE, NAME);
        assert!(there, "it never came: {workload:#?}");
    }

    /// How many calls the API server has answered.
    pub(crate) fn mark(&self) -> usize {
        self.sandbox.requests().len()
    }

    /// What intake called since then, each as method and status. It reads only after a write that failed; other reads
    /// of rollbacks are the engine's.
    pub(crate) fn intake_calls(&self, mark: usize) -> Vec<String> {
        let mut failed = false;
        let since = self.sandbox.requests().into_iter().skip(mark);
        let calls = since.filter(is_intake).filter(|call| {
            let counts = call.method != "GET" || failed;
            failed |= call.method != "GET" && call.status >= 400;
            counts
        });
        calls
            .map(|call| format!("{} {}", call.method, call.status))
            .collect()
    }
}

/// Whether this is what intake calls when it claims and keeps alerts.
fn is_intake(call: &Request) -> bool {
    let one = call.path.contains("/rollbacks/");
    call.user_agent != "person"
        && match call.method.as_str() {
            "POST" => call.path.ends_with("/rollbacks"),
            "GET" => one,
            "PATCH" => one && changes(call, "/status/alerts"),
            _ => false,
        }
}

/// Whether a call patches this path.
fn changes(call: &Request, path: &str) -> bool {
    let mut operations = call.body.as_array().into_iter().flatten();
    operations.any(|operation| operation["path"] == path && operation["op"] != "test")
}
