//! The simulated cluster as the ground of a story. Ripcord runs in this process, under the shipped policy.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use ripcord::cli::demo::client::Client;
use ripcord::cli::demo::fixture;
use ripcord::cli::service::{Parts, Service};
use ripcord::cluster::{Cluster, clock};
use ripcord::config::load_policy;
use ripcord::config::settings::Settings;
use ripcord::sandbox::{Request, Sandbox};
use serde_json::Value;
use tempfile::TempDir;

use super::plugin;
use crate::support::shipped;
use crate::support::slack::{self, FakeSlack};
use crate::support::stage;
use crate::support::story::ground::{Change, GOOD, Ground, LIMIT, NAME};
use crate::support::wait::until;

const NAMESPACE: &str = "options-production";
const NUDGE: &str = "/metadata/annotations/ripcord.dev~1nudged";

/// A sandbox, and all that a story plays with.
pub(super) struct Simulated {
    sandbox: Arc<Sandbox>,
    slack: FakeSlack,
    users: Option<Client>,
    good: &'static str,
    policy: String,
    folder: TempDir,
    http: reqwest::Client,
}

/// A replica in this process. It is not stopped in order: a sandbox goes with its story.
pub(super) struct Local(Service);

/// The controller's sleep.
pub(super) struct Asleep(Arc<Sandbox>);

// === impl Simulated ===

impl Simulated {
    /// A person's patch of this type.
    pub(super) async fn patch_as(&self, kind: &str, path: &str, patch: &Value) {
        let request = self.call(Method::PATCH, path);
        let kind = format!("application/{kind}+json");
        let request = request.header("content-type", kind).body(patch.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {patch}: {answer:?}");
    }

    /// A person's call of the API server.
    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sandbox.url());
        self.http
            .request(method, url)
            .header("user-agent", "person")
    }

    /// Ripcord's writes of the workload that had an effect.
    fn writes(&self) -> Vec<Request> {
        let mut all = self.sandbox.requests();
        all.retain(|it| {
            it.user_agent != "person"
                && it.method != "GET"
                && it.path.contains("/rollouts/")
                && it.status < 300
        });
        all
    }
}

impl Ground for Simulated {
    type Replica = Local;
    type Asleep = Asleep;

    async fn start(_: &'static str) -> Self {
        let sandbox = stage::sandbox().await;
        let shipped = shipped::without_looks();
        // Faster than people need it.
        let policy = shipped
            .replace("min_soak: 10m", "min_soak: 1s")
            .replace("every: 500ms", "every: 100ms");
        let slack = FakeSlack::start().await;
        slack.channel("pinn-deployment", "C1");
        slack.channel("releases", "C2");
        Self {
            sandbox: Arc::new(sandbox),
            slack,
            users: None,
            good: GOOD,
            policy,
            folder: tempfile::tempdir().unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn namespace(&self) -> &'static str {
        NAMESPACE
    }

    fn home(&self) -> &'static str {
        "ripcord"
    }

    fn policy_says(&mut self, shipped: &str, instead: &str) {
        let policy = self.policy.replacen(shipped, instead, 1);
        assert!(policy != self.policy, "{policy}");
        self.policy = policy;
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.call(Method::GET, path).send().await.unwrap();
        let found = answer.status().is_success();
        let answer = answer.text().await.unwrap();
        found.then(|| serde_json::from_str(&answer).unwrap())
    }

    async fn create(&self, object: &Value) {
        self.sandbox.apply(object.clone()).unwrap();
    }

    async fn patch(&self, path: &str, patch: &Value) {
        self.patch_as("merge-patch", path, patch).await;
    }

    async fn opens(&self) -> String {
        self.create(&fixture::service(NAMESPACE, NAME, 8000)).await;
        let address = async || self.sandbox.front(NAMESPACE, NAME);
        let address = until(address, LIMIT).await.expect("an address");
        format!("http://{address}/price")
    }

    fn rate(&self) -> u32 {
        100
    }

    fn users(&self) -> &Client {
        self.users.as_ref().unwrap()
    }

    fn users_are(&mut self, users: Client) {
        self.users = Some(users);
    }

    fn good_image(&self) -> &'static str {
        self.good
    }

    fn good_is(&mut self, image: &'static str) {
        self.good = image;
    }

    async fn argo(&self, words: &[&str]) -> String {
        plugin::run(self, words).await
    }

    fn controller_sleeps(&self) -> Asleep {
        self.sandbox.pause_controller();
        Asleep(Arc::clone(&self.sandbox))
    }

    async fn replica(&self, name: &str) -> Local {
        let file = |what: &str, text: &str| {
            let path = self.folder.path().join(what);
            std::fs::write(&path, text).unwrap();
            path
        };
        let policy = load_policy(&file("policy.yaml", &self.policy))
            .unwrap()
            .policy;
        let kubeconfig = file("kubeconfig", &self.sandbox.kubeconfig());
        let cluster = Cluster::connect(Some(&kubeconfig), Duration::from_secs(5));
        let mut settings = Settings::default();
        settings.intake.listen = ([127, 0, 0, 1], 0).into();
        settings.engine.namespace = Some(self.home().to_owned());
        settings.engine.identity = Some(name.to_owned());
        settings.report.slack.api = self.slack.url();
        settings.report.slack.token = Some(slack::TOKEN.into());
        settings.report.slack.channel = Some("#releases".to_owned());
        let service = Service::start(Parts {
            settings,
            policy,
            policy_path: None,
            cluster: cluster.await.unwrap(),
            clock: clock::system(),
        })
        .unwrap();
        let filled = async || service.caches.ready().is_ok().then_some(());
        until(filled, LIMIT).await.expect("it is ready");
        Local(service)
    }

    async fn post(&self, replica: &Local, body: String) -> u16 {
        let url = format!("http://{}/api/v1/alerts", replica.0.addr);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        answer.status().as_u16()
    }

    fn slack(&self) -> &FakeSlack {
        &self.slack
    }

    fn changes(&self) -> Vec<Change> {
        let writes = self.writes().into_iter().filter(|it| !is_nudge(it));
        let part = |path: &str| match path.split_once(NAME) {
            Some((_, part)) => part.trim_start_matches('/').to_owned(),
            None => String::new(),
        };
        let change = |it: Request| Change {
            part: part(&it.path),
            body: it.body,
        };
        writes.map(change).collect()
    }

    fn nudges(&self) -> usize {
        self.writes().iter().filter(|it| is_nudge(it)).count()
    }

    fn forbidden(&self) -> Vec<String> {
        let all = self.sandbox.requests().into_iter();
        let refused = all.filter(|it| it.status == 403);
        refused.map(|it| format!("{it:?}")).collect()
    }

    fn times(&self, _: Timestamp, _: &Value) {}
}

// === impl Asleep ===

impl Drop for Asleep {
    fn drop(&mut self) {
        self.0.resume_controller();
    }
}

/// Whether a write was only to make the controller look.
fn is_nudge(request: &Request) -> bool {
    let mut operations = request.body.as_array().into_iter().flatten();
    operations.any(|it| it["path"] == NUDGE)
}
