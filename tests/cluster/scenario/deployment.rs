//! Plain Deployments: what Kubernetes itself rolls out is pulled back in the same way.

use std::collections::BTreeSet;

use jiff::Timestamp;
use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use crate::scene::release::{BAD, GOOD, containers};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// Its pods are never ready, so that its rollout does not end.
const STUCK: &str = "demo:v2-neverready";
/// One pod may be missing while pods are replaced, of four.
const FEWEST: usize = 3;
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Rolled out completely before anybody noticed.
pub(crate) async fn complete() {
    let mut scene = Scene::start("deployment, complete").await;
    let ripcord = scene.good_deployment(&json!({})).await;
    let good = scene.template_hash().await;
    scene.push_deployment(BAD).await;
    scene.is_complete().await;
    let bad = scene.deployment_is_known().await;
    scene.users_are_hurt().await;
    scene.deployment_is_pulled_back(&ripcord, &good, &bad).await;
    scene.uses_what_is_granted();
    // An alert that comes again is no reason to do anything.
    scene.alert(&ripcord).await;
    assert_eq!(scene.mutations().len(), 1, "{:#?}", scene.mutations());
}

/// Still rolling out, with pods that never get ready.
pub(crate) async fn rolling_out() {
    let mut scene = Scene::start("deployment, rolling out").await;
    let ripcord = scene.good_deployment(&json!({})).await;
    let good = scene.template_hash().await;
    let bad = scene.is_stuck().await;
    scene.deployment_is_pulled_back(&ripcord, &good, &bad).await;
}

/// Paused by a person in the middle.
pub(crate) async fn paused() {
    let mut scene = Scene::start("deployment, paused in the middle").await;
    let ripcord = scene.good_deployment(&json!({})).await;
    let good = scene.template_hash().await;
    let bad = scene.is_stuck().await;
    scene
        .edit_deployment(&json!({ "spec": { "paused": true } }))
        .await;
    scene.deployment_is_known().await;
    scene.deployment_is_pulled_back(&ripcord, &good, &bad).await;
    assert_eq!(scene.deployment().await["spec"]["paused"], Value::Null);
}

/// A person's `undo` brings the bad one back while the way back is not complete. It is told, and not fought over.
pub(crate) async fn undone() {
    let mut scene = Scene::start("deployment, undone in the middle").await;
    scene.good = "demo:v1-readyafter5s";
    let ripcord = scene.good_deployment(&json!({})).await;
    scene.push_deployment(BAD).await;
    scene.is_complete().await;
    let bad = scene.deployment_is_known().await;
    scene.users_are_hurt().await;
    scene.alert(&ripcord).await;
    // Its pods take five seconds, in which the leader sees the restored template live.
    let restored = async || {
        let rollback = scene.rollback(&format!("{NAME}-r2-{bad}")).await?;
        let observed = rollback.pointer("/status/run/steps/0/observed/reason")?;
        ["traffic_moving", "pods_starting", "settling"]
            .contains(&observed.as_str()?)
            .then_some(())
    };
    until(restored, LIMIT).await.expect("it is restored");
    // What `kubectl rollout undo` writes: the template before, and the annotations without ours.
    scene
        .edit_deployment(&json!({
            "metadata": { "annotations": { "ripcord.dev/operation": null } },
            "spec": { "template": { "spec": { "containers": containers(BAD) } } },
        }))
        .await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "overwritten", "{rollback:#}");
    assert_eq!(scene.mutations().len(), 1, "{:#?}", scene.mutations());
}

/// The first release is bad: there is nowhere to go.
pub(crate) async fn first_deploy() {
    let mut scene = Scene::start("deployment, first deploy").await;
    scene.first_deployment(BAD, &json!({})).await;
    let ripcord = scene.ripcord().await;
    let bad = scene.deployment_is_known().await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "no_destination");
}

/// The old replica set is kept by nobody.
pub(crate) async fn history_is_gone() {
    let mut scene = Scene::start("deployment, no old replica set").await;
    let spec = json!({ "spec": { "revisionHistoryLimit": 0 } });
    let ripcord = scene.good_deployment(&spec).await;
    scene.push_deployment(BAD).await;
    scene.is_complete().await;
    let bad = scene.deployment_is_known().await;
    let gone = async || (scene.replica_sets().await.len() == 1).then_some(());
    until(gone, LIMIT).await.expect("it is cleaned up");
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "no_destination");
}

/// Argo CD owns the spec, and a Deployment has no abort.
pub(crate) async fn of_argo_cd() {
    let mut scene = Scene::start("deployment of Argo CD").await;
    let namespace = &scene.namespaces.release;
    let tracked = format!("shop:apps/Deployment:{namespace}/{NAME}");
    let annotations = json!({ "argocd.argoproj.io/tracking-id": tracked });
    let metadata = json!({ "metadata": { "annotations": annotations } });
    scene
        .deployment_is_left(&metadata, "Argo CD application shop")
        .await;
}

/// A Kustomization of Flux owns it.
pub(crate) async fn of_flux() {
    let mut scene = Scene::start("deployment of Flux").await;
    let labels = json!({ "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    let metadata = json!({ "metadata": { "labels": labels } });
    scene
        .deployment_is_left(&metadata, "Flux Kustomization flux-system/apps")
        .await;
}

impl Scene {
    /// A first Deployment that is good and complete behind a Service, with users, and known to a leader as good.
    pub(crate) async fn good_deployment(&mut self, extra: &Value) -> Replica {
        self.first_deployment(self.good, extra).await;
        let replica = self.ripcord().await;
        let hash = self.template_hash().await;
        let soaked = async || {
            let memory = self.memory().await?;
            let newest = memory["status"]["history"].as_array()?.last()?;
            let since: Timestamp = newest["since"].as_str()?.parse().ok()?;
            let long = now().duration_since(since).as_secs() >= 1;
            (newest["hash"] == hash.as_str() && long).then_some(())
        };
        until(soaked, LIMIT).await.expect("it is known as good");
        replica
    }

    /// A first Deployment, complete behind a Service, its users, and Ripcord's rights on it.
    async fn first_deployment(&mut self, image: &str, extra: &Value) {
        self.policy_says(
            "workload: { rollout: options-api-pinn-fixes",
            "workload: { deployment: options-api-pinn-fixes",
        );
        for right in [
            include_str!("../../../deploy/rbac/deployment-targets/role.yaml"),
            include_str!("../../../deploy/rbac/deployment-targets/role-binding.yaml"),
        ] {
            self.grant(right).await;
        }
        let service = self.service(&self.front).await;
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let mut object = fixture::rollout(&self.namespaces.release, NAME, image, &json!([]));
        let strategy = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } });
        let kind =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "strategy": null } });
        json_patch::merge(&mut object, &kind);
        object["spec"]["strategy"] = strategy;
        json_patch::merge(&mut object, extra);
        self.plane.admin.create(&object).await.unwrap();
        self.is_complete().await;
        let users = Client::start(format!("http://{address}/price").parse().unwrap(), 20);
        self.users = Some(users);
        if image == BAD {
            self.users_are_hurt().await;
        } else {
            self.users_are_served().await;
        }
    }

    /// Creates a shipped object in the release's namespace, with Ripcord's account in its own.
    pub(crate) async fn grant(&self, shipped: &str) {
        let mut object: Value = serde_saphyr::from_str(shipped).unwrap();
        object["metadata"]["namespace"] = json!(self.namespaces.release);
        for subject in object["subjects"].as_array_mut().into_iter().flatten() {
            subject["namespace"] = json!(self.namespaces.ripcord);
        }
        self.plane.admin.create(&object).await.unwrap();
    }

    /// Sends the alert, and sees the release of revision 2 pulled back for it, in one write that uses the old replica set.
    async fn deployment_is_pulled_back(&self, ripcord: &Replica, good: &str, bad: &str) {
        let work = async {
            let posted = self.alert(ripcord).await;
            let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
            (posted, rollback)
        };
        let (fewest, (posted, rollback)) = self.fewest_endpoints(work).await;
        assert!(fewest >= FEWEST, "{fewest} ready endpoints");
        self.is_complete().await;
        self.users_are_served().await;
        assert_eq!(self.template_hash().await, good, "no new replica set");
        assert_eq!(self.replica_sets().await.len(), 2);
        let marks = self.replica_set(good).await["metadata"]["annotations"].clone();
        assert_eq!(marks[REVISION], "3");
        assert_eq!(marks["deployment.kubernetes.io/revision-history"], "1");
        assert_eq!(self.served_by().await, [GOOD; 4]);
        assert_eq!(rollback["status"]["plan"]["to"]["hash"], good);
        let mutations = self.mutations();
        assert_eq!(mutations.len(), 1, "one write: {mutations:#?}");
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let messages = self.slack.messages();
        let look = format!("kubectl rollout status deployment {NAME}");
        let told = messages
            .iter()
            .any(|it| format!("{:?}", it.blocks).contains(&look));
        assert!(told, "{messages:#?}");
        self.times(posted, &rollback);
    }

    /// Deploys a bad release of a Deployment that somebody else owns, and sees it left to them.
    async fn deployment_is_left(&mut self, metadata: &Value, owner: &str) {
        self.says_who_is_called();
        let ripcord = self.good_deployment(metadata).await;
        let bad = self.is_stuck().await;
        let name = format!("{NAME}-r2-{bad}");
        self.is_left(&ripcord, &name, &[owner]).await;
    }

    /// All rights on Deployments that are shipped were used, no other, and none on Rollouts.
    fn uses_what_is_granted(&self) {
        let requests = self.requests();
        let used: BTreeSet<_> = requests
            .iter()
            .map(|it| (it.resource.as_str(), it.verb.as_str()))
            .filter(|(resource, _)| ["deployments", "replicasets", "rollouts"].contains(resource))
            .collect();
        let shipped = include_str!("../../../deploy/rbac/deployment-targets/role.yaml");
        let role: Value = serde_saphyr::from_str(shipped).unwrap();
        let words = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut granted = vec![("replicasets".to_owned(), "list".to_owned())];
        for rule in role["rules"].as_array().unwrap() {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]).into_iter();
                granted.extend(verbs.map(|verb| (resource.clone(), verb)));
            }
        }
        let granted: BTreeSet<_> = granted
            .iter()
            .map(|(resource, verb)| (resource.as_str(), verb.as_str()))
            .collect();
        assert_eq!(used, granted);
    }

    /// Deploys what never gets ready, and waits until its pods are there and the leader knows it.
    async fn is_stuck(&self) -> String {
        self.push_deployment(STUCK).await;
        let stuck = async || {
            let status = self.deployment().await["status"].clone();
            // One more than is asked for, and one of the old ones gone.
            (status["updatedReplicas"] == 2 && status["replicas"] == 5).then_some(())
        };
        until(stuck, LIMIT).await.expect("its pods are there");
        self.deployment_is_known().await
    }

    pub(crate) async fn push_deployment(&self, image: &str) {
        let pod = json!({ "containers": containers(image) });
        self.edit_deployment(&json!({ "spec": { "template": { "spec": pod } } }))
            .await;
    }

    pub(crate) async fn edit_deployment(&self, patch: &Value) {
        let path = self.deployment_path();
        self.plane.admin.patch(&path, patch).await.unwrap();
    }

    /// Waits until the controller has replaced all pods.
    pub(crate) async fn is_complete(&self) {
        let complete = async || {
            let deployment = self.plane.admin.get(&self.deployment_path()).await?;
            let status = &deployment["status"];
            let observed = status["observedGeneration"] == deployment["metadata"]["generation"];
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            (observed && counts.iter().all(|it| status[it] == 4)).then_some(())
        };
        let complete = until(complete, LIMIT).await;
        assert!(complete.is_some(), "{:#}", self.deployment().await);
    }

    /// Waits until the leader knows the live release, and once it is complete also as stable; its hash.
    pub(crate) async fn deployment_is_known(&self) -> String {
        let hash = self.template_hash().await;
        let known = async || {
            let memory = self.memory().await?["status"].clone();
            let complete = self.deployment().await["status"]["updatedReplicas"] == 4;
            let newest = memory["history"].as_array()?.last()?["hash"].clone();
            let stable = !complete || newest == hash.as_str();
            (memory["live"]["hash"] == hash.as_str() && stable).then_some(())
        };
        until(known, LIMIT).await.expect("the leader knows it");
        hash
    }

    /// The hash of the replica set that has the image of the template.
    pub(crate) async fn template_hash(&self) -> String {
        let image = "/spec/template/spec/containers/0/image";
        let found = async || {
            let wanted = self.deployment().await.pointer(image)?.clone();
            let sets = self.replica_sets().await;
            let set = sets.iter().find(|it| it.pointer(image) == Some(&wanted))?;
            let hash = set["metadata"]["labels"]["pod-template-hash"].as_str()?;
            Some(hash.to_owned())
        };
        until(found, LIMIT).await.expect("a replica set")
    }

    pub(crate) async fn replica_sets(&self) -> Vec<Value> {
        let namespace = &self.namespaces.release;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
        let list = self.plane.admin.get(&path).await.expect("a list");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn deployment(&self) -> Value {
        let path = self.deployment_path();
        self.plane.admin.get(&path).await.expect("a deployment")
    }

    fn deployment_path(&self) -> String {
        let namespace = &self.namespaces.release;
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}")
    }
}
