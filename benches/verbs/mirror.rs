//! What watches tell of a scene: looking on must cost the API server nothing, or it would slow down whoever is measured.
//! (A list is made from the server's own watch cache, which asks etcd at most ten times a second how new it is: whoever lists
//! all the time makes everybody else's lists wait.)

use futures_util::StreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::good::hash_of;
use crate::scene::Scene;

/// The objects of one kind in a scene's namespace, until it is dropped.
pub(crate) struct Mirror {
    store: reflector::Store<DynamicObject>,
    _task: JoinSet<()>,
}

/// All that is looked at while a contender acts.
pub(crate) struct Mirrors {
    rollouts: Mirror,
    pods: Mirror,
    slices: Mirror,
    ingresses: Mirror,
    rollbacks: Mirror,
}

// === impl Mirror ===

impl Mirror {
    /// Follows a kind; it is complete when this returns.
    pub(crate) async fn start(scene: &Scene, group: &str, version: &str, kind: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let client = scene.plane.admin.client();
        let api: Api<DynamicObject> =
            Api::namespaced_with(client, &scene.namespaces.release, &resource);
        let writer = reflector::store::Writer::new(resource);
        let store = writer.as_reader();
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let events = reflector(writer, events);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut events = std::pin::pin!(events);
            while events.next().await.is_some() {}
        });
        store.wait_until_ready().await.expect("it is listed");
        Self { store, _task: task }
    }

    /// The object of that name, as JSON; null if there is none.
    pub(crate) fn get(&self, name: &str) -> Value {
        let all = self.store.state();
        let found = all.iter().find(|it| it.name_any() == name);
        found.map_or(Value::Null, |it| value(it))
    }

    fn all(&self) -> Vec<Value> {
        self.store.state().iter().map(|it| value(it)).collect()
    }
}

// === impl Mirrors ===

impl Mirrors {
    pub(crate) async fn start(scene: &Scene) -> Self {
        let (rollouts, pods, slices, ingresses, rollbacks) = tokio::join!(
            Mirror::start(scene, "argoproj.io", "v1alpha1", "Rollout"),
            Mirror::start(scene, "", "v1", "Pod"),
            Mirror::start(scene, "discovery.k8s.io", "v1", "EndpointSlice"),
            ingresses(scene),
            Mirror::start(scene, "ripcord.dev", "v1alpha1", "Rollback"),
        );
        Self {
            rollouts,
            pods,
            slices,
            ingresses,
            rollbacks,
        }
    }

    pub(crate) fn rollout(&self, name: &str) -> Value {
        self.rollouts.get(name)
    }

    pub(crate) fn ingress(&self, name: &str) -> Value {
        self.ingresses.get(name)
    }

    pub(crate) fn rollback(&self, name: &str) -> Value {
        self.rollbacks.get(name)
    }

    /// Whether a pod of a release runs that has not been told to stop.
    pub(crate) fn runs(&self, hash: &str) -> bool {
        let pods = self.pods.all();
        let mut of_it = pods.iter().filter(|it| hash_of(it) == hash);
        of_it.any(|it| it["metadata"]["deletionTimestamp"].is_null())
    }

    /// How many pods have not been told to stop.
    pub(crate) fn running(&self) -> usize {
        let pods = self.pods.all();
        let runs = |it: &&Value| it["metadata"]["deletionTimestamp"].is_null();
        pods.iter().filter(runs).count()
    }

    /// The pods that are ready endpoints of a Service.
    pub(crate) fn serving(&self, service: &str) -> Vec<Value> {
        let slices = self.slices.all();
        let of_service = |it: &&Value| {
            it.pointer("/metadata/labels/kubernetes.io~1service-name")
                .is_some_and(|name| name == service)
        };
        let endpoints = slices.iter().filter(of_service);
        let endpoints = endpoints.flat_map(|it| it["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
        let pods = ready.filter_map(|it| it["targetRef"]["name"].as_str());
        let pods = pods.map(|name| self.pods.get(name));
        pods.filter(|it| !it.is_null()).collect()
    }
}

/// The Ingresses of a scene.
pub(crate) async fn ingresses(scene: &Scene) -> Mirror {
    Mirror::start(scene, "networking.k8s.io", "v1", "Ingress").await
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object is JSON")
}
