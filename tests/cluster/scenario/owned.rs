//! Where GitOps owns the spec: what is written there would be undone, so that an update in flight is aborted, and anything
//! else is its owner's to revert.

use jiff::Timestamp;
use serde_json::json;

use super::blue_green;
use crate::scene::blue_green::strategy;
use crate::scene::release::{BAD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::replica::{Replica, until};
use crate::support::slack::Recorded;
use crate::support::story::prelude::*;

const SHOP: &str = "Argo CD application shop";
const ON_CALL: &str = "on_call: [S0123ABCD]";
const MANIFEST: &str = "https://git.example/deploy/blob/main/options-api-pinn-fixes.yaml";

/// In flight, and tracked by Argo CD. Its owner reverts it afterwards.
pub(crate) async fn canary_of_argo_cd() {
    let mut scene = Scene::start("canary of Argo CD").await;
    scene.target_has("manifest: https://git.example/deploy/blob/main/{{ workload }}.yaml");
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_tracked_by("shop").await;
    scene.is_aborted(&ripcord, &bad, SHOP).await;
    let said = scene.told();
    assert!(said.contains(MANIFEST), "{said}");
    // An alert that is repeated is no reason to do anything.
    scene.alert(&ripcord).await;
    scene.push(scene.good).await;
    scene.rollout_is("Healthy").await;
    scene.alert(&ripcord).await;
    scene.users_are_served().await;
    assert_eq!(scene.mutations().len(), 1, "{:#?}", scene.mutations());
}

/// In flight, and of a Kustomization.
pub(crate) async fn canary_of_flux() {
    let mut scene = Scene::start("canary of Flux").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let labels = json!({ "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    scene
        .edit(&json!({ "metadata": { "labels": labels } }))
        .await;
    scene
        .is_aborted(&ripcord, &bad, "Flux Kustomization flux-system/apps")
        .await;
}

/// In flight, and of a `HelmRelease`.
pub(crate) async fn canary_of_helm() {
    let mut scene = Scene::start("canary of Helm, by Flux").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let labels = json!({ "helm.toolkit.fluxcd.io/name": "apps", "helm.toolkit.fluxcd.io/namespace": "flux-system" });
    scene
        .edit(&json!({ "metadata": { "labels": labels } }))
        .await;
    scene
        .is_aborted(&ripcord, &bad, "Flux HelmRelease flux-system/apps")
        .await;
}

/// In flight, and nothing but the managed fields tells who applied it.
pub(crate) async fn canary_that_argo_cd_applied() {
    let mut scene = Scene::start("canary that Argo CD applied").await;
    let ripcord = scene.good(&pausing()).await;
    let before = scene.live().await;
    let container = json!({ "name": "app", "image": BAD, "ports": [{ "name": "http", "containerPort": 8000 }] });
    let manifest = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": { "name": NAME, "namespace": scene.namespaces.release },
        "spec": { "template": { "metadata": { "labels": { "app": NAME } }, "spec": { "containers": [container] } } },
    });
    let path = scene.rollout_path();
    let applied = scene
        .plane
        .admin
        .apply(&path, "argocd-controller", &manifest);
    applied.await.unwrap();
    let taken_up = async || (scene.live().await != before).then_some(());
    until(taken_up, LIMIT).await.expect("it is taken up");
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.users_are_hurt().await;
    scene.is_aborted(&ripcord, &bad, "Argo CD").await;
}

/// Somebody has asked for the full promotion an instant before: an abort alone would be lost.
pub(crate) async fn full_promotion_requested() {
    let mut scene = Scene::start("canary of Argo CD, full promotion requested").await;
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_tracked_by("shop").await;
    let asleep = scene.plane.freeze().unwrap();
    scene.argo(&["promote", NAME, "--full"]);
    assert_eq!(scene.rollout().await["status"]["promoteFull"], true);
    let posted = scene.alert(&ripcord).await;
    let asked = async || (scene.rollout().await["status"]["abort"] == true).then_some(());
    until(asked, LIMIT).await.expect("the abort is asked for");
    drop(asleep);
    scene.aborted(posted, &bad, SHOP).await;
}

/// Paused by its spec, which is not to be written: the controller would note an abort, and move nothing.
pub(crate) async fn paused_by_its_spec() {
    let mut scene = Scene::start("canary of Argo CD, paused by its spec").await;
    scene.says_who_is_called();
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_tracked_by("shop").await;
    scene.argo(&["pause", NAME]);
    scene.is_paused_by_its_spec().await;
    let state = "(v2-half500) is paused by its spec";
    scene.is_left(&ripcord, &second(&bad), &[SHOP, state]).await;
}

/// Before the switch: no user has seen it.
pub(crate) async fn blue_green_before_promotion() {
    let mut scene = blue_green::start("blue-green of Argo CD, before its promotion").await;
    let strategy = strategy(&json!({ "autoPromotionEnabled": false }));
    let ripcord = scene.good(&strategy).await;
    scene.deploy(BAD).await;
    scene.rollout_is("Paused").await;
    let bad = scene.is_known().await;
    scene.is_tracked_by("shop").await;
    scene.is_aborted(&ripcord, &bad, SHOP).await;
    assert_eq!(scene.users.as_ref().unwrap().tally().bad, 0);
}

/// After the switch an abort could leave no endpoint at all.
pub(crate) async fn blue_green_switched() {
    let mut scene = blue_green::start("blue-green of Argo CD, after the switch").await;
    scene.says_who_is_called();
    let (ripcord, bad) = scene.bad_switched().await;
    scene.is_tracked_by("shop").await;
    let state = "(v2-half500) is behind the active Service already";
    scene.is_left(&ripcord, &second(&bad), &[SHOP, state]).await;
}

/// An abort of what is promoted does nothing: its owner is told at once.
pub(crate) async fn promoted() {
    let mut scene = Scene::start("promoted, of Argo CD").await;
    scene.says_who_is_called();
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.is_tracked_by("shop").await;
    scene
        .is_left(&ripcord, &second(&bad), &[SHOP, "(v2-half500) is promoted"])
        .await;
    // A repeat is answered from that record.
    scene.alert(&ripcord).await;
    assert_eq!(scene.slack.messages().len(), 1);
}

/// Charts set this label too: it is no evidence.
pub(crate) async fn instance_label_alone() {
    let mut scene = Scene::start("canary with an instance label").await;
    let (ripcord, bad) = scene.bad_canary().await;
    let labels = json!({ "app.kubernetes.io/instance": "shop" });
    scene
        .edit(&json!({ "metadata": { "labels": labels } }))
        .await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// Nothing on the object tells who owns it.
pub(crate) async fn policy_says_gitops() {
    let mut scene = Scene::start("canary of GitOps, by the policy").await;
    scene.target_has("owner: gitops");
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_aborted(&ripcord, &bad, "GitOps").await;
}

/// Argo CD tracks it, and does not heal it.
pub(crate) async fn policy_says_nobody() {
    let mut scene = Scene::start("canary of Argo CD that does not heal").await;
    scene.target_has("owner: none");
    let (ripcord, bad) = scene.bad_canary().await;
    scene.is_tracked_by("shop").await;
    scene.is_pulled_back(&ripcord, &bad).await;
}

/// The rollback of the second release, by its hash.
fn second(bad: &str) -> String {
    format!("{NAME}-r2-{bad}")
}

impl Scene {
    /// Sends the alert, and sees the second release aborted for it.
    pub(super) async fn is_aborted(&self, ripcord: &Replica, bad: &str, owner: &str) {
        let posted = self.alert(ripcord).await;
        self.aborted(posted, bad, owner).await;
    }

    /// The good release takes all traffic, the spec is as its owner left it, and somebody is told what to do about it.
    async fn aborted(&self, posted: Timestamp, bad: &str, owner: &str) {
        let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
        self.users_are_served().await;
        self.rollout_is("Degraded").await;
        let rollout = self.rollout().await;
        let image = &rollout["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, BAD, "the spec is not touched");
        assert_eq!(rollout["status"]["currentPodHash"], bad);
        assert!(rollout["status"]["abortedAt"].is_string(), "{rollout:#}");
        assert_eq!(self.served_by().await, [self.good; 4]);
        let mutations = self.mutations();
        assert!(
            mutations.iter().all(|it| it.subresource == "status"),
            "{mutations:#?}"
        );
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let seen = &rollback["status"]["run"]["steps"][0]["observed"];
        assert_eq!(seen["reason"], "aborted", "{rollback:#}");
        let said = self.told();
        for part in [owner, "Degraded", "revert r2", "in Git"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        self.is_in_budget(&rollback);
        self.times(posted, &rollback);
    }

    /// Lets the policy say who is called, and where the manifest is that somebody has to revert then.
    pub(super) fn says_who_is_called(&mut self) {
        self.target_has(ON_CALL);
        self.target_has("manifest: https://git.example/deploy/blob/main/{{ workload }}.yaml");
    }

    /// Sends the alert, and sees the release of this rollback left to its owner: people are called at once, and the call says
    /// all of this, which release to revert in Git, and in which manifest.
    pub(super) async fn is_left(&self, ripcord: &Replica, name: &str, says: &[&str]) {
        let posted = self.alert(ripcord).await;
        let rollback = self.ended(name, "Declined").await;
        self.is_let_be(&rollback, "owned_elsewhere");
        let call = &self.slack.messages()[0];
        assert!(call.earlier.is_empty(), "it says so from the first");
        // A second is asked for, and `benches/verbs` holds it to that; a busy machine gets some more.
        let took = call.at.duration_since(posted);
        assert!(took.as_secs() < 5, "at once: {took:?}");
        let said = call.visible();
        let release = name.strip_prefix(NAME).unwrap().replace('-', " ");
        let revert = format!("revert{release} in Git: <{MANIFEST}|");
        for part in [says, &[&revert]].concat() {
            assert!(said.contains(part), "{part}: {said}");
        }
        let pings = call.pings();
        assert!(
            pings.contains(&"<!subteam^S0123ABCD>".to_owned()),
            "{pings:?}"
        );
    }

    /// All that people read of it in Slack.
    fn told(&self) -> String {
        let all = self.slack.messages();
        let all: Vec<_> = all.iter().map(Recorded::visible).collect();
        all.join("\n")
    }
}
