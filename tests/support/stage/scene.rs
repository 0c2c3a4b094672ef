//! The whole service in this process: a sandbox, replicas of the service, and whoever talks to them.
//!
//! Alertmanager's and people's sides are real HTTP. Every wait is for a condition; what a replica answers from its
//! caches is asked only when they are in step with the cluster, except by [`Scene::post_to`].

use std::time::Duration;

use reqwest::Method;
use ripcord::alert::payload::{Status, VERSION};
use ripcord::alert::{Alert, Labels, Notification, Severity};
use ripcord::cli::service::{Parts, Service};
use ripcord::cluster::{Cluster, clock};
use ripcord::config::settings::Settings;
use ripcord::policy::Policy;
use ripcord::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use ripcord::procedure::{BUILT_IN, Procedure};
use ripcord::rollback::object::Mode;
use ripcord::rollback::{Memory, Rollback};
use ripcord::sandbox::{Request, Sandbox};
use ripcord::target::Target;
use ripcord::target::workload::Rollout;
use serde_json::{Value, json};

use super::{LIMIT, NAME, NAMESPACE};

/// The procedure of [`ERRORS`]; that of [`LATENCY`] is the built-in one.
pub(crate) const EMERGENCY: &str = "emergency";
/// A P1 that acts.
pub(crate) const LATENCY: &str = "LatencyHigh";
/// A P0 that acts, with a procedure of its own.
pub(crate) const ERRORS: &str = "ErrorsHigh";
/// A P1 in shadow mode.
pub(crate) const COLD: &str = "CacheCold";

/// A sandbox, the replicas that work on it, and a client for people and for Alertmanager.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    pub(crate) replicas: Vec<Service>,
    policy: Policy,
    http: reqwest::Client,
}

/// What Alertmanager was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Three triggers and two procedures over the one target.
pub(crate) fn policy() -> Policy {
    policy_with(|_| {})
}

/// The same, with a change of the target.
pub(crate) fn policy_with(change: impl FnOnce(&mut Target)) -> Policy {
    let mut policy = super::policy();
    let trigger = |name: &str, severity, mode, procedure: Option<&str>| Trigger {
        name: name.to_lowercase(),
        place: "test:1".into(),
        matchers: format!("alertname=\"{name}\"").parse().unwrap(),
        target: TargetChoice::Named(NAME.into()),
        severity: SeverityChoice::Fixed(severity),
        mode,
        procedure: procedure.map(str::to_owned),
    };
    policy.triggers = vec![
        trigger(LATENCY, Severity::P1, Mode::Act, None),
        trigger(ERRORS, Severity::P0, Mode::Act, Some(EMERGENCY)),
        trigger(COLD, Severity::P1, Mode::Shadow, None),
    ];
    let emergency = Procedure {
        name: EMERGENCY.into(),
        ..policy.procedures[BUILT_IN].clone()
    };
    policy.procedures.insert(EMERGENCY.into(), emergency);
    change(policy.targets.get_mut(NAME).unwrap());
    policy
}

/// An alert that began to fire just now.
pub(crate) fn firing(name: &str) -> Alert {
    labelled(name, &[])
}

/// An alert with more labels.
pub(crate) fn labelled(name: &str, more: &[(&str, &str)]) -> Alert {
    let own = [
        ("alertname", name),
        ("namespace", NAMESPACE),
        ("severity", "critical"),
    ];
    let labels: Labels = own.into_iter().chain(more.iter().copied()).collect();
    Alert {
        status: Status::Firing,
        annotations: [("summary".to_owned(), format!("{name} on {NAME}"))].into(),
        starts_at: clock::system()(),
        ends_at: None,
        generator_url: "http://prometheus.example/graph?g0.expr=a%3E1".into(),
        fingerprint: labels.fingerprint(),
        labels,
    }
}

/// The same alert, ended.
pub(crate) fn resolved(alert: &Alert) -> Alert {
    Alert {
        status: Status::Resolved,
        ends_at: Some(clock::system()()),
        ..alert.clone()
    }
}

/// A group as Alertmanager sends it.
pub(crate) fn group(alerts: &[Alert]) -> Notification {
    let fires = alerts.iter().any(Alert::is_firing);
    Notification {
        receiver: "ripcord\\.prod".into(),
        status: Some(if fires {
            Status::Firing
        } else {
            Status::Resolved
        }),
        alerts: alerts.to_vec(),
        notification_reason: None,
        group_labels: Labels::default(),
        common_labels: Labels::default(),
        common_annotations: [].into(),
        route_labels: None,
        external_url: "http://am-1.example:9093".into(),
        version: VERSION.into(),
        group_key: "{}:{}".into(),
        truncated_alerts: 0,
    }
}

// === impl Scene ===

impl Scene {
    /// An empty cluster, and nobody who works on it.
    pub(crate) async fn empty(policy: Policy) -> Self {
        Self {
            sandbox: super::sandbox().await,
            replicas: Vec::new(),
            policy,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// One replica that leads and remembers a first, good release.
    pub(crate) async fn open(policy: Policy) -> Self {
        let mut scene = Self::empty(policy).await;
        super::good_release(&scene.sandbox).await;
        scene.replica().await;
        scene
            .until_memory(|memory| memory.state().history.len() == 1)
            .await;
        scene
    }

    /// One replica that leads, a good release, and a bad canary that waits at its first pause.
    pub(crate) async fn incident(policy: Policy) -> Self {
        let scene = Self::open(policy).await;
        super::bad_canary(&scene.sandbox).await;
        scene
    }

    /// Starts one more replica, and waits until its caches are filled.
    pub(crate) async fn replica(&mut self) {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), self.sandbox.kubeconfig()).unwrap();
        let cluster = Cluster::connect(Some(kubeconfig.path()), Duration::from_secs(5))
            .await
            .unwrap();
        let mut settings = Settings::default();
        settings.intake.listen = ([127, 0, 0, 1], 0).into();
        settings.engine.namespace = Some("ripcord".into());
        settings.engine.identity = Some(format!("replica-{}", self.replicas.len() + 1));
        let service = Service::start(Parts {
            settings,
            policy: self.policy.clone(),
            policy_path: None,
            cluster,
            clock: clock::system(),
        })
        .unwrap();
        let mut changes = service.caches.changes();
        let filled = async {
            while service.caches.ready().is_err() {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, filled)
            .await
            .expect("the caches are filled");
        self.replicas.push(service);
    }

    /// Sends one alert to the first replica, once its caches are in step with the cluster.
    pub(crate) async fn send(&self, alert: &Alert) -> Answer {
        self.send_all(std::slice::from_ref(alert)).await
    }

    /// Sends alerts as one group to the first replica, once its caches are in step with the cluster.
    pub(crate) async fn send_all(&self, alerts: &[Alert]) -> Answer {
        self.post(&group(alerts)).await
    }

    /// Sends a group to the first replica, once its caches are in step with the cluster.
    pub(crate) async fn post(&self, group: &Notification) -> Answer {
        self.in_step().await;
        self.post_to(0, group).await
    }

    /// Sends a group to a replica, whatever it knows.
    pub(crate) async fn post_to(&self, replica: usize, group: &Notification) -> Answer {
        let url = format!("http://{}/api/v1/alerts", self.replicas[replica].addr);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", "Alertmanager/0.28.1")
            .body(serde_json::to_string(group).unwrap() + "\n");
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            body: serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        }
    }

    /// Does something with the API as a person does: `path` begins after the namespace of the target.
    pub(crate) async fn person(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!(
            "{}/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/{path}",
            self.sandbox.url()
        );
        self.call(method, url, body).await
    }

    /// A call of the API server by a person, with a merge patch where it is a patch.
    async fn call(&self, method: Method, url: String, body: Value) -> (u16, Value) {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = self
            .http
            .request(method, url)
            .header("user-agent", "person")
            .header("content-type", kind)
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        )
    }

    /// Sets or removes the global hold.
    pub(crate) fn hold(&self, said: Option<&str>) {
        let mut config_map = super::hold_config_map();
        if let Some(said) = said {
            config_map["metadata"]["annotations"] = json!({"ripcord.dev/hold": said});
        }
        self.sandbox.apply(config_map).unwrap();
    }

    /// Removes the object that the global hold stands on.
    pub(crate) async fn lose_hold(&self) {
        let url = format!(
            "{}/api/v1/namespaces/ripcord/configmaps/ripcord-hold",
            self.sandbox.url()
        );
        assert_eq!(self.call(Method::DELETE, url, json!({})).await.0, 200);
    }

    /// Gives the lease to somebody who never does anything.
    pub(crate) fn nobody_leads(&self) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "ripcord", "namespace": "ripcord"},
            "spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 3600, "leaseTransitions": 0},
        });
        self.sandbox.apply(lease).unwrap();
    }

    /// Takes the lease away from whoever has it.
    pub(crate) async fn somebody_may_lead(&self) {
        let url = format!(
            "{}/apis/coordination.k8s.io/v1/namespaces/ripcord/leases/ripcord",
            self.sandbox.url()
        );
        assert_eq!(self.call(Method::DELETE, url, json!({})).await.0, 200);
    }

    /// Who holds the lease: the replica's number.
    pub(crate) fn leader(&self) -> Option<usize> {
        let lease = self.sandbox.object("leases", "ripcord", "ripcord")?;
        let holder = lease["spec"]["holderIdentity"].as_str()?.to_owned();
        self.replicas
            .iter()
            .position(|replica| replica.identity == holder)
    }

    /// Every rollback in the cluster, by name.
    pub(crate) fn rollbacks(&self) -> Vec<Rollback> {
        let all = self.sandbox.objects("rollbacks").into_iter();
        all.map(|object| serde_json::from_value(object).unwrap())
            .collect()
    }

    /// The only rollback in the cluster.
    pub(crate) fn only(&self) -> Rollback {
        let mut all = self.rollbacks();
        assert_eq!(all.len(), 1, "{:?}", names(&all));
        all.remove(0)
    }

    /// Waits until the cluster has a rollback like this.
    pub(crate) async fn until(&self, what: impl Fn(&Rollback) -> bool) -> Rollback {
        let found = |view: &ripcord::sandbox::View<'_>| {
            let mut all = view.objects("rollbacks");
            all.any(|object| serde_json::from_value(object.clone()).is_ok_and(|r| what(&r)))
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        assert!(there, "it never came: {:#?}", self.rollbacks());
        self.rollbacks().into_iter().find(|r| what(r)).unwrap()
    }

    /// Waits until this rollback has ended and the engine has let it go, which takes a call of its own.
    pub(crate) async fn ended(&self, name: &str) -> Rollback {
        let ended = |rollback: &Rollback| {
            let mut held = rollback.metadata.finalizers.iter().flatten();
            rollback.name() == name && rollback.phase().ended() && held.next().is_none()
        };
        let found = self.until(ended).await;
        let path = format!("/rollbacks/{name}");
        let let_go = || {
            let all = self.sandbox.requests().into_iter().rev();
            let mut last = all.take_while(|call| !(call.method == "PATCH" && is_journal(call)));
            last.any(|call| call.method == "GET" && call.path.ends_with(&path))
        };
        self.until_called(let_go).await;
        found
    }

    /// Waits until the calls of the API are like this.
    pub(crate) async fn until_called(&self, what: impl Fn() -> bool) {
        let called = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, called)
            .await
            .expect("the calls that were waited for");
    }

    /// Waits until the only rollback has ended and is let go.
    pub(crate) async fn done(&self) -> Rollback {
        let name = self.only().name().to_owned();
        self.ended(&name).await
    }

    /// The target's memory.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let object = self.sandbox.object("targets", NAMESPACE, NAME)?;
        Some(serde_json::from_value(object).unwrap())
    }

    /// Waits until the target's memory is like this.
    pub(crate) async fn until_memory(&self, what: impl Fn(&Memory) -> bool) -> Memory {
        let found = |view: &ripcord::sandbox::View<'_>| {
            let object = view.object("targets", NAMESPACE, NAME).cloned();
            object.is_some_and(|o| serde_json::from_value(o).is_ok_and(|memory| what(&memory)))
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        assert!(there, "it never came: {:#?}", self.memory());
        self.memory().unwrap()
    }

    /// Waits until the workload is like this.
    pub(crate) async fn until_workload(&self, what: impl Fn(&Value) -> bool) {
        let found = |view: &ripcord::sandbox::View<'_>| {
            view.object("rollouts", NAMESPACE, NAME).is_some_and(&what)
        };
        let there = self.sandbox.wait(found, LIMIT).await;
        let workload = self.sandbox.object("rollouts", NAMESPACE, NAME);
        assert!(there, "it never came: {workload:#?}");
    }

    /// Waits until every replica knows what the cluster holds.
    pub(crate) async fn in_step(&self) {
        for replica in &self.replicas {
            let mut changes = replica.caches.changes();
            let in_step = async {
                while !self.knows(replica) {
                    changes.changed().await.unwrap();
                }
            };
            tokio::time::timeout(LIMIT, in_step)
                .await
                .expect("a replica's caches are in step");
        }
    }

    fn knows(&self, replica: &Service) -> bool {
        let version = |object: &Value| {
            object["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned)
        };
        let rollbacks = self.sandbox.objects("rollbacks");
        let cached = replica.caches.rollbacks.all();
        let target = &self.policy.targets[NAME];
        let hold = self
            .sandbox
            .object("configmaps", "ripcord", "ripcord-hold")
            .map(|object| serde_json::from_value(object).unwrap());
        let rollout = self
            .sandbox
            .object("rollouts", NAMESPACE, NAME)
            .and_then(|object| Rollout::read(&object));
        cached.len() == rollbacks.len()
            && rollbacks.iter().all(|object| {
                cached
                    .iter()
                    .any(|known| known.metadata.resource_version == version(object))
            })
            && replica
                .caches
                .rollout(target)
                .map(|seen| seen.rollout.clone())
                == rollout
            && replica
                .caches
                .memory(target)
                .and_then(|memory| memory.metadata.resource_version.clone())
                == self
                    .sandbox
                    .object("targets", NAMESPACE, NAME)
                    .and_then(|object| version(&object))
            && replica.caches.hold()
                == hold.map_or(ripcord::policy::guard::Hold::Unreadable, |object| {
                    ripcord::cluster::hold::of(&object)
                })
    }

    /// How many calls the API server has answered.
    pub(crate) fn mark(&self) -> usize {
        self.sandbox.requests().len()
    }

    /// What intake called since then, each as method and status. The engine's own calls about rollbacks are its writes of
    /// the journal, and reads when a run begins and ends.
    pub(crate) fn intake_calls(&self, mark: usize) -> Vec<String> {
        let since = self.sandbox.requests().into_iter().skip(mark);
        since
            .filter(is_intake)
            .map(|call| format!("{} {}", call.method, call.status))
            .collect()
    }

    /// Stops everything in order.
    pub(crate) async fn close(self) {
        for replica in self.replicas {
            replica.stop().await;
        }
        self.sandbox.stop().await;
    }
}

/// Whether this is what intake calls when it claims and keeps alerts.
fn is_intake(call: &Request) -> bool {
    let one = call.path.contains("/rollbacks/");
    call.user_agent != "person"
        && match call.method.as_str() {
            "POST" => call.path.ends_with("/rollbacks"),
            "GET" => one,
            "PATCH" => one && changes(call, "/status/alerts"),
            _ => false,
        }
}

/// Whether this is a write of the engine's journal.
fn is_journal(call: &Request) -> bool {
    changes(call, "/status/run")
}

/// Whether a call patches this path.
fn changes(call: &Request, path: &str) -> bool {
    let mut operations = call.body.as_array().into_iter().flatten();
    operations.any(|operation| operation["path"] == path && operation["op"] != "test")
}

fn names(all: &[Rollback]) -> Vec<&str> {
    all.iter().map(Rollback::name).collect()
}

// === impl Answer ===

impl Answer {
    /// The decisions, each with its reason code.
    pub(crate) fn decisions(&self) -> Vec<(&str, &str)> {
        let all = self.body["decisions"].as_array();
        let all = all.into_iter().flatten();
        all.map(|told| {
            (
                told["decision"].as_str().unwrap_or_default(),
                told["reason"].as_str().unwrap_or_default(),
            )
        })
        .collect()
    }

    /// Whether so many decisions were made, and all are this one.
    pub(crate) fn all(&self, count: usize, decision: (&str, &str)) -> bool {
        let all = self.decisions();
        self.status == 200 && all.len() == count && all.iter().all(|one| *one == decision)
    }

    /// The only decision, of an answer that says that everything is on record.
    pub(crate) fn one(&self) -> (&str, &str) {
        assert_eq!(self.status, 200, "{}", self.body);
        let all = self.decisions();
        assert_eq!(all.len(), 1, "{}", self.body);
        all[0]
    }
}
