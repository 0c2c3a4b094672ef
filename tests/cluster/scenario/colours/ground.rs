//! A release that is two Deployments and a Service: how it is made, switched and judged.

use std::collections::BTreeSet;

use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use crate::plane::audit::Audited;
use crate::scene::release::BAD;
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The policy of a team that has no Argo Rollouts.
pub(crate) const POLICY: &str = r##"
targets:
  options-api:
    workload: { service: SERVICE, namespace: NAMESPACE, deployments: [SERVICE-blue, SERVICE-green] }
    health: { path: /health/pinn, port: 8000, pointer: /overall_status, equals: healthy }
    channel: "#pinn-deployment"
    min_soak: 1s
triggers:
  - name: latency
    match: ['alertname="PinnLatencyP95High"', 'namespace="NAMESPACE"']
    target: options-api
    severity: P0
    procedure: switch-back
    mode: act
procedures:
  switch-back:
    steps:
      - revert: {}
      - healthy: { consecutive: 3, every: 500ms, within: 2m }
"##;

impl Scene {
    /// The policy, with the names of this scenario.
    pub(crate) fn says(&mut self, policy: &str) {
        let policy = policy.replace("NAMESPACE", &self.namespaces.release);
        self.policy = policy.replace("SERVICE", NAME);
    }

    /// A blue release that is known as good, and a bad green one that somebody has switched to; the hash of that.
    pub(crate) async fn bad_green(&mut self) -> (Replica, String) {
        if !self.policy.contains("-green]") {
            self.says(POLICY);
        }
        for right in [
            include_str!("../../../../deploy/rbac/service-targets/role.yaml"),
            include_str!("../../../../deploy/rbac/service-targets/role-binding.yaml"),
        ] {
            self.grant(right).await;
        }
        let mut service = fixture::service(&self.namespaces.release, NAME, 80);
        service["spec"]["selector"] = json!({ "app": NAME, "colour": "blue" });
        let service = self.plane.admin.create(&service).await.unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        self.deploy_colour("blue", self.good).await;
        let users = Client::start(format!("http://{address}/price").parse().unwrap(), 20);
        self.users = Some(users);
        self.users_are_served().await;
        let ripcord = self.ripcord().await;
        self.is_known_as_good("blue").await;
        self.deploy_colour("green", BAD).await;
        self.switch("green").await;
        let hash = self.is_known_as_good("green").await;
        self.users_are_hurt().await;
        (ripcord, hash)
    }

    /// A complete Deployment of this colour.
    pub(crate) async fn deploy_colour(&self, colour: &str, image: &str) {
        let name = format!("{NAME}-{colour}");
        let mut object = fixture::rollout(&self.namespaces.release, &name, image, &json!([]));
        let labels = json!({ "app": NAME, "colour": colour });
        let kind =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "spec": { "strategy": null } });
        json_patch::merge(&mut object, &kind);
        object["spec"]["selector"]["matchLabels"] = labels.clone();
        object["spec"]["template"]["metadata"]["labels"] = labels;
        self.plane.admin.create(&object).await.unwrap();
        self.has_pods(colour, 4).await;
    }

    pub(crate) async fn has_pods(&self, colour: &str, count: i64) {
        let complete = async || {
            let deployment = self.colour(colour).await;
            let status = &deployment["status"];
            let observed = status["observedGeneration"] == deployment["metadata"]["generation"];
            let all = ["replicas", "availableReplicas"];
            let counted = all
                .iter()
                .all(|it| status[it].as_i64().unwrap_or(0) == count);
            (observed && counted).then_some(())
        };
        until(complete, LIMIT).await.expect("its pods are there");
    }

    /// Waits until the leader has known the release of a colour as live and good for as long as the policy asks; its hash.
    pub(crate) async fn is_known_as_good(&self, colour: &str) -> String {
        let image = self.colour(colour).await;
        let image = image
            .pointer("/spec/template/spec/containers/0/image")
            .cloned();
        let labels = json!(colour);
        let sets = self.replica_sets().await;
        let set = sets.iter().find(|it| {
            it.pointer("/spec/template/metadata/labels/colour") == Some(&labels)
                && it.pointer("/spec/template/spec/containers/0/image") == image.as_ref()
        });
        let hash = &set.expect("a replica set")["metadata"]["labels"]["pod-template-hash"];
        let hash = hash.as_str().unwrap().to_owned();
        let known = async || {
            let memory = self.memory().await?["status"].clone();
            let newest = memory["history"].as_array()?.last()?.clone();
            let since: jiff::Timestamp = newest["since"].as_str()?.parse().ok()?;
            let long = now().duration_since(since).as_secs() >= 1;
            let live = memory["live"]["hash"] == hash.as_str();
            (live && newest["hash"] == hash.as_str() && long).then_some(())
        };
        until(known, LIMIT).await.expect("the leader knows it");
        hash
    }

    /// What a person types to switch.
    pub(crate) async fn switch(&self, colour: &str) {
        self.edit_service(&json!({ "spec": { "selector": { "colour": colour } } }))
            .await;
    }

    pub(crate) async fn edit_service(&self, patch: &Value) {
        let path = self.service_path();
        self.plane.admin.patch(&path, patch).await.unwrap();
    }

    /// Lets a colour ask for so many pods, and waits until it has them.
    pub(crate) async fn scale(&self, colour: &str, replicas: i64) {
        let patch = json!({ "spec": { "replicas": replicas } });
        let path = self.colour_path(colour);
        self.plane.admin.patch(&path, &patch).await.unwrap();
        self.has_pods(colour, replicas).await;
    }

    /// The good colour is selected by the one value that differs, and its pods take all traffic.
    pub(crate) async fn is_on_blue(&self, rollback: &Value) {
        self.users_are_served().await;
        let service = self.plane.admin.get(&self.service_path()).await.unwrap();
        let selector = json!({ "app": NAME, "colour": "blue" });
        assert_eq!(service["spec"]["selector"], selector);
        let uid = &rollback["metadata"]["uid"];
        assert_eq!(
            service["metadata"]["annotations"]["ripcord.dev/operation"],
            *uid
        );
        assert_eq!(self.served_by().await, [self.good; 4]);
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }

    /// Sends alerts until one is declined for this reason, and returns its rollback.
    pub(crate) async fn is_told_of(&self, reason: &str, ripcord: &Replica) -> Value {
        let declined = async || {
            let (_, answer) = self.answer(ripcord, self.notification(now())).await;
            let name = answer
                .pointer("/decisions/0/rollback")?
                .as_str()?
                .to_owned();
            let (_, name) = name.split_once('/')?;
            let rollback = self.rollback(name).await?;
            (rollback["status"]["reason"]["reason"] == reason).then(|| name.to_owned())
        };
        let name = until(declined, LIMIT).await.expect("it is declined");
        self.ended(&name, "Declined").await
    }

    /// What Ripcord changed, in this order.
    pub(crate) fn parts(&self) -> Vec<String> {
        let part = |it: Audited| match it.subresource.as_str() {
            "" => it.resource,
            sub => format!("{}/{sub}", it.resource),
        };
        self.mutations().into_iter().map(part).collect()
    }

    /// All rights on Services and Deployments that are shipped were used, and no other.
    pub(crate) fn uses_the_rights_that_are_granted(&self) {
        let requests = self.requests();
        let used: BTreeSet<_> = requests
            .iter()
            .map(|it| match it.subresource.as_str() {
                "" => (it.resource.clone(), it.verb.clone()),
                sub => (format!("{}/{sub}", it.resource), it.verb.clone()),
            })
            .filter(|(resource, _)| {
                let of = ["services", "deployments", "replicasets", "rollouts"];
                of.iter().any(|it| resource.starts_with(it))
            })
            .collect();
        let shipped = include_str!("../../../../deploy/rbac/service-targets/role.yaml");
        let role: Value = serde_saphyr::from_str(shipped).unwrap();
        let words = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut granted = BTreeSet::from([("replicasets".to_owned(), "list".to_owned())]);
        for rule in role["rules"].as_array().unwrap() {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]).into_iter();
                granted.extend(verbs.map(|verb| (resource.clone(), verb)));
            }
        }
        assert_eq!(used, granted);
    }

    pub(crate) async fn selects(&self) -> String {
        let service = self.plane.admin.get(&self.service_path()).await.unwrap();
        let colour = service["spec"]["selector"]["colour"].as_str();
        colour.unwrap_or_default().to_owned()
    }

    pub(crate) async fn colour(&self, colour: &str) -> Value {
        let path = self.colour_path(colour);
        self.plane.admin.get(&path).await.expect("a deployment")
    }

    pub(crate) fn colour_path(&self, colour: &str) -> String {
        let namespace = &self.namespaces.release;
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-{colour}")
    }

    pub(crate) fn service_path(&self) -> String {
        let namespace = &self.namespaces.release;
        format!("/api/v1/namespaces/{namespace}/services/{NAME}")
    }
}
