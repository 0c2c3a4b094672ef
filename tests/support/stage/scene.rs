//! The whole service in this process: a sandbox, replicas of the service, and whoever talks to them.
//!
//! Alertmanager's and people's sides are real HTTP. Every wait is for a condition; what a replica answers from its
//! caches is asked only when they are in step with the cluster, except by [`Scene::post_to`].

mod alertmanager;
mod people;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ripcord::alert::{Alert, Notification, Severity};
use ripcord::cli::service::{Parts, Service};
use ripcord::cluster::{Cluster, clock};
use ripcord::config::settings::Settings;
use ripcord::policy::Policy;
use ripcord::policy::guard::Hold;
use ripcord::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use ripcord::procedure::{BUILT_IN, Procedure};
use ripcord::rollback::Rollback;
use ripcord::rollback::object::Mode;
use ripcord::sandbox::Sandbox;
use ripcord::target::Target;
use ripcord::target::workload::Rollout;
use serde_json::Value;

pub(crate) use self::alertmanager::{Answer, firing, group, labelled, resolved};
use super::{NAME, NAMESPACE};
use crate::support::proxy::{Act, Fault, Proxy};
use crate::support::slack;

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
    /// How long the next replica keeps its socket open when it stops.
    pub(crate) drain_delay: Duration,
    /// Where the next replica finds Slack; without one it tells nobody.
    pub(crate) slack: Option<String>,
    /// Where the next replica sends its spans; without one it sends none.
    pub(crate) collector: Option<String>,
    /// Where the next replica finds Prometheus.
    pub(crate) prometheus: Option<String>,
    /// How far the replicas' clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    /// What the next replica reaches the API server through.
    proxy: Option<Proxy>,
    policy: Policy,
    http: reqwest::Client,
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

// === impl Scene ===

impl Scene {
    /// An empty cluster, and nobody who works on it.
    pub(crate) async fn empty(policy: Policy) -> Self {
        Self {
            sandbox: super::sandbox().await,
            replicas: Vec::new(),
            drain_delay: Duration::ZERO,
            slack: None,
            collector: None,
            prometheus: None,
            ahead: Arc::default(),
            proxy: None,
            policy,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// One replica that leads and remembers a first, good release.
    pub(crate) async fn open(policy: Policy) -> Self {
        let mut scene = Self::empty(policy).await;
        scene.opens().await;
        scene
    }

    /// A first, good release, and one replica that leads and remembers it.
    pub(crate) async fn opens(&mut self) {
        super::good_release(&self.sandbox).await;
        self.replica().await;
        self.until_memory(|memory| memory.state().history.len() == 1)
            .await;
    }

    /// One replica that leads, a good release, and a bad canary that waits at its first pause.
    pub(crate) async fn incident(policy: Policy) -> Self {
        let scene = Self::open(policy).await;
        super::bad_canary(&scene.sandbox).await;
        scene
    }

    /// The same, with a proxy between the replica and the API server.
    pub(crate) async fn incident_behind_a_proxy(policy: Policy) -> Self {
        let mut scene = Self::empty(policy).await;
        scene.through_a_proxy().await;
        scene.opens().await;
        super::bad_canary(&scene.sandbox).await;
        scene
    }

    /// Lets the replicas that are started from now on reach the API server through a proxy only.
    pub(crate) async fn through_a_proxy(&mut self) {
        let api = self.sandbox.url();
        let api = api.trim_start_matches("http://").parse().unwrap();
        self.proxy = Some(Proxy::start(api).await);
    }

    /// That proxy.
    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    /// Lets that proxy refuse every change of the workload itself, as somebody's rule does.
    pub(crate) fn workload_is_kept_as_it_is(&self) {
        let path = format!("/rollouts/{NAME}");
        self.proxy().on(move |seen| {
            if seen.mutates() && seen.path.ends_with(&path) {
                Act::Before(Fault::Answer(403))
            } else {
                Act::Forward
            }
        });
    }

    /// The way to the API server, through the proxy where there is one.
    pub(crate) fn kubeconfig(&self) -> String {
        let text = self.sandbox.kubeconfig();
        let through = |proxy: &Proxy| format!("http://{}", proxy.addr());
        match self.proxy.as_ref().map(through) {
            Some(through) => text.replace(&self.sandbox.url(), &through),
            None => text,
        }
    }

    /// Starts one more replica, and waits until its caches are filled.
    pub(crate) async fn replica(&mut self) {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), self.kubeconfig()).unwrap();
        let cluster = Cluster::connect(Some(kubeconfig.path()), Duration::from_secs(5))
            .await
            .unwrap();
        let mut settings = Settings::default();
        settings.intake.listen = ([127, 0, 0, 1], 0).into();
        settings.intake.drain_delay = self.drain_delay;
        settings.engine.namespace = Some("ripcord".into());
        settings.engine.identity = Some(format!("replica-{}", self.replicas.len() + 1));
        settings.telemetry.otlp.endpoint.clone_from(&self.collector);
        if let Some(api) = &self.slack {
            settings.report.slack.api.clone_from(api);
            settings.report.slack.token = Some(slack::TOKEN.into());
            settings.report.slack.channel = Some("#ops".to_owned());
        }
        settings.prometheus.url.clone_from(&self.prometheus);
        let ahead = Arc::clone(&self.ahead);
        let service = Service::start(Parts {
            settings,
            policy: self.policy.clone(),
            policy_path: None,
            cluster,
            clock: Arc::new(move || {
                let ahead = SignedDuration::from_millis(ahead.load(Ordering::SeqCst));
                clock::system()() + ahead
            }),
        })
        .unwrap();
        super::knows(&service.caches, || service.caches.ready().is_ok()).await;
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

    /// Moves the replicas' clock forward to this time.
    pub(crate) fn at(&self, time: Timestamp) {
        let ahead = time.duration_since(clock::system()());
        let ahead = i64::try_from(ahead.as_millis()).unwrap() + 1;
        self.ahead.store(ahead, Ordering::SeqCst);
        for replica in &self.replicas {
            replica.caches.nudge();
        }
    }

    /// The one target of the policy.
    pub(crate) fn target(&self) -> Target {
        self.policy.targets[NAME].clone()
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

    /// Waits until every replica knows what the cluster holds.
    pub(crate) async fn in_step(&self) {
        for replica in &self.replicas {
            super::knows(&replica.caches, || self.knows(replica)).await;
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
            && match (replica.caches.hold(), hold) {
                (Hold::Unreadable(_), None) => true,
                (known, Some(object)) => known == ripcord::cluster::hold::of(&object),
                _ => false,
            }
    }

    /// Stops everything in order.
    pub(crate) async fn close(self) {
        for replica in self.replicas {
            replica.stop().await;
        }
        self.sandbox.stop().await;
    }
}

fn names(all: &[Rollback]) -> Vec<&str> {
    all.iter().map(Rollback::name).collect()
}
