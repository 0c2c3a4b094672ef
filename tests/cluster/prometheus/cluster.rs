//! What kube-state-metrics and the kubelet's cAdvisor would say of a namespace, of what the shipped rules read: neither runs
//! here. The replica sets and the pods are those of the API server. No container has any memory, as no pod is more than an
//! object, so that it is the image's tag that says how much is taken: `greedy` is more than the rules allow.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use ripcord::sandbox::Behaviour;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::discovery;

/// What a container takes, in bytes.
const USUAL: f64 = 1.2e9;
const GREEDY: f64 = 1.9e9;

/// What is known of the namespace.
#[derive(Clone)]
struct Known {
    pods: Store<Pod>,
    sets: Store<ReplicaSet>,
}

/// Looks at the namespace from now on: keeps the file of targets true to it, and says the rest at this address. It ends with
/// the tasks.
pub(super) async fn watch(
    client: Client,
    namespace: &str,
    targets: PathBuf,
) -> (String, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let (pods, seen) = kept(Api::<Pod>::namespaced(client.clone(), namespace));
    let store = pods.clone();
    tasks.spawn(async move {
        let mut seen = std::pin::pin!(seen);
        while seen.next().await.is_some() {
            let all = store.state();
            discovery::write(&targets, all.iter().map(AsRef::as_ref));
        }
    });
    let (sets, seen) = kept(Api::<ReplicaSet>::namespaced(client, namespace));
    tasks.spawn(seen.for_each(async |()| {}));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let page = async |State(known): State<Known>| page(&known);
    let router = Router::new()
        .route("/metrics", get(page))
        .with_state(Known { pods, sets });
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

/// What there is of a kind, as long as somebody waits for the changes.
fn kept<K>(api: Api<K>) -> (Store<K>, impl Stream<Item = ()> + Send)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let seen = reflector(writer, watcher(api, watcher::Config::default()));
    (store, seen.default_backoff().map(drop))
}

/// All series, as Prometheus reads them.
fn page(known: &Known) -> String {
    let mut text = String::new();
    let mut line = |name: &str, labels: &[(&str, &str)], value: f64| {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        writeln!(text, "{name}{{{}}} {value}", labels.join(",")).expect("a string takes all");
    };
    for set in known.sets.state() {
        let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
        let labels = [("namespace", &*namespace), ("replicaset", &*name)];
        let wanted = set.spec.as_ref().and_then(|it| it.replicas).unwrap_or(1);
        let ready = set.status.as_ref().and_then(|it| it.ready_replicas);
        line("kube_replicaset_spec_replicas", &labels, wanted.into());
        let ready = ready.unwrap_or_default();
        line(
            "kube_replicaset_status_ready_replicas",
            &labels,
            ready.into(),
        );
        for owner in set.owner_references() {
            let controls = owner.controller.unwrap_or_default().to_string();
            let [kind, name] = [&*owner.kind, &*owner.name];
            let owner = [
                ("owner_kind", kind),
                ("owner_name", name),
                ("owner_is_controller", &controls),
            ];
            line(
                "kube_replicaset_owner",
                &[&labels[..], &owner].concat(),
                1.0,
            );
        }
    }
    for pod in known.pods.state() {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let labels = [("namespace", &*namespace), ("pod", &*name)];
        if let Some(at) = &pod.metadata.deletion_timestamp {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
            line(
                "kube_pod_deletion_timestamp",
                &labels,
                at.0.as_second() as f64,
            );
        }
        let containers = pod.spec.iter().flat_map(|it| &it.containers);
        for container in containers {
            let image = container.image.as_deref().unwrap_or_default();
            let greedy = Behaviour::of(image).says("greedy");
            let labels = [&labels[..], &[("container", &container.name)]].concat();
            let takes = if greedy { GREEDY } else { USUAL };
            line("container_memory_working_set_bytes", &labels, takes);
        }
    }
    text
}
