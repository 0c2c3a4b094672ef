//! A small simulated Kubernetes inside the process: an HTTP server that speaks the part of the Kubernetes API that Ripcord
//! uses, a miniature canary controller, and a demo application that answers on loopback addresses.
//!
//! For `ripcord demo` and for tests. It is never evidence about Argo Rollouts: where the two differ, the sandbox is wrong.
//! Only the basic canary is simulated. CEL rules of CRDs are not evaluated, server-side apply and strategic merge patches
//! are refused, and nobody has to log in.

mod app;
mod client;
mod driver;
pub mod fixture;
mod front;
mod json;
mod kind;
mod listen;
mod query;
mod refusal;
mod rollout;
mod router;
mod schema;
mod store;
mod watcher;
mod workload;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::driver::{Failure, Shared};
use self::listen::Listener;
use self::store::{Key, Part, Store};
use self::workload::Settings;

pub use self::client::{Client, Tally};
pub use self::refusal::Refusal;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long after a change the controllers look at it.
    pub controller_lag: Duration,
    /// How long a pod takes to become ready.
    pub pod_start: Duration,
    /// How long a pod that was told to stop still answers.
    pub pod_stop: Duration,
    /// Port of the demo application on each pod's address.
    pub app_port: u16,
    /// Port of the API server on 127.0.0.1; 0 takes a free one.
    pub api_port: u16,
    /// How many changes watches can look back.
    pub history: usize,
}

/// A running sandbox. It ends when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    api: Listener,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a sandbox did not start, or did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server's port cannot be had.
    #[error("cannot listen for the Kubernetes API")]
    Listen(#[from] std::io::Error),
    /// The API server refused an object.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// One request that the API server answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Number of the request, from 1.
    pub seq: u64,
    /// When it came.
    pub time: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query, or empty.
    pub query: String,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// `User-Agent`, or empty.
    pub user_agent: String,
    /// The body: JSON, or else a JSON string of its text.
    pub body: Value,
    /// Status code of the answer.
    pub status: u16,
}

/// The objects at one moment.
pub struct View<'a>(&'a Store);

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_lag: Duration::from_millis(30),
            pod_start: Duration::from_millis(150),
            pod_stop: Duration::from_millis(200),
            app_port: 8000,
            api_port: 0,
            history: 5_000,
        }
    }
}

// === impl Sandbox ===

impl Sandbox {
    /// Starts the API server, the controllers and the demo application. Needs a tokio runtime.
    // Nothing waits in here today, but callers should not have to change when something does.
    #[expect(
        clippy::unused_async,
        reason = "it must be called on a runtime, and this says so"
    )]
    pub async fn start(options: Options) -> Result<Self, Error> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, options.api_port))?;
        let port = socket.local_addr()?.port();
        let settings = Settings {
            network: network(port),
            pod_start: options.pod_start,
            pod_stop: options.pod_stop,
            app_port: options.app_port,
        };
        let store = Store::new(port, options.history);
        let shared = Arc::new(Shared::new(store, settings, options.controller_lag));
        let api = Listener::serve(socket, router::router(shared.clone()))?;
        let tasks = vec![
            tokio::spawn(driver::run(shared.clone())),
            tokio::spawn(front::run(shared.clone())),
        ];
        Ok(Self { shared, api, tasks })
    }

    /// Where the API server listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api.address)
    }

    /// A kubeconfig for this API server, as YAML: for kube, kubectl and other processes.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sandbox\n\
             clusters:\n- name: sandbox\n  cluster:\n    server: {}\n\
             users:\n- name: sandbox\n  user: {{}}\n\
             contexts:\n- name: sandbox\n  context:\n    cluster: sandbox\n    user: sandbox\n    namespace: default\n",
            self.url()
        )
    }

    /// Where a Service's clients connect, once the Service has an address.
    #[must_use]
    pub fn front(&self, namespace: &str, service: &str) -> Option<SocketAddr> {
        let key = Key::new("", "services", namespace, service);
        self.shared
            .with(|state| state.store.get(&key).and_then(front::address))
    }

    /// The latest requests to the API server, at most 20,000, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared
            .with(|state| state.requests.iter().cloned().collect())
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
        self.shared.wake();
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
        self.shared
            .with(|state| View(&state.store).object(plural, namespace, name).cloned())
    }

    /// All objects with this plural.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.shared
            .with(|state| View(&state.store).objects(plural).cloned().collect())
    }

    /// Creates an object, or replaces its main part, as an API client would.
    pub fn apply(&self, object: Value) -> Result<Value, Error> {
        self.shared.with(|state| {
            let (version, name) = (
                object["apiVersion"].as_str().unwrap_or_default(),
                object["kind"].as_str(),
            );
            let group = version.rsplit_once('/').map_or("", |(group, _)| group);
            let kind = state
                .store
                .kinds()
                .find(|kind| kind.group == group && Some(kind.name.as_str()) == name);
            let kind = kind.ok_or_else(Refusal::no_such_resource)?;
            let metadata = &object["metadata"];
            let namespace = if kind.namespaced() {
                metadata["namespace"].as_str().unwrap_or("default")
            } else {
                ""
            };
            let name = metadata["name"]
                .as_str()
                .ok_or_else(|| Refusal::bad_request("metadata.name is required"))?;
            let key = Key::new(group, &kind.plural, namespace, name);
            if state.store.get(&key).is_some() {
                return Ok(state.store.update(&key, Part::Main, object, false)?);
            }
            Ok(state.store.create(&key, object, driver::now(), false)?)
        })
    }

    /// Changes the image of a Rollout's first container, as a deployment does.
    pub fn deploy(&self, namespace: &str, name: &str, image: &str) -> Result<Value, Error> {
        let key = Key::new("argoproj.io", "rollouts", namespace, name);
        self.shared.with(|state| {
            let kind = state.store.kind(&key.group, &key.plural)?;
            let mut object = state
                .store
                .get(&key)
                .cloned()
                .ok_or_else(|| Refusal::not_found(&kind, name))?;
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            Ok(state.store.update(&key, Part::Main, object, false)?)
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
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            // An aborted task ends with an error that says nothing else.
            drop(task.await);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

// === impl View ===

impl<'a> View<'a> {
    /// One object, by its plural without the group.
    #[must_use]
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<&'a Value> {
        let mut found = self.0.all().filter(|(key, _)| {
            key.plural == plural && key.namespace == namespace && key.name == name
        });
        found.next().map(|(_, object)| object)
    }

    /// All objects with this plural.
    pub fn objects(&self, plural: &str) -> impl Iterator<Item = &'a Value> {
        self.0
            .all()
            .filter(move |(key, _)| key.plural == plural)
            .map(|(_, object)| object)
    }
}

/// A network of its own for each API port, so that sandboxes side by side do not meet.
fn network(port: u16) -> [u8; 2] {
    let [first, second] = [16 + port % 235, port / 235 % 256];
    [first, second].map(|number| u8::try_from(number).unwrap_or_default())
}
