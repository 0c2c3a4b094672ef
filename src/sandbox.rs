//! A small simulated Kubernetes inside the process: an HTTP server that speaks the part of the Kubernetes API that Ripcord
//! uses, a miniature canary controller, and a demo application that answers on loopback addresses.
//!
//! For `ripcord demo` and for tests. It is never evidence about Argo Rollouts: where the two differ, the sandbox is wrong.
//! Only the basic canary is simulated. Objects are pruned and get defaults but are not validated, what has lost its owner
//! stays, server-side apply and strategic merge patches are refused, and nobody has to log in.

mod app;
mod behaviour;
mod client;
mod driver;
pub mod fixture;
mod kind;
mod object;
mod refusal;
mod rollout;
mod router;
mod store;
mod watcher;
mod workload;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::app::Listener;
use self::driver::{Failure, Shared};
use self::object::text;
use self::store::{Key, Part, Store};

pub use self::behaviour::Behaviour;
pub use self::client::{Client, Tally};
pub use self::refusal::Refusal;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often the controllers look at the objects.
    pub controller_lag: Duration,
    /// How long a pod takes to become ready.
    pub pod_start: Duration,
    /// How long a pod that was told to stop still answers.
    pub pod_stop: Duration,
    /// Port of the demo application on each pod's address.
    pub app_port: u16,
    /// Port of the API server on 127.0.0.1; 0 takes a free one.
    pub api_port: u16,
}

/// A running sandbox. It ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// One request that the API server answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its place among all requests.
    pub seq: u64,
    /// When it came.
    pub time: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query, or empty.
    pub query: String,
    /// Who asked, as they say.
    pub user_agent: String,
    /// The body; null when there is none.
    pub body: Value,
    /// Status code of the answer.
    pub status: u16,
}

/// The objects at one moment.
pub struct View<'a>(&'a Store);

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_lag: Duration::from_millis(30),
            pod_start: Duration::from_millis(150),
            pod_stop: Duration::from_millis(200),
            app_port: 8000,
            api_port: 0,
        }
    }
}

impl Sandbox {
    /// Starts the API server, the controllers and the demo application. Needs a tokio runtime.
    pub async fn start(mut options: Options) -> std::io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, options.api_port)).await?;
        options.api_port = socket.local_addr()?.port();
        let shared = Arc::new(Shared::new(options));
        let api = Listener::serve(socket.into_std()?, router::router(shared.clone()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver::run(shared.clone()));
        tasks.spawn(app::run(shared.clone(), api));
        Ok(Self { shared, tasks })
    }

    /// Where the API server listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.options.api_port)
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
        let service = self.object("services", namespace, service)?;
        self.shared.address(&service)
    }

    /// The latest requests to the API server, at most 20,000, oldest first.
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

    /// Answers the next `count` requests with this method, and this text in their path, with `code`; nothing else happens to them.
    pub fn fail_requests(&self, method: &str, path: &str, code: u16, count: u32) {
        let failure = Failure {
            method: method.to_owned(),
            path: path.to_owned(),
            code,
            left: count,
        };
        self.shared.with(|state| state.failures.push(failure));
    }

    /// One object, by its plural without the group; the namespace is empty for objects of the whole cluster.
    #[must_use]
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(plural, namespace, name);
        self.shared.with(|state| state.store.get(&key).cloned())
    }

    /// All objects with this plural.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let objects = |store: &Store| View(store).objects(plural).cloned().collect();
        self.shared.with(|state| objects(&state.store))
    }

    /// Creates an object, or replaces its main part, as an API client would.
    pub fn apply(&self, object: Value) -> Result<Value, Refusal> {
        self.shared.with(|state| {
            let mut kinds = state.store.kinds();
            let kind = kinds.find(|kind| kind.is_of(&object));
            drop(kinds);
            let kind = kind.ok_or_else(|| Refusal::not_found("the kind"))?;
            let metadata = &object["metadata"];
            let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
            let key = Key::new(&kind.plural, namespace, name);
            if state.store.get(&key).is_some() {
                return state.store.update(&key, Part::Main, object, driver::now());
            }
            state.store.create(&key, object, driver::now())
        })
    }

    /// Changes the image of a Rollout's first container, as a deployment does.
    pub fn deploy(&self, namespace: &str, name: &str, image: &str) -> Result<Value, Refusal> {
        let key = Key::new("rollouts", namespace, name);
        self.shared.with(|state| {
            let mut object = state.store.find(&key)?;
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            state.store.update(&key, Part::Main, object, driver::now())
        })
    }

    /// Waits until `what` holds, looking again at each change. False if it still does not after `limit`.
    pub async fn wait(&self, what: impl Fn(&View<'_>) -> bool, limit: Duration) -> bool {
        let mut changed = self.shared.changes();
        let holds = async {
            loop {
                changed.borrow_and_update();
                if self.shared.with(|state| what(&View(&state.store))) {
                    return true;
                }
                if changed.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, holds).await.unwrap_or(false)
    }

    /// Ends everything and waits until the controllers and the application have ended.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl<'a> View<'a> {
    /// One object, by its plural without the group.
    #[must_use]
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<&'a Value> {
        self.0.get(&Key::new(plural, namespace, name))
    }

    /// All objects with this plural.
    pub fn objects(&self, plural: &str) -> impl Iterator<Item = &'a Value> {
        self.0.list(plural).map(|(_, object)| object)
    }
}
