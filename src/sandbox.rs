//! A small simulated Kubernetes inside the process: an HTTP server that speaks the part of the Kubernetes API that Ripcord
//! uses, a miniature canary controller, and a demo application that answers on loopback addresses.
//!
//! For `ripcord demo` and for tests. It is never evidence about Argo Rollouts: where the two differ, the sandbox is wrong.
//! Only the basic canary is simulated. Objects are pruned and get defaults but are not validated, what has lost its owner
//! stays, server-side apply and strategic merge patches are refused, and nobody has to log in.

mod app;
mod behaviour;
mod driver;
mod kind;
mod object;
mod refusal;
mod rollout;
mod router;
mod store;
mod watcher;
mod workload;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::driver::Shared;
use self::store::{Key, Part};

pub use self::behaviour::Behaviour;
pub use self::refusal::Refusal;
pub use self::router::Request;
pub use self::store::Store;

/// A running sandbox. It ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// Starts the API server on a free port, the controllers and the demo application. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where it cannot listen: whoever has the demo application's port on every address leaves none of them for the pods.
    pub async fn start() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = socket.local_addr()?.port();
        app::probe(workload::address(port, 254)).await?;
        let shared = Arc::new(Shared::new(port));
        let mut tasks = JoinSet::new();
        tasks.spawn(app::serve(socket, router::router(shared.clone())));
        tasks.spawn(app::run(shared.clone()));
        tasks.spawn(driver::run(shared.clone()));
        Ok(Self { shared, tasks })
    }

    /// Where the API server listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.port)
    }

    /// A kubeconfig for this API server, as JSON, which is YAML: for kube, kubectl and other processes.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let context = json!({ "cluster": "sandbox", "user": "sandbox", "namespace": "default" });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
            "clusters": [{ "name": "sandbox", "cluster": { "server": self.url() } }],
            "users": [{ "name": "sandbox", "user": {} }],
            "contexts": [{ "name": "sandbox", "context": context }],
        });
        kubeconfig.to_string()
    }

    /// Where a Service's clients connect, once the Service has an address.
    #[must_use]
    pub fn front(&self, namespace: &str, service: &str) -> Option<SocketAddr> {
        app::address(&self.object("services", namespace, service)?)
    }

    /// The latest requests to the API server, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.shared.with(|state| state.requests.clone());
        requests.into()
    }

    /// From now on this is forbidden: access reviews say so, and the call is answered 403.
    pub fn deny(&self, verb: &str, group: &str, resource: &str, subresource: &str) {
        let denied = [verb, group, resource, subresource].map(str::to_owned);
        self.shared.with(|state| state.denied.push(denied));
    }

    /// The controller overwrites the next `count` status patches that ask for an abort or a full promotion, after
    /// their clients were told 200.
    pub fn lose_status_requests(&self, count: u32) {
        self.shared.with(|state| state.to_lose = count);
    }

    /// Stops the Rollouts controller; pods and endpoints go on.
    pub fn pause_controller(&self) {
        self.shared.with(|state| state.paused = true);
    }

    /// Lets the Rollouts controller go on.
    pub fn resume_controller(&self) {
        self.shared.with(|state| state.paused = false);
    }

    /// One object, by its plural without the group; the namespace is empty for objects of the whole cluster.
    #[must_use]
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = |store: &Store| store.object(plural, namespace, name).cloned();
        self.shared.with(|state| object(&state.store))
    }

    /// All objects with this plural.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let objects = |store: &Store| store.objects(plural).cloned().collect();
        self.shared.with(|state| objects(&state.store))
    }

    /// Creates an object, or replaces its main part, as an API client would.
    pub fn apply(&self, object: Value) -> Result<Value, Refusal> {
        self.shared.with(|state| {
            let kind = state.store.kinds().find(|kind| kind.is_of(&object));
            let kind = kind.ok_or_else(|| refusal::not_found("the kind"))?;
            let key = Key::of(&kind.plural, &object);
            if state.store.get(&key).is_some() {
                return state.store.update(&key, Part::Main, object);
            }
            state.store.create(&key, object)
        })
    }

    /// Changes the image of a Rollout's first container, as a deployment does.
    pub fn deploy(&self, namespace: &str, name: &str, image: &str) -> Result<Value, Refusal> {
        let key = Key::new("rollouts", namespace, name);
        self.shared.with(|state| {
            let mut object = state.store.find(&key)?;
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            state.store.update(&key, Part::Main, object)
        })
    }

    /// Waits until `what` holds, looking again at each change. False if it still does not after `limit`.
    pub async fn wait(&self, what: impl Fn(&Store) -> bool, limit: Duration) -> bool {
        let mut changed = self.shared.changes();
        let holds = async {
            while !self.shared.with(|state| what(&state.store)) {
                // The sender lives as long as the sandbox.
                drop(changed.changed().await);
            }
        };
        tokio::time::timeout(limit, holds).await.is_ok()
    }

    /// Ends everything and waits until the controllers and the application have ended.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
