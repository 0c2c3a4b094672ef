//! The complete rollback: a person approves it, the known good release is brought up from its pinned image where nothing of
//! it is left, and what serves is kept until it does.

use serde_json::{Value, json};

use super::hands::{Person, asked};
use crate::scene::complete::PINNED;
use crate::scene::release::pausing;
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// One whose pods are never ready.
const STUCK: &str =
    "demo:v1-neverready-x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The steps in the order of the shipped procedure.
const RESTORE: usize = 0;

/// No replica set of a good release is left: the pinned image is put into the live template, once, and promoted.
pub(crate) async fn no_replica_set() {
    let mut scene = Scene::start("complete, no replica set is left").await;
    let redis = scene.completes(PINNED).await;
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let waits = asked(&scene, &name).await;
    assert!(scene.mutations().is_empty(), "nothing is touched yet");
    assert_eq!(waits["status"]["plan"]["to"]["images"], json!([PINNED]));
    let work = async {
        let approved = jo.types(&["approve", &name]).await;
        assert_eq!(approved.code, Some(0), "{}{}", approved.out, approved.err);
        scene.ended(&name, "Succeeded").await
    };
    let (fewest, rollback) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 3, "one pod may be missing, no more: {fewest}");
    scene.users_are_served().await;
    scene.rollout_is("Healthy").await;
    assert_eq!(scene.served_by().await, [PINNED; 4]);
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
    assert!(scene.forbidden().is_empty(), "{:#?}", scene.forbidden());
    assert_eq!(redis.keys(0).await, ["session:1"]);
    let status = scene.rollout().await["status"].clone();
    assert_eq!(status["currentPodHash"], status["stableRS"]);
    // It is one of those that Ripcord made, and nobody's to pull back.
    let memory = scene.memory().await.unwrap()["status"].clone();
    assert_eq!(
        memory["made"][0]["hash"], status["currentPodHash"],
        "{memory:#}"
    );
    scene.times(posted, &rollback);
    scene.alert(&ripcord).await;
    assert_eq!(scene.rollbacks().await.len(), 1);
}

/// The same of a blue-green.
pub(crate) async fn no_replica_set_of_a_blue_green() {
    let mut scene = super::blue_green::start("complete, a blue-green without history").await;
    let _redis = scene.completes(PINNED).await;
    let strategy = crate::scene::blue_green::strategy(&json!({ "scaleDownDelaySeconds": 1 }));
    let (ripcord, bad) = scene.bad_without_history(&strategy).await;
    let name = scene.approved(&ripcord, &bad).await;
    scene.ended(&name, "Succeeded").await;
    scene.users_are_served().await;
    assert_eq!(scene.wanted_image().await, PINNED);
    assert_eq!(scene.restores().len(), 1, "{:#?}", scene.restores());
}

/// A replica set is left: its whole template is restored, and no image is written.
pub(crate) async fn replica_set() {
    let mut scene = Scene::start("complete, a replica set is left").await;
    let _redis = scene.completes(PINNED).await;
    scene.good = PINNED;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let good = scene.memory().await.unwrap()["status"]["history"][0]["hash"].clone();
    let name = scene.approved(&ripcord, &bad).await;
    let rollback = scene.ended(&name, "Succeeded").await;
    scene.is_mended().await;
    assert_eq!(rollback["status"]["plan"]["to"]["hash"], good);
    let first = &rollback["status"]["run"]["steps"][RESTORE];
    assert_eq!(first["observed"]["reason"], "already_there", "{first:#}");
}

/// The pods of the pinned image are never ready: what serves is kept, a person is called, and ends it.
pub(crate) async fn pods_never_ready() {
    let mut scene = Scene::start("complete, pods that are never ready").await;
    let _redis = scene.completes(STUCK).await;
    scene.gives_up_after("10s");
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    let work = async {
        let name = scene.approved(&ripcord, &bad).await;
        let given_up = async || {
            let told = scene.rollback(&name).await?["status"]["report"]["slack"]["told"].clone();
            let mut told = told.as_array()?.iter();
            told.any(|it| it == "gave_up").then_some(())
        };
        until(given_up, LIMIT).await.expect("a person is called");
        name
    };
    let (fewest, name) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 3, "what serves is kept: {fewest}");
    scene.is_latched_by(&name).await;
    let cancel = json!({ "by": "jo", "reason": "I deploy another" });
    scene.request(&name, &json!({ "cancel": cancel })).await;
    let rollback = scene.ended(&name, "Failed").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "cancelled");
    let state = rollback["status"]["run"]["state"].as_str().unwrap();
    assert!(state.contains("r2: "), "it says what is left: {state}");
    assert_eq!(
        scene.rollbacks().await.len(),
        1,
        "a stop is no reason to go on"
    );
}

/// The right to change the workload is taken away while a person is asked: nothing is done, and it is said.
pub(crate) async fn right_is_gone() {
    let mut scene = Scene::start("complete, the right is gone").await;
    let _redis = scene.completes(PINNED).await;
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    let jo = Person::with(&scene, "jo", Some("ripcord-operator")).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    asked(&scene, &name).await;
    scene.may_change_nothing().await;
    jo.types(&["approve", &name]).await;
    let rollback = scene.ended(&name, "Declined").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "permission_missing");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
}

/// A revert leads nowhere where nothing of the pinned release is left; it says what could bring it up.
pub(crate) async fn revert_alone() {
    let mut scene = Scene::start("complete, a revert alone").await;
    scene.pins(PINNED);
    let (ripcord, bad) = scene.bad_without_history(&pausing()).await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    assert_eq!(rollback["status"]["reason"]["reason"], "no_destination");
    let said = rollback["status"]["reason"]["said"].as_str().unwrap();
    assert!(said.contains("`restore-image` can bring it up"), "{said}");
}

impl Scene {
    /// Sends the alert, and approves what it asks for; the name of the rollback.
    pub(super) async fn approved(&self, ripcord: &Replica, bad: &str) -> String {
        self.alert(ripcord).await;
        let name = format!("{NAME}-r2-{bad}");
        let waits = asked(self, &name).await;
        let to = &waits["status"]["plan"]["to"]["hash"];
        let approval = json!({ "decision": "approve", "by": "ann", "to": to });
        self.request(&name, &json!({ "approval": approval })).await;
        name
    }

    /// A person's change of a request.
    async fn request(&self, name: &str, spec: &Value) {
        let path = format!(
            "/apis/ripcord.dev/v1alpha1/namespaces/{}/rollbacks/{name}",
            self.namespaces.release
        );
        let patch = json!({ "spec": spec });
        self.plane.admin.patch(&path, &patch).await.unwrap();
    }

    /// Takes the right to change a workload away from Ripcord, and waits until that is so.
    pub(super) async fn may_change_nothing(&self) {
        let namespace = &self.namespaces.release;
        let role = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/ripcord-release"
        );
        let mut rules = self.plane.admin.get(&role).await.unwrap()["rules"].clone();
        let rules_of = rules.as_array_mut().unwrap();
        for rule in rules_of.iter_mut() {
            if rule["resources"] == json!(["rollouts"]) {
                rule["verbs"] = json!(["get", "list", "watch"]);
            }
        }
        let patch = json!({ "rules": rules });
        self.plane.admin.patch(&role, &patch).await.unwrap();
        self.lacks("patch", "argoproj.io", "rollouts", "").await;
    }

    /// Waits until Ripcord may not do this any more in the release's namespace, by the API server's word.
    pub(super) async fn lacks(&self, verb: &str, group: &str, resource: &str, subresource: &str) {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{}:ripcord", self.namespaces.ripcord),
                "resourceAttributes": {
                    "namespace": self.namespaces.release, "verb": verb, "group": group, "resource": resource,
                    "subresource": subresource,
                },
            },
        });
        let gone = async || {
            let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            let answer = self.plane.admin.post(path, &review).await.ok()?;
            (answer["status"]["allowed"] == false).then_some(())
        };
        until(gone, LIMIT).await.expect("it is taken away");
    }
}
