//! The sandbox through the real Kubernetes client: what the API answers, and what the canary controller does.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::api::{DeleteParams, GroupVersionKind};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Config, Error};
use ripcord::sandbox::{self, Options, Sandbox, View, fixture};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const NS: &str = "shop";
const APP: &str = "api";
const GOOD: &str = "demo:v1";
const BAD: &str = "demo:v2-half500";

struct Cluster {
    sandbox: Sandbox,
    client: Client,
    rollouts: Api<DynamicObject>,
}

impl Cluster {
    async fn empty() -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let mut config = Config::new(sandbox.url().parse().unwrap());
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let rollouts = api(&client, "argoproj.io", "v1alpha1", "Rollout");
        Self {
            sandbox,
            client,
            rollouts,
        }
    }

    /// The demo application, deployed and healthy.
    async fn deployed() -> Self {
        let cluster = Self::empty().await;
        let steps =
            json!([{ "setWeight": 25 }, { "pause": {} }, { "setWeight": 75 }, { "pause": {} }]);
        let rollout = fixture::rollout(NS, APP, GOOD, &steps);
        cluster
            .sandbox
            .apply(fixture::service(NS, APP, 80))
            .unwrap();
        cluster.sandbox.apply(rollout).unwrap();
        cluster.reaches("Healthy").await;
        cluster
    }

    /// The bad release, stopped at its first pause.
    async fn paused() -> Self {
        let cluster = Self::deployed().await;
        cluster.sandbox.deploy(NS, APP, BAD).unwrap();
        cluster.reaches("Paused").await;
        assert_eq!(cluster.pods(BAD), 1);
        cluster
    }

    /// The bad release, everywhere.
    async fn promoted() -> Self {
        let cluster = Self::paused().await;
        cluster.ask(json!({ "promoteFull": true })).await;
        cluster.reaches("Healthy").await;
        assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (0, 4));
        cluster
    }

    /// A merge patch of the status; what the server said.
    async fn ask(&self, status: Value) -> Value {
        let patch = Patch::Merge(json!({ "status": status }));
        let answer = self
            .rollouts
            .patch_status(APP, &PatchParams::default(), &patch)
            .await;
        answer.unwrap().data["status"].clone()
    }

    fn status(&self) -> Value {
        self.sandbox.object("rollouts", NS, APP).unwrap()["status"].clone()
    }

    fn pods(&self, image: &str) -> usize {
        self.sandbox
            .objects("pods")
            .iter()
            .filter(|pod| runs(pod, image))
            .count()
    }

    async fn holds(&self, what: impl Fn(&View<'_>) -> bool) {
        assert!(self.sandbox.wait(what, LIMIT).await, "{:#}", self.status());
    }

    /// Waits for a phase that speaks of the present spec.
    async fn reaches(&self, phase: &str) {
        self.holds(|view| {
            let rollout = view.object("rollouts", NS, APP).unwrap();
            rollout["status"]["phase"] == phase && observed(rollout)
        })
        .await;
    }

    /// Puts the template of the good release back, as a rollback does.
    fn restore(&self) {
        self.sandbox.deploy(NS, APP, GOOD).unwrap();
    }
}

fn api(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), NS, &resource)
}

fn runs(pod: &Value, image: &str) -> bool {
    pod["spec"]["containers"][0]["image"] == image && pod["metadata"]["deletionTimestamp"].is_null()
}

fn observed(rollout: &Value) -> bool {
    rollout["status"]["observedGeneration"] == rollout["metadata"]["generation"].to_string()
}

fn code(error: Error) -> (u16, String) {
    match error {
        Error::Api(status) => (status.code, status.reason),
        other => panic!("{other}"),
    }
}

fn config_map(name: &str, label: &str) -> DynamicObject {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" },
        "metadata": { "name": name, "namespace": NS, "labels": { "color": label } },
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn objects_are_created_listed_and_deleted() {
    let cluster = Cluster::empty().await;
    let maps = api(&cluster.client, "", "v1", "ConfigMap");
    let made = maps
        .create(&PostParams::default(), &config_map("one", "red"))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.resource_version.is_some());
    maps.create(&PostParams::default(), &config_map("two", "blue"))
        .await
        .unwrap();
    let again = maps
        .create(&PostParams::default(), &config_map("one", "red"))
        .await
        .unwrap_err();
    assert_eq!(code(again), (409, "AlreadyExists".to_owned()));

    let red = maps
        .list(&ListParams::default().labels("color=red"))
        .await
        .unwrap();
    assert_eq!(red.items.len(), 1);
    let named = maps
        .list(&ListParams::default().fields("metadata.name=two"))
        .await
        .unwrap();
    assert_eq!(named.items[0].metadata.name.as_deref(), Some("two"));
    let everywhere: Api<DynamicObject> = Api::all_with(
        cluster.client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap")),
    );
    assert_eq!(
        everywhere
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );

    let dry = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    maps.delete("one", &dry).await.unwrap();
    assert!(
        maps.delete("one", &DeleteParams::default())
            .await
            .unwrap()
            .is_right()
    );
    assert_eq!(maps.get_opt("one").await.unwrap(), None);
}

#[tokio::test]
async fn a_stale_replace_and_a_stale_patch_are_conflicts() {
    let cluster = Cluster::empty().await;
    let maps = api(&cluster.client, "", "v1", "ConfigMap");
    let first = maps
        .create(&PostParams::default(), &config_map("one", "red"))
        .await
        .unwrap();
    let mut second = first.clone();
    second.data["data"]["a"] = json!("c");
    maps.replace("one", &PostParams::default(), &second)
        .await
        .unwrap();
    let stale = maps
        .replace("one", &PostParams::default(), &first)
        .await
        .unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".to_owned()));
    let version = first.metadata.resource_version;
    let patch =
        Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "data": { "a": "d" } }));
    let stale = maps
        .patch("one", &PatchParams::default(), &patch)
        .await
        .unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".to_owned()));
    assert_eq!(maps.get("one").await.unwrap().data["data"]["a"], "c");
}

#[tokio::test]
async fn a_failed_test_of_a_json_patch_is_422() {
    let cluster = Cluster::deployed().await;
    let patch = |test: Value| {
        let replace = json!({ "op": "replace", "path": "/spec/replicas", "value": 2 });
        let patch: json_patch::Patch = serde_json::from_value(json!([test, replace])).unwrap();
        Patch::Json::<()>(patch)
    };
    let wrong = patch(json!({ "op": "test", "path": "/metadata/uid", "value": "nobody" }));
    let refused = cluster
        .rollouts
        .patch(APP, &PatchParams::default(), &wrong)
        .await
        .unwrap_err();
    assert_eq!(code(refused), (422, "Invalid".to_owned()));
    let absent = patch(json!({ "op": "test", "path": "/status/none/there", "value": 1 }));
    let refused = cluster
        .rollouts
        .patch(APP, &PatchParams::default(), &absent)
        .await
        .unwrap_err();
    assert_eq!(code(refused).0, 422);

    let uid = cluster.rollouts.get(APP).await.unwrap().metadata.uid;
    let right = patch(json!({ "op": "test", "path": "/metadata/uid", "value": uid }));
    let dry = cluster
        .rollouts
        .patch(APP, &PatchParams::default().dry_run(), &right)
        .await
        .unwrap();
    assert_eq!(dry.data["spec"]["replicas"], 2);
    assert_eq!(
        cluster.sandbox.object("rollouts", NS, APP).unwrap()["spec"]["replicas"],
        4
    );
    cluster
        .rollouts
        .patch(APP, &PatchParams::default(), &right)
        .await
        .unwrap();
    cluster
        .holds(|view| view.objects("pods").count() == 2)
        .await;
    let apply = Patch::Apply(json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout" }));
    let refused = cluster
        .rollouts
        .patch(APP, &PatchParams::apply("me"), &apply)
        .await
        .unwrap_err();
    assert_eq!(code(refused).0, 415);
}

#[tokio::test]
async fn status_is_written_through_its_own_path_only() {
    let cluster = Cluster::paused().await;
    let generation = cluster.rollouts.get(APP).await.unwrap().metadata.generation;
    let patch = Patch::Merge(json!({ "status": { "abort": true } }));
    let answer = cluster
        .rollouts
        .patch(APP, &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(answer.data["status"]["abort"], Value::Null);
    let patch = Patch::Merge(json!({ "spec": { "replicas": 9 }, "status": { "abort": true } }));
    let answer = cluster
        .rollouts
        .patch_status(APP, &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        (
            &answer.data["status"]["abort"],
            &answer.data["spec"]["replicas"]
        ),
        (&json!(true), &json!(4))
    );
    assert_eq!(answer.metadata.generation, generation);
}

#[tokio::test]
async fn a_reflector_follows_the_objects() {
    let cluster = Cluster::empty().await;
    let maps = api(&cluster.client, "", "v1", "ConfigMap");
    maps.create(&PostParams::default(), &config_map("before", "red"))
        .await
        .unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let writer = reflector::store::Writer::new(resource);
    let store = writer.as_reader();
    let only = watcher::Config::default().labels("color=red");
    let stream = watcher(maps.clone(), only)
        .reflect(writer)
        .applied_objects();
    let stream = std::pin::pin!(stream);
    let mut seen = stream.map_ok(|object| object.metadata.name.unwrap_or_default());
    assert_eq!(seen.next().await.unwrap().unwrap(), "before");

    maps.create(&PostParams::default(), &config_map("other", "blue"))
        .await
        .unwrap();
    maps.create(&PostParams::default(), &config_map("after", "red"))
        .await
        .unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), "after");
    assert_eq!(store.state().len(), 2);
    // No longer red: gone for this watcher, so the next thing that it sees is the third object.
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "color": "blue" } } }));
    maps.patch("before", &PatchParams::default(), &patch)
        .await
        .unwrap();
    maps.create(&PostParams::default(), &config_map("third", "red"))
        .await
        .unwrap();
    assert_eq!(seen.next().await.unwrap().unwrap(), "third");
    let names: Vec<String> = store
        .state()
        .iter()
        .filter_map(|map| map.metadata.name.clone())
        .collect();
    assert!(
        names.len() == 2 && !names.contains(&"before".to_owned()),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_watch_from_too_long_ago_is_told_so() {
    let options = Options {
        history: 2,
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let client = Client::try_from(Config::new(sandbox.url().parse().unwrap())).unwrap();
    let maps = api(&client, "", "v1", "ConfigMap");
    for name in ["a", "b", "c", "d"] {
        maps.create(&PostParams::default(), &config_map(name, "red"))
            .await
            .unwrap();
    }
    let stream = maps
        .watch(&kube::api::WatchParams::default(), "1")
        .await
        .unwrap();
    let event = std::pin::pin!(stream).next().await.unwrap().unwrap();
    assert!(
        matches!(&event, kube::api::WatchEvent::Error(status) if status.code == 410),
        "{event:?}"
    );
}

#[tokio::test]
async fn what_is_denied_is_forbidden_and_reviews_say_so() {
    let cluster = Cluster::deployed().await;
    cluster
        .sandbox
        .deny("patch", "argoproj.io", "rollouts", "status");
    let patch = Patch::Merge(json!({ "status": { "abort": true } }));
    let refused = cluster
        .rollouts
        .patch_status(APP, &PatchParams::default(), &patch)
        .await
        .unwrap_err();
    assert_eq!(code(refused), (403, "Forbidden".to_owned()));
    let review = |subresource: &str| {
        let attributes = json!({
            "verb": "patch", "group": "argoproj.io", "resource": "rollouts", "subresource": subresource, "namespace": NS,
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": { "resourceAttributes": attributes },
        });
        let reviews = Api::<k8s_openapi::api::authorization::v1::SelfSubjectAccessReview>::all(
            cluster.client.clone(),
        );
        async move {
            let review = serde_json::from_value(review).unwrap();
            reviews
                .create(&PostParams::default(), &review)
                .await
                .unwrap()
                .status
                .unwrap()
                .allowed
        }
    };
    assert!(!review("status").await);
    assert!(review("").await);
    cluster.sandbox.fail_requests("GET", "/rollouts", 503, 1);
    assert_eq!(code(cluster.rollouts.get(APP).await.unwrap_err()).0, 503);
    assert!(cluster.rollouts.get(APP).await.is_ok());
    let codes: Vec<u16> = cluster
        .sandbox
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(codes, [403, 201, 201, 503, 200]);
}

#[tokio::test]
async fn paused_canary_aborted_goes_back_and_stays_degraded() {
    let cluster = Cluster::paused().await;
    assert_eq!(cluster.ask(json!({ "abort": true })).await["abort"], true);
    cluster
        .holds(|view| {
            view.object("rollouts", NS, APP).unwrap()["status"]["abortedAt"].is_string()
                && view.objects("pods").filter(|pod| runs(pod, GOOD)).count() == 4
                && !view.objects("pods").any(|pod| runs(pod, BAD))
        })
        .await;
    let status = cluster.status();
    assert_eq!(
        (&status["phase"], &status["abort"]),
        (&json!("Degraded"), &json!(true))
    );
    assert_ne!(status["currentPodHash"], status["stableRS"]);
}

#[tokio::test]
async fn paused_canary_restored_is_healthy_at_once() {
    let cluster = Cluster::paused().await;
    cluster.restore();
    cluster.reaches("Healthy").await;
    let status = cluster.status();
    assert_eq!(status["currentPodHash"], status["stableRS"]);
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (4, 0));
    let rollout = cluster.sandbox.object("rollouts", NS, APP).unwrap();
    assert_eq!(
        rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"],
        "3"
    );
}

#[tokio::test]
async fn an_abort_before_the_controller_saw_the_release_is_lost() {
    let cluster = Cluster::deployed().await;
    cluster.sandbox.pause_controller();
    let deployed = cluster.sandbox.deploy(NS, APP, BAD).unwrap();
    assert!(!observed(&deployed));
    assert_eq!(cluster.ask(json!({ "abort": true })).await["abort"], true);
    cluster.sandbox.resume_controller();
    cluster.reaches("Paused").await;
    assert_eq!(cluster.pods(BAD), 1);
    assert!(cluster.status()["abortedAt"].is_null());
}

#[tokio::test]
async fn an_abort_during_a_full_promotion_is_lost_unless_it_withdraws_the_promotion() {
    let cluster = Cluster::paused().await;
    cluster.sandbox.pause_controller();
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.ask(json!({ "abort": true })).await;
    cluster.sandbox.resume_controller();
    cluster.reaches("Healthy").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (0, 4));

    let cluster = Cluster::paused().await;
    cluster.sandbox.pause_controller();
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster
        .ask(json!({ "abort": true, "promoteFull": false }))
        .await;
    cluster.sandbox.resume_controller();
    cluster.reaches("Degraded").await;
    assert!(cluster.status()["abortedAt"].is_string());
}

#[tokio::test]
async fn an_abort_of_a_promoted_release_does_nothing() {
    let cluster = Cluster::promoted().await;
    cluster.ask(json!({ "abort": true })).await;
    cluster
        .holds(|view| view.object("rollouts", NS, APP).unwrap()["status"]["abort"] != true)
        .await;
    let status = cluster.status();
    assert_eq!(
        (&status["phase"], &status["abortedAt"]),
        (&json!("Healthy"), &Value::Null)
    );
    assert_eq!(cluster.pods(BAD), 4);
}

#[tokio::test]
async fn a_restore_of_a_promoted_release_stops_at_the_first_pause_until_it_is_promoted() {
    let cluster = Cluster::promoted().await;
    cluster.restore();
    cluster.reaches("Paused").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (1, 3));
    let status = cluster.status();
    assert_ne!(status["currentPodHash"], status["stableRS"]);
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.reaches("Healthy").await;
    assert_eq!((cluster.pods(GOOD), cluster.pods(BAD)), (4, 0));
    assert_ne!(cluster.status()["promoteFull"], true);
}

#[tokio::test]
async fn a_promotion_can_be_lost_although_the_server_said_yes() {
    let cluster = Cluster::promoted().await;
    cluster.restore();
    cluster.reaches("Paused").await;
    cluster.sandbox.lose_status_requests(1);
    assert_eq!(
        cluster.ask(json!({ "promoteFull": true })).await["promoteFull"],
        true
    );
    cluster
        .holds(|view| view.object("rollouts", NS, APP).unwrap()["status"]["promoteFull"] != true)
        .await;
    cluster.reaches("Paused").await;
    assert_eq!(cluster.pods(BAD), 3);
    cluster.ask(json!({ "promoteFull": true })).await;
    cluster.reaches("Healthy").await;
    assert_eq!(cluster.pods(BAD), 0);
}

#[tokio::test]
async fn clients_feel_the_bad_release_and_its_end() {
    let cluster = Cluster::deployed().await;
    cluster
        .holds(|view| {
            view.objects("endpointslices")
                .any(|slice| slice["endpoints"].as_array().unwrap().len() == 4)
        })
        .await;
    let front = cluster.sandbox.front(NS, APP).unwrap();
    let client = sandbox::Client::start(format!("http://{front}/price").parse().unwrap(), 200);
    let until = async |what: &dyn Fn(&sandbox::Tally) -> bool| {
        let seen = async {
            while !what(&client.tally()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .unwrap_or_else(|_| panic!("{:?}", client.tally()));
    };
    until(&|tally| tally.good >= 50).await;
    assert_eq!(client.tally().bad, 0, "{:?}", client.tally());

    cluster.sandbox.deploy(NS, APP, BAD).unwrap();
    until(&|tally| tally.bad >= 5).await;
    cluster.reaches("Paused").await;
    cluster.restore();
    cluster.reaches("Healthy").await;
    // Healthy is the controller's word; endpoints follow, and requests under way end.
    until(&|tally| tally.recent.iter().all(|good| *good)).await;
    let before = client.tally();
    until(&|tally| tally.good >= before.good + 100).await;
    let after = client.stop().await;
    assert_eq!(after.bad, before.bad);
    assert!(after.first_bad <= after.last_bad && after.last_bad.is_some());
    cluster.sandbox.stop().await;
}
