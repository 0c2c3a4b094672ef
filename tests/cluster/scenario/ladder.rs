//! What follows a rollback whose revert failed: the next rung asks a person in the same thread, and the target stays latched.

use serde_json::{Value, json};

use super::hands::{Person, asked};
use crate::scene::release::{BAD, GOOD, containers};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::receiver::Receiver;
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// The next rung.
const NEXT: &str = "blue-green";

/// A rule of admission keeps the good image out until somebody takes it away; then the next rung is approved and done.
pub(crate) async fn refused_by_admission() {
    let mut scene = Scene::start("ladder, refused by admission").await;
    scene.climbs();
    let (ripcord, bad) = scene.bad_canary().await;
    scene.good_is_kept_out().await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    scene.alert(&ripcord).await;
    let first = format!("{NAME}-r2-{bad}");
    let failed = scene.ended(&first, "Failed").await;
    assert_eq!(failed["status"]["reason"]["reason"], "rejected");
    let rung = format!("{first}-2");
    let waits = asked(&scene, &rung).await;
    let of = |rollback: &Value, key: &str| rollback["status"]["plan"][key].clone();
    for key in ["from", "to"] {
        assert_eq!(of(&waits, key), of(&failed, key), "it takes over {key}");
    }
    assert_eq!(waits["spec"]["parent"], first);
    assert_eq!(waits["spec"]["rung"], 1);
    assert_eq!(of(&waits, "procedure"), NEXT);
    assert!(scene.mutations().is_empty(), "nothing is touched yet");
    scene.is_latched_by(&first).await;
    scene.is_told_in_the_thread_of(&first, &rung).await;
    // What comes meanwhile is about the same, and frees nothing.
    scene.alert(&ripcord).await;
    assert_eq!(scene.rollbacks().await.len(), 2);
    scene.good_is_let_in().await;
    let approved = jo.types(&["approve", &rung]).await;
    assert_eq!(approved.code, Some(0), "{}{}", approved.out, approved.err);
    scene.ended(&rung, "Succeeded").await;
    scene.users_are_served().await;
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
    // A person lifts the latch, nobody else.
    scene.is_latched_by(&first).await;
}

/// The ladder as it is shipped: where the revert of a P0 fails, the complete rollback asks a person, and pages one. Nobody answers,
/// and so it does nothing.
pub(crate) async fn as_shipped() {
    let mut scene = Scene::start("ladder, as it is shipped").await;
    let pager = Receiver::start(202).await;
    scene.pager = Some(pager.url("/v2/enqueue"));
    let redis = scene.filled().await;
    scene.has_cache(&redis.address());
    scene.policy_says("approve_within: 15m", "approve_within: 15s");
    let (ripcord, bad) = scene.bad_canary().await;
    scene.good_is_kept_out().await;
    scene.alert(&ripcord).await;
    let first = format!("{NAME}-r2-{bad}");
    let failed = scene.ended(&first, "Failed").await;
    assert_eq!(failed["spec"]["severity"], "P0");
    assert_eq!(failed["status"]["reason"]["reason"], "rejected");
    assert_eq!(failed["status"]["plan"]["escalateTo"], "complete");
    let rung = format!("{first}-2");
    let waits = asked(&scene, &rung).await;
    assert_eq!(waits["status"]["plan"]["procedure"], "complete");
    assert_eq!(
        waits["status"]["plan"]["to"],
        failed["status"]["plan"]["to"]
    );
    scene.is_told_in_the_thread_of(&first, &rung).await;
    // It could be done from now on.
    scene.good_is_let_in().await;
    for (of, said) in [(&failed, "is NOT back"), (&waits, "may r2 go back to r1?")] {
        let paged = async || {
            let posted = pager.posted();
            let mut events = posted.iter().map(|it| &it.body);
            let about = events.find(|it| it["dedup_key"] == of["metadata"]["uid"])?;
            Some(about.clone())
        };
        let event = until(paged, LIMIT).await.expect("it pages");
        let payload = &event["payload"];
        assert_eq!(event["event_action"], "trigger");
        assert_eq!(payload["severity"], "critical", "{event:#}");
        let summary = payload["summary"].as_str().unwrap();
        assert!(summary.contains(said), "{summary}");
        assert!(summary.contains("you are needed"), "{summary}");
    }
    let declined = async || {
        let status = scene.rollback(&rung).await?["status"].clone();
        (status["phase"] == "Declined").then_some(status)
    };
    let declined = until(declined, LIMIT).await.expect("nobody answers");
    assert_eq!(declined["reason"]["reason"], "approval_expired");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
    assert_eq!(scene.wanted_image().await, BAD);
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    assert_eq!(scene.rollbacks().await.len(), 2, "nothing follows it");
    scene.is_latched_by(&first).await;
}

/// The pods of a Deployment's old release cannot start at first. The next rung finds them on their way, and goes on.
pub(crate) async fn starts_later() {
    let mut scene = Scene::start("ladder, the destination starts later").await;
    scene.climbs();
    scene.gives_up_after("10s");
    let pool = scene.add_pool().await;
    let extra = json!({ "spec": { "template": { "spec": { "nodeSelector": pool } } } });
    let ripcord = scene.good_deployment(&extra).await;
    let pod = json!({ "containers": containers(BAD), "nodeSelector": null });
    let bad = json!({ "spec": { "template": { "spec": pod } } });
    scene.edit_deployment(&bad).await;
    scene.is_complete().await;
    let bad = scene.deployment_is_known().await;
    scene.users_are_hurt().await;
    scene.remove_pool().await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    scene.alert(&ripcord).await;
    let first = format!("{NAME}-r2-{bad}");
    let failed = scene.ended(&first, "Failed").await;
    assert_eq!(failed["status"]["reason"]["reason"], "gave_up");
    let rung = format!("{first}-2");
    let waits = asked(&scene, &rung).await;
    assert_eq!(
        waits["status"]["plan"]["from"],
        failed["status"]["plan"]["from"]
    );
    scene.add_pool().await;
    let approved = jo.types(&["approve", &rung]).await;
    assert_eq!(approved.code, Some(0), "{}{}", approved.out, approved.err);
    scene.ended(&rung, "Succeeded").await;
    scene.is_complete().await;
    scene.users_are_served().await;
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    assert_eq!(scene.mutations().len(), 1, "{:#?}", scene.mutations());
    scene.is_latched_by(&first).await;
}

/// The traffic was moved, and the destination is not healthy: another procedure would be a guess.
pub(crate) async fn not_after_unhealthy() {
    let mut scene = Scene::start("ladder, moved and not healthy").await;
    scene.climbs();
    scene.policy_says(
        "- healthy: { consecutive: 3, every: 500ms, within: 2m }",
        "- healthy: { consecutive: 3, every: 500ms, within: 3s }",
    );
    scene.good = "demo:v1-unhealthy";
    let (ripcord, bad) = scene.bad_canary().await;
    scene.alert(&ripcord).await;
    let first = format!("{NAME}-r2-{bad}");
    let failed = scene.ended(&first, "Failed").await;
    assert_eq!(failed["status"]["plan"]["escalateTo"], NEXT);
    assert!(failed["status"]["run"]["trafficBack"].is_string());
    scene.is_latched_by(&first).await;
    scene.alert(&ripcord).await;
    assert_eq!(scene.rollbacks().await.len(), 1);
}

impl Scene {
    /// Lets the severity of the alert have a next rung, which a person must approve.
    fn climbs(&mut self) {
        self.policy_says("escalate_to: complete", &format!("escalate_to: {NEXT}"));
        let shipped = format!("  {NEXT}:\n    budget: 1m\n");
        self.policy_says(&shipped, &format!("{shipped}    approval: required\n"));
    }

    /// Waits until the target is latched in this rollback's name.
    pub(super) async fn is_latched_by(&self, name: &str) {
        let latched = async || {
            let latch = self.memory().await?["status"]["latch"].clone();
            (latch["rollback"] == name).then_some(())
        };
        until(latched, LIMIT).await.expect("it is latched");
    }

    /// Waits until Slack shows the question about a rung in the thread of what it follows, for the channel to see.
    async fn is_told_in_the_thread_of(&self, first: &str, rung: &str) {
        let ts = async |name: &str| {
            let slack = self.rollback(name).await?["status"]["report"]["slack"].clone();
            Some(slack["ts"].as_str()?.to_owned())
        };
        let told = async || {
            let (first, rung) = (ts(first).await?, ts(rung).await?);
            let all = self.slack.messages();
            let told = all.iter().find(|it| it.ts == rung)?;
            let here = told.thread_ts.as_deref() == Some(first.as_str()) && told.broadcast;
            here.then_some(())
        };
        let told = until(told, LIMIT).await;
        assert!(told.is_some(), "{:#?}", self.slack.messages());
    }

    /// Lets nobody write the good image to a Rollout of this scenario, and waits until that is so.
    pub(super) async fn good_is_kept_out(&self) {
        let image = |of: &str| format!("{of}.spec.template.spec.containers[0].image");
        let same = format!("{} == {}", image("object"), image("oldObject"));
        let other = format!("{} != '{GOOD}'", image("object"));
        let rollouts = json!({
            "apiGroups": ["argoproj.io"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["rollouts"],
        });
        self.keep_out(&rollouts, &format!("{same} || {other}"), "Forbidden")
            .await;
        let kept = async || self.good_would_come_in().await.is_err().then_some(());
        until(kept, LIMIT).await.expect("it is kept out");
    }

    pub(super) async fn good_is_let_in(&self) {
        self.let_in().await;
        let comes_in = async || self.good_would_come_in().await.ok().map(drop);
        until(comes_in, LIMIT).await.expect("it is let in");
    }

    /// What the API server would say to the good image.
    async fn good_would_come_in(&self) -> anyhow::Result<Value> {
        let path = format!("{}?dryRun=All", self.rollout_path());
        let good =
            json!({ "spec": { "template": { "spec": { "containers": containers(GOOD) } } } });
        self.plane.admin.patch(&path, &good).await
    }
}
