//! Two plain Deployments behind a Service: what somebody switched to is pulled back by switching again.

use std::collections::BTreeSet;
use std::fs;

use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use super::doctor::{is, typed};
use crate::plane::audit::Audited;
use crate::scene::release::{BAD, GOOD};
use crate::scene::{LIMIT, NAME, Scene, now};
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The policy of a team that has no Argo Rollouts.
const POLICY: &str = r##"
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

/// Both colours have pods: one write, and the one that was left keeps its pods.
pub(crate) async fn switched_back() {
    let mut scene = Scene::start("colours, switched back").await;
    let (ripcord, bad) = scene.bad_green().await;
    let work = async {
        let posted = scene.alert(&ripcord).await;
        let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await;
        (posted, rollback)
    };
    let (fewest, (posted, rollback)) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 4, "{fewest} ready endpoints");
    scene.is_on_blue(&rollback).await;
    scene.times(posted, &rollback);
    assert_eq!(scene.parts(), ["services"]);
    assert_eq!(scene.colour("green").await["spec"]["replicas"], 4);
    scene
        .tells_all(&["Service options-api-pinn-fixes selects r1"])
        .await;
    // An alert that comes again is no reason to do anything.
    scene.alert(&ripcord).await;
    assert_eq!(scene.parts(), ["services"]);
}

/// The destination has no pods: it gets as many as serve now, and they are ready before the Service leads there.
pub(crate) async fn brought_up() {
    let mut scene = Scene::start("colours, brought up").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    let work = async {
        scene.alert(&ripcord).await;
        scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await
    };
    let (fewest, rollback) = scene.fewest_endpoints(work).await;
    assert!(fewest >= 4, "{fewest} ready endpoints");
    scene.is_on_blue(&rollback).await;
    assert_eq!(scene.parts(), ["deployments/scale", "services"]);
    let scaled = &rollback["status"]["run"]["steps"][0]["scaled"];
    let blue = format!("{NAME}-blue");
    assert_eq!(*scaled, json!({ "deployment": blue, "from": 0, "to": 4 }));
}

/// Where the procedure says so, what was left is scaled down at the end. All rights that are shipped were used, and no other.
pub(crate) async fn scaled_down() {
    let mut scene = Scene::start("colours, scaled down").await;
    let (_, steps) = POLICY.split_once("      - revert: {}\n").unwrap();
    let more = "      - switch-service: { within: 1m }\n".to_owned()
        + steps.trim_end()
        + "\n      - scale: { replicas: 0 }\n      - gone: {}\n";
    scene.says(&POLICY.replace(&("      - revert: {}\n".to_owned() + steps), &more));
    let (ripcord, bad) = scene.bad_green().await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Succeeded").await;
    scene.is_on_blue(&rollback).await;
    assert_eq!(scene.parts(), ["services", "deployments/scale"]);
    let left = scene.colour("green").await;
    assert_eq!(left["spec"]["replicas"], 0);
    let scaled = &rollback["status"]["run"]["steps"][2]["scaled"];
    assert_eq!((&scaled["from"], &scaled["to"]), (&json!(4), &json!(0)));
    scene.uses_the_rights_that_are_granted();
}

/// Nothing is switched to what never gets ready, and people are told.
pub(crate) async fn never_ready() {
    let mut scene = Scene::start("colours, never ready").await;
    scene.says(&POLICY.replace("- revert: {}", "- switch-service: { within: 5s }"));
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    // No further pod is let in.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": { "name": "full", "namespace": scene.namespaces.release },
        "spec": { "hard": { "pods": "4" } },
    });
    scene.plane.admin.create(&quota).await.unwrap();
    let namespace = &scene.namespaces.release;
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas/full");
    let counted = async || {
        let used = scene.plane.admin.get(&path).await?["status"]["used"].clone();
        (used["pods"] == "4").then_some(())
    };
    until(counted, LIMIT).await.expect("the quota holds");
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Failed").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "step_timeout", "{rollback:#}");
    assert_eq!(scene.selects().await, "green");
    assert_eq!(scene.parts(), ["deployments/scale"]);
    scene.tells_all(&["0 of 4 pods of", "still selects"]).await;
}

/// A person switches back and away again in the middle of ours: theirs is not fought over.
pub(crate) async fn person_switches() {
    let mut scene = Scene::start("colours, a person switches").await;
    scene.good = "demo:v1-readyafter5s";
    let (ripcord, bad) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    scene.alert(&ripcord).await;
    let name = format!("{NAME}-r1-{bad}");
    let waits = async || {
        let rollback = scene.rollback(&name).await?;
        let observed = rollback.pointer("/status/run/steps/0/observed/reason")?;
        (observed == "pods_starting").then_some(())
    };
    until(waits, LIMIT).await.expect("it waits for the pods");
    scene.deploy_colour("red", GOOD).await;
    scene.switch("red").await;
    let rollback = scene.ended(&name, "Superseded").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "new_release", "{rollback:#}");
    assert_eq!(scene.selects().await, "red");
    assert_eq!(scene.parts(), ["deployments/scale"]);
}

/// The right to change the Service is gone: nothing is touched.
pub(crate) async fn right_is_missing() {
    let mut scene = Scene::start("colours, a right is missing").await;
    let (ripcord, bad) = scene.bad_green().await;
    let namespace = &scene.namespaces.release;
    let roles = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles");
    let path = format!("{roles}/ripcord-services");
    let mut role = scene.plane.admin.get(&path).await.unwrap();
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["services"]) {
            rule["verbs"] = json!(["get", "list", "watch"]);
        }
    }
    let rules = json!({ "rules": role["rules"] });
    scene.plane.admin.patch(&path, &rules).await.unwrap();
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Declined").await;
    let reason = &rollback["status"]["reason"];
    assert_eq!(reason["reason"], "permission_missing", "{rollback:#}");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
    scene.is_put_right().await;
    let said = reason["said"].as_str().unwrap();
    assert!(said.contains("patch services in"), "{said}");
}

/// A Rollout leads the Service: that is the controller's.
pub(crate) async fn of_a_rollout() {
    let mut scene = Scene::start("colours, of a Rollout").await;
    let (ripcord, _) = scene.bad_green().await;
    let managed = json!({ "argo-rollouts.argoproj.io/managed-by-rollouts": "shop" });
    scene
        .edit_service(&json!({ "metadata": { "annotations": managed } }))
        .await;
    let declined = scene.is_told_of("service_of_rollout", &ripcord).await;
    scene.is_let_be(&declined, "service_of_rollout");
}

/// Argo CD owns the Service and would switch it back.
pub(crate) async fn of_argo_cd() {
    let mut scene = Scene::start("colours, of Argo CD").await;
    let (ripcord, bad) = scene.bad_green().await;
    let id = format!("shop:/Service:{}/{NAME}", scene.namespaces.release);
    let tracked = json!({ "argocd.argoproj.io/tracking-id": id });
    scene
        .edit_service(&json!({ "metadata": { "annotations": tracked } }))
        .await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "owned_elsewhere");
}

/// `doctor` and `drill` see what would be done, and change nothing.
pub(crate) async fn looked_at() {
    let mut scene = Scene::start("colours, looked at").await;
    let (_ripcord, _) = scene.bad_green().await;
    scene.scale("blue", 0).await;
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let words = ["drill", "--outside", "--target", "options-api"];
    let (report, code) = typed(&scene, &admin, &words).await;
    assert_eq!(code, Some(0), "{report:#}");
    let rights = format!("rights in {} for services", scene.namespaces.release);
    is(&report, "the service", &rights, "ok");
    is(&report, "target options-api", "workload", "ok");
    let sections = report["sections"].as_array().unwrap();
    let drill = sections.last().unwrap()["checks"].as_array().unwrap();
    let tried: Vec<_> = drill
        .iter()
        .filter_map(|it| it["found"].as_str())
        .filter(|it| it.ends_with("the API server would take it"))
        .collect();
    assert_eq!(tried.len(), 2, "{report:#}");
    assert!(
        tried[0].contains("-blue ask for 4 pods instead of 0"),
        "{tried:?}"
    );
    assert!(
        tried[1].contains("let the Service select colour=blue"),
        "{tried:?}"
    );
    assert_eq!(scene.selects().await, "green");
    assert!(scene.mutations().is_empty(), "{:#?}", scene.mutations());
}

impl Scene {
    /// The policy, with the names of this scenario.
    fn says(&mut self, policy: &str) {
        let policy = policy.replace("NAMESPACE", &self.namespaces.release);
        self.policy = policy.replace("SERVICE", NAME);
    }

    /// A blue release that is known as good, and a bad green one that somebody has switched to; the hash of that.
    async fn bad_green(&mut self) -> (Replica, String) {
        if !self.policy.contains("-green]") {
            self.says(POLICY);
        }
        for right in [
            include_str!("../../../deploy/rbac/service-targets/role.yaml"),
            include_str!("../../../deploy/rbac/service-targets/role-binding.yaml"),
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
    async fn deploy_colour(&self, colour: &str, image: &str) {
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

    async fn has_pods(&self, colour: &str, count: i64) {
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
    async fn is_known_as_good(&self, colour: &str) -> String {
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
    async fn switch(&self, colour: &str) {
        self.edit_service(&json!({ "spec": { "selector": { "colour": colour } } }))
            .await;
    }

    async fn edit_service(&self, patch: &Value) {
        let path = self.service_path();
        self.plane.admin.patch(&path, patch).await.unwrap();
    }

    /// Lets a colour ask for so many pods, and waits until it has them.
    async fn scale(&self, colour: &str, replicas: i64) {
        let patch = json!({ "spec": { "replicas": replicas } });
        let path = self.colour_path(colour);
        self.plane.admin.patch(&path, &patch).await.unwrap();
        self.has_pods(colour, replicas).await;
    }

    /// The good colour is selected by the one value that differs, and its pods take all traffic.
    async fn is_on_blue(&self, rollback: &Value) {
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
    async fn is_told_of(&self, reason: &str, ripcord: &Replica) -> Value {
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
    fn parts(&self) -> Vec<String> {
        let part = |it: Audited| match it.subresource.as_str() {
            "" => it.resource,
            sub => format!("{}/{sub}", it.resource),
        };
        self.mutations().into_iter().map(part).collect()
    }

    /// Waits until Slack was told all of this.
    async fn tells_all(&self, said: &[&str]) {
        let told = async || {
            let messages = self.slack.messages();
            let text = format!("{messages:?}");
            said.iter().all(|it| text.contains(it)).then_some(())
        };
        let told = until(told, LIMIT).await;
        assert!(told.is_some(), "{said:?}: {:#?}", self.slack.messages());
    }

    /// All rights on Services and Deployments that are shipped were used, and no other.
    fn uses_the_rights_that_are_granted(&self) {
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
        let shipped = include_str!("../../../deploy/rbac/service-targets/role.yaml");
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

    async fn selects(&self) -> String {
        let service = self.plane.admin.get(&self.service_path()).await.unwrap();
        let colour = service["spec"]["selector"]["colour"].as_str();
        colour.unwrap_or_default().to_owned()
    }

    async fn colour(&self, colour: &str) -> Value {
        let path = self.colour_path(colour);
        self.plane.admin.get(&path).await.expect("a deployment")
    }

    fn colour_path(&self, colour: &str) -> String {
        let namespace = &self.namespaces.release;
        format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}-{colour}")
    }

    fn service_path(&self) -> String {
        let namespace = &self.namespaces.release;
        format!("/api/v1/namespaces/{namespace}/services/{NAME}")
    }
}
