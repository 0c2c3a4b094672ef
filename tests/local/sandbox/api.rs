//! The API server, through the real client.

use futures_util::{StreamExt, TryStreamExt};
use kube::Error;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};

use super::*;

fn code(error: Error) -> (u16, String) {
    match error {
        Error::Api(status) => (status.code, status.reason),
        other => (0, other.to_string()),
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
    let cluster = Cluster::empty().await;
    let maps = api(&cluster.client, "", "v1", "ConfigMap");
    for number in 0..=5_000 {
        let map = config_map(&format!("map-{number}"), "red");
        let map = serde_json::to_value(map).unwrap();
        cluster.sandbox.apply(map).unwrap();
    }
    let stream = maps
        .watch(&kube::api::WatchParams::default(), "0")
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
    assert!(cluster.rollouts.get(APP).await.is_ok());
    let codes: Vec<u16> = cluster
        .sandbox
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(codes, [403, 201, 201, 200]);
}

#[tokio::test]
async fn other_programs_connect_with_the_kubeconfig() {
    let cluster = Cluster::deployed().await;
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&cluster.sandbox.kubeconfig()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let rollouts = api(&client, "argoproj.io", "v1alpha1", "Rollout");
    assert!(rollouts.get(APP).await.is_ok());
}
