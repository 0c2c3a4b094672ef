//! What is seen of a story, and what must be true at its end: as the API, the ready endpoints and the users see it. Every
//! ground is judged by the same words.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::deeds::Deeds;
use super::ground::{Change, Ground, LIMIT, NAME, now};
use crate::support::wait::until;

/// The judgement, on every ground.
pub(crate) trait Judge: Ground {
    /// The hash that the controller last looked at.
    async fn live(&self) -> String {
        let hash = self.rollout().await["status"]["currentPodHash"].clone();
        hash.as_str().unwrap_or_default().to_owned()
    }

    /// The image that the spec asks for.
    async fn wanted_image(&self) -> String {
        let template = self.rollout().await["spec"]["template"].clone();
        let image = template["spec"]["containers"][0]["image"].as_str();
        image.unwrap_or_default().to_owned()
    }

    /// Waits until this holds of the status of a workload whose controller has looked at its latest change. The controller can
    /// miss a person's change for good: a person would touch the workload then.
    async fn status_is(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let holds = async || {
            let rollout = self.get(&self.rollout_path()).await?;
            let observed = rollout["status"]["observedGeneration"].as_str()?;
            let observed: i64 = observed.parse().ok()?;
            let current = rollout["metadata"]["generation"] == observed;
            (current && is(&rollout["status"])).then_some(())
        };
        for again in 0..6 {
            if until(holds, LIMIT / 6).await.is_some() {
                return;
            }
            self.looks_again(&format!("{what} {again}")).await;
        }
        panic!("{what}: {:#}", self.rollout().await);
    }

    /// Waits until the workload is in this phase.
    async fn rollout_is(&self, phase: &str) {
        let is = |status: &Value| {
            // The controller notes a pause in a write of its own.
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            let noted = phase != "Paused"
                || conditions.any(|it| it["type"] == "Paused" && it["status"] == "True");
            noted && status["phase"] == phase
        };
        self.status_is(phase, is).await;
    }

    /// Waits until the controller has seen that a person paused the workload by its spec.
    async fn is_paused_by_its_spec(&self) {
        self.status_is("its pause is seen", |_| true).await;
        assert_eq!(self.rollout().await["spec"]["paused"], true);
    }

    /// Waits until what is live is the stable release, and Healthy.
    async fn is_promoted(&self) {
        let promoted = async || {
            let status = self.rollout().await["status"].clone();
            let same = status["currentPodHash"] == status["stableRS"];
            (same && status["phase"] == "Healthy").then_some(())
        };
        // The controller can miss a person's request; a person would ask again, and make it look.
        for again in 0..6 {
            if until(promoted, LIMIT / 6).await.is_some() {
                return;
            }
            self.looks_again(&again.to_string()).await;
            self.argo(&["promote", NAME, "--full"]).await;
        }
        panic!("it is promoted: {:#}", self.rollout().await);
    }

    /// Waits until the good release is live and its promotion is asked for, while the bad one still is the stable one.
    async fn is_being_promoted(&self, bad: &str) {
        let asked = async || {
            let status = self.rollout().await["status"].clone();
            let between = status["currentPodHash"] != bad && status["stableRS"] == bad;
            (between && status["promoteFull"] == true).then_some(())
        };
        until(asked, LIMIT).await.expect("it is being promoted");
    }

    /// Waits until the users get bad answers.
    async fn users_are_hurt(&self) {
        self.users_are_hurt_since(0).await;
    }

    /// Waits until the users have got more bad answers than these.
    async fn users_are_hurt_since(&self, bad: u64) {
        let hurt = async || (self.users().tally().bad > bad).then_some(());
        until(hurt, LIMIT).await.expect("the users notice");
    }

    /// Waits until the users' latest answers are all good.
    async fn users_are_served(&self) {
        let served = async || {
            let tally = self.users().tally();
            (tally.recent.len() > 20 && tally.recent.iter().all(|good| *good)).then_some(())
        };
        let served = until(served, LIMIT).await;
        assert!(served.is_some(), "{:?}", self.users().tally());
    }

    /// Waits until the leader has known the release that is live now as good for as long as the policy asks.
    async fn soaked(&self) {
        self.soaked_for(1).await;
    }

    /// The same for so many seconds.
    async fn soaked_for(&self, seconds: i64) {
        let hash = self.rollout().await["status"]["stableRS"].clone();
        let since = async || {
            let memory = self.memory().await?;
            let newest = memory["status"]["history"].as_array()?.last()?;
            let since: Timestamp = newest["since"].as_str()?.parse().ok()?;
            (newest["hash"] == hash).then_some(since)
        };
        let since = until(since, LIMIT).await.expect("it is remembered");
        let soaked = async || (now().duration_since(since).as_secs() >= seconds).then_some(());
        until(soaked, LIMIT).await.expect("time passes");
    }

    /// Waits until the leader knows which release is live and which is stable; returns the live one's hash.
    async fn is_known(&self) -> String {
        let known = async || {
            let status = self.rollout().await["status"].clone();
            let memory = self.memory().await?["status"].clone();
            let live = status["currentPodHash"].as_str()?;
            let stable = memory["history"].as_array()?.last()?["hash"].clone();
            (memory["live"]["hash"] == live && stable == status["stableRS"])
                .then(|| live.to_owned())
        };
        until(known, LIMIT).await.expect("the leader knows it")
    }

    /// All rollbacks of the workload.
    async fn rollbacks(&self) -> Vec<Value> {
        let namespace = self.namespace();
        let all = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/rollbacks");
        items(&self.get(&all).await.expect("a list"))
    }

    /// Waits until a rollback ended in this phase and Slack was told.
    async fn ended(&self, name: &str, phase: &str) -> Value {
        let mut seen = Value::Null;
        let ended = async || {
            seen = self.rollback(name).await?;
            let slack = seen.pointer("/status/report/slack")?;
            let told = slack["told"].as_array();
            let told = told.is_some_and(|all| all.iter().any(|it| *it == format!("end/{phase}")));
            // A refusal is one message without a thread.
            let told = told || (phase == "Declined" && slack["ts"].is_string());
            (told
                && seen["status"]["phase"] == phase
                && seen.pointer("/metadata/finalizers/0").is_none())
            .then_some(())
        };
        let ended = until(ended, LIMIT).await;
        assert!(ended.is_some(), "{phase}, told and let go: {seen:#}");
        self.has_ended(&seen);
        seen
    }

    /// Sends the alert, and sees the second release pulled back for it; its rollback.
    async fn is_pulled_back(&self, ripcord: &Self::Replica, bad: &str) -> Value {
        let posted = self.alert(ripcord).await;
        let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
        self.is_mended().await;
        self.is_in_budget(&rollback);
        self.times(posted, &rollback);
        rollback
    }

    /// Its procedure took no longer than it may.
    fn is_in_budget(&self, rollback: &Value) {
        let run = &rollback["status"]["run"];
        assert!(run["overBudget"].is_null(), "{run:#}");
    }

    /// What must be true at the end: the good release is live, stable and alone, after one change of the template.
    async fn is_mended(&self) {
        self.is_mended_by(1).await;
    }

    /// The same after so many rollbacks.
    async fn is_mended_by(&self, rollbacks: usize) {
        self.rollout_is("Healthy").await;
        self.users_are_served().await;
        assert_eq!(self.wanted_image().await, self.good_image());
        let status = self.rollout().await["status"].clone();
        assert_eq!(status["currentPodHash"], status["stableRS"]);
        assert_eq!(self.served_by().await, [self.good_image(); 4]);
        let forbidden = self.forbidden();
        assert!(
            forbidden.is_empty(),
            "`deploy/` grants all that is asked for: {forbidden:#?}"
        );
        let restores = self.restores();
        assert_eq!(
            restores.len(),
            rollbacks,
            "the template is restored once: {restores:#?}"
        );
    }

    /// Ripcord's changes of the spec.
    fn restores(&self) -> Vec<Change> {
        let mut changes = self.changes();
        changes.retain(|it| it.part.is_empty());
        changes
    }

    /// Waits until Ripcord has changed the workload.
    async fn is_restored(&self) {
        let restored = async || self.changes().first().cloned();
        until(restored, LIMIT)
            .await
            .expect("the template is restored");
    }

    /// The template was restored once, and a message says this.
    fn is_restored_once_and_says(&self, said: &str) {
        let restores = self.restores();
        assert_eq!(restores.len(), 1, "{restores:#?}");
        let messages = self.slack().messages();
        let told = messages.iter().any(|it| it.text.contains(said));
        assert!(told, "{messages:#?}");
    }

    /// What must be true where a person is needed: nothing was touched, and a person was told.
    fn is_let_be(&self, rollback: &Value, reason: &str) {
        assert_eq!(
            rollback["status"]["reason"]["reason"], reason,
            "{rollback:#}"
        );
        let changes = self.changes();
        assert!(changes.is_empty(), "nothing is touched: {changes:#?}");
        assert_eq!(self.nudges(), 0, "not even to make the controller look");
        let messages = self.slack().messages();
        assert_eq!(messages.len(), 1, "it is told once: {messages:#?}");
        assert!(messages[0].text.contains("NOT acted on"), "{messages:#?}");
        let received = rollback["spec"]["received"].as_str().unwrap();
        self.times(received.parse().unwrap(), rollback);
    }

    /// The pods of a release.
    async fn pods_of(&self, hash: &str) -> Vec<Value> {
        let selector = format!("labelSelector=rollouts-pod-template-hash={hash}");
        self.pods(&format!("?{selector}")).await
    }

    async fn pods(&self, query: &str) -> Vec<Value> {
        let namespace = self.namespace();
        let path = format!("/api/v1/namespaces/{namespace}/pods{query}");
        items(&self.get(&path).await.expect("a list"))
    }

    /// The ready endpoints of the Service that takes the traffic.
    async fn ready_endpoints(&self) -> Vec<Value> {
        let (namespace, front) = (self.namespace(), self.front());
        let all = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let mine = format!("{all}?labelSelector=kubernetes.io/service-name={front}");
        let slices = items(&self.get(&mine).await.expect("a list"));
        let endpoints = slices.iter().flat_map(|it| items(&it["endpoints"]));
        endpoints
            .filter(|it| it["conditions"]["ready"] == true)
            .collect()
    }

    /// Their pods.
    async fn serving(&self) -> Vec<Value> {
        let endpoints = self.ready_endpoints().await;
        let pods = self.pods("").await;
        let pod = |endpoint: Value| {
            let name = &endpoint["targetRef"]["name"];
            let mut pods = pods.iter();
            pods.find(|pod| pod["metadata"]["name"] == *name).cloned()
        };
        endpoints.into_iter().filter_map(pod).collect()
    }

    /// The images of those.
    async fn served_by(&self) -> Vec<String> {
        let pods = self.serving().await;
        let images = pods.iter();
        let images = images.filter_map(|pod| pod.pointer("/spec/containers/0/image")?.as_str());
        images.map(str::to_owned).collect()
    }

    /// Does something, and says how few ready endpoints the Service had at any look meanwhile.
    async fn fewest_endpoints<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let mut fewest = usize::MAX;
        let looking = async {
            loop {
                fewest = fewest.min(self.ready_endpoints().await.len());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = looking => unreachable!("it looks for ever"),
        };
        (fewest, done)
    }
}

impl<G: Ground> Judge for G {}

/// Whether a rollback stayed within its budget.
pub(crate) fn is_in_time(rollback: &Value) -> bool {
    rollback["status"]["run"]["overBudget"].is_null()
}

/// The items of a list object, or of an array.
fn items(list: &Value) -> Vec<Value> {
    let items = list.get("items").unwrap_or(list);
    items.as_array().cloned().unwrap_or_default()
}
