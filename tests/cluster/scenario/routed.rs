//! A bad canary whose traffic is split by a router. No client sees its weights here: they are judged at the API.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The router sends 60 % to the bad release.
pub(crate) async fn nginx() {
    let mut scene = Scene::start("canary behind nginx at 60 %").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    pulled_back(&scene, &ripcord, &bad).await;
}

/// At the first of several steps: a quarter.
pub(crate) async fn nginx_at_a_quarter() {
    let mut scene = Scene::start("canary behind nginx at 25 %").await;
    let (ripcord, bad) = scene.bad_split_at(25, &json!({})).await;
    assert_eq!(scene.pods_of(&bad).await.len(), 1);
    pulled_back(&scene, &ripcord, &bad).await;
}

/// At the last step: all of the traffic, and it is not promoted.
pub(crate) async fn nginx_at_all() {
    let mut scene = Scene::start("canary behind nginx at 100 %").await;
    let (ripcord, bad) = scene.bad_split_at(100, &json!({})).await;
    assert_eq!(scene.pods_of(&bad).await.len(), 4);
    assert_ne!(scene.rollout().await["status"]["stableRS"], bad);
    pulled_back(&scene, &ripcord, &bad).await;
}

/// Between two steps: the next pods are on their way, and the weight is that of the step before.
pub(crate) async fn nginx_under_way() {
    let mut scene = Scene::start("canary behind nginx, between two steps").await;
    let steps = json!([{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 60 }, { "pause": {} }]);
    let ripcord = scene.good_behind_a_router(&json!({ "steps": steps })).await;
    scene.deploy("demo:v2-half500-readyafter5s").await;
    let bad = scene.is_split_at(25).await;
    scene.argo(&["promote", NAME]);
    scene
        .status_is("the next step has begun", |status| {
            status["currentStepIndex"] == 2
                && status["phase"] == "Progressing"
                && status["updatedReplicas"] == 3
        })
        .await;
    assert_eq!(scene.weight().await.as_deref(), Some("25"));
    pulled_back(&scene, &ripcord, &bad).await;
}

/// A person has aborted it: the router sends it nothing any more, the spec is still bad and the Rollout stays Degraded.
pub(crate) async fn nginx_aborted() {
    let mut scene = Scene::start("canary behind nginx, aborted by a person").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.argo(&["abort", NAME]);
    scene.rollout_is("Degraded").await;
    let turned = async || (scene.weight().await? == "0").then_some(());
    until(turned, LIMIT).await.expect("the router turns");
    assert_eq!(scene.live().await, bad);
    pulled_back(&scene, &ripcord, &bad).await;
}

/// The stable release is scaled down while the bad one takes its traffic, and must be there again before it gets that back.
pub(crate) async fn nginx_dynamic_stable_scale() {
    let mut scene = Scene::start("canary behind nginx, dynamic scale").await;
    let more = json!({ "dynamicStableScale": true });
    let (ripcord, bad) = scene.bad_split(&more).await;
    // Two of four are enough for 40 %.
    let scaled_down = async || (scene.ready_endpoints().await.len() == 2).then_some(());
    let scaled_down = until(scaled_down, LIMIT).await;
    assert!(
        scaled_down.is_some(),
        "{:#?}",
        scene.ready_endpoints().await
    );
    let good = scene.rollout().await["status"]["stableRS"].clone();
    let work = pulled_back(&scene, &ripcord, &bad);
    let least = scene.least_to_spare(good.as_str().unwrap(), work).await;
    assert!(least >= 0, "pods for {least} % of the traffic too few");
    assert_eq!(scene.ready_endpoints().await.len(), 4);
}

/// The canary has more pods than its weight asks for.
pub(crate) async fn nginx_set_canary_scale() {
    let mut scene = Scene::start("canary behind nginx, setCanaryScale").await;
    let steps =
        json!([{ "setCanaryScale": { "replicas": 4 } }, { "setWeight": 60 }, { "pause": {} }]);
    let (ripcord, bad) = scene.bad_split(&json!({ "steps": steps })).await;
    assert_eq!(scene.pods_of(&bad).await.len(), 4, "not three");
    pulled_back(&scene, &ripcord, &bad).await;
}

/// A pod of the stable release is not ready. The controller moves no weight until it is: `abort` is of no use, and the
/// template that was restored takes effect as soon as the pod is back.
pub(crate) async fn nginx_stable_not_ready() {
    let mut scene = Scene::start("canary behind nginx, stable pod unready").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    let pod = scene.is_one_pod_short().await;
    scene.argo(&["abort", NAME]);
    scene
        .status_is("it is aborted", |status| status["abortedAt"].is_string())
        .await;
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let waits = async || {
        let rollback = scene.rollback(&name).await?;
        let observed = rollback["status"]["run"]["steps"][0]["observed"].clone();
        let said = observed["said"].as_str()?;
        said.contains("still sends weight 60").then_some(())
    };
    until(waits, LIMIT)
        .await
        .expect("it says what it waits for");
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    scene.set_ready(&pod, true).await;
    let rollback = scene.ended(&name, "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
    scene.times(posted, &rollback);
}

/// The abort is taken and the template is kept out: the end says what is left.
pub(crate) async fn nginx_template_kept_out() {
    let mut scene = Scene::start("canary behind nginx, template kept out").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.good_is_kept_out().await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let rollback = scene.ended(&name, "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "rejected", "{rollback:#}");
    let left = "is aborted, and its template is still in the spec";
    assert!(reason["said"].as_str().unwrap().contains(left), "{reason}");
    scene.tells_all(&[left]).await;
    assert_eq!(scene.live().await, bad);
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
    scene.good_is_let_in().await;
}

/// A rule of admission keeps our abort out. It only was to turn the traffic sooner: the template is restored at once.
pub(crate) async fn nginx_abort_refused() {
    let mut scene = Scene::start("canary behind nginx, the abort refused").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.aborts_are_kept_out().await;
    let rollback = scene.is_pulled_back(&ripcord, &bad).await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
    let mut asked = scene.requests();
    asked
        .retain(|it| it.verb == "patch" && it.subresource == "status" && it.resource == "rollouts");
    let codes: Vec<_> = asked.iter().map(|it| it.code).collect();
    assert_eq!(codes, [422], "it is asked for once: {asked:#?}");
    assert_eq!(scene.mutations().len(), 1, "{:#?}", scene.mutations());
    let step = &rollback["status"]["run"]["steps"][0];
    assert_eq!(step["attempts"], 2, "{step:#}");
}

/// The controller does not act on our abort: the template follows after a second, and whichever the controller sees first
/// when it wakes, the release is back.
pub(crate) async fn nginx_abort_unheeded() {
    let mut scene = Scene::start("canary behind nginx, the abort unheeded").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    let asleep = scene.controller_sleeps();
    let posted = scene.alert(&ripcord).await;
    scene.template_follows_after(1).await;
    // Longer than it is waited for without making the controller look again.
    let nudged = async || (scene.nudges() > 0).then_some(());
    until(nudged, LIMIT).await.expect("it is made to look");
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    drop(asleep);
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
    scene.times(posted, &rollback);
}

/// The controller acts on our abort, and moves no weight, because a pod of the stable release is not ready: the template
/// follows after ten seconds all the same, and takes effect as soon as the pod is back.
pub(crate) async fn nginx_abort_turns_nothing() {
    let mut scene = Scene::start("canary behind nginx, the abort turns nothing").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    let pod = scene.is_one_pod_short().await;
    let posted = scene.alert(&ripcord).await;
    scene
        .status_is("it is aborted", |status| status["abortedAt"].is_string())
        .await;
    scene.template_follows_after(10).await;
    assert_eq!(scene.weight().await.as_deref(), Some("60"));
    scene.set_ready(&pod, true).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
    scene.times(posted, &rollback);
}

/// A canary behind it whose spec is Argo CD's.
pub(crate) async fn nginx_of_argo_cd() {
    let mut scene = Scene::start("canary behind nginx, of Argo CD").await;
    let (ripcord, bad) = scene.bad_split(&json!({})).await;
    scene.is_tracked_by("shop").await;
    scene
        .is_aborted(&ripcord, &bad, "Argo CD application shop")
        .await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
}

async fn pulled_back(scene: &Scene, ripcord: &Replica, bad: &str) {
    scene.is_pulled_back(ripcord, bad).await;
    assert_eq!(scene.weight().await.as_deref(), Some("0"));
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

impl Scene {
    /// Does something, and says how much more of the traffic than its share the pods of a release could have taken at any look
    /// meanwhile, at the least, in per cent.
    async fn least_to_spare(&self, good: &str, work: impl Future<Output = ()>) -> i64 {
        let mut least = i64::MAX;
        let looking = async {
            loop {
                // In this order: the pods come first, and what they are for a moment later.
                let weight = self.weight().await.and_then(|it| it.parse::<i64>().ok());
                let ready = self
                    .pods_of(good)
                    .await
                    .iter()
                    .filter(|it| is_ready(it))
                    .count();
                let canary = weight.expect("a weight");
                let ready = i64::try_from(ready).unwrap();
                least = least.min(ready * 100 / 4 - (100 - canary));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = work => least,
            () = looking => unreachable!("it looks for ever"),
        }
    }

    /// Lets a pod of the stable release be unready, and waits until the controller knows it; the pod.
    async fn is_one_pod_short(&self) -> Value {
        // One that is going away already would not be missed.
        let pod = self.serving().await.remove(0);
        let before = self.rollout().await["status"]["availableReplicas"]
            .as_i64()
            .unwrap();
        self.set_ready(&pod, false).await;
        self.status_is("the controller has noticed", |status| {
            status["availableReplicas"] == before - 1
        })
        .await;
        pod
    }

    /// Waits until the template is restored: an abort was asked for once, so many seconds before at the least.
    async fn template_follows_after(&self, seconds: i64) {
        let restored = async || (!self.restores().is_empty()).then_some(());
        until(restored, LIMIT).await.expect("it is restored");
        let mutations = self.mutations();
        let [abort, restore] = mutations.as_slice() else {
            panic!("an abort and a restore: {mutations:#?}");
        };
        assert_eq!([&*abort.subresource, &*restore.subresource], ["status", ""]);
        let after = restore.received.duration_since(abort.received);
        assert!(after.as_secs() >= seconds, "{after:#}");
    }

    /// Lets Ripcord ask for no abort in this scenario's namespace, and waits until that is so.
    async fn aborts_are_kept_out(&self) {
        let status = json!({
            "apiGroups": ["argoproj.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"],
            "resources": ["rollouts/status"],
        });
        let but = "!has(object.status.abort) || !object.status.abort";
        self.keep_out(&status, but, "Invalid").await;
        let path = format!("{}/status?dryRun=All", self.rollout_path());
        let abort = json!({ "status": { "abort": true } });
        let abort = async || self.plane.admin.patch(&path, &abort).await;
        let kept = async || abort().await.is_err().then_some(());
        until(kept, LIMIT).await.expect("it is kept out");
    }
}
