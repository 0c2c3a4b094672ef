//! A sandbox with everything that Ripcord expects of a cluster: its CRDs, the hold, and a release that was good.

pub(crate) mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ripcord::alert::{Matchers, Severity};
use ripcord::cli::demo::fixture;
use ripcord::cluster::events::Events;
use ripcord::cluster::http::Prober;
use ripcord::cluster::{Caches, Cluster, clock};
use ripcord::engine::dispatch::{self, Busy};
use ripcord::engine::lease::{self, Lease, Standing};
use ripcord::engine::{self, Context, keeper, leader};
use ripcord::policy::Policy;
use ripcord::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use ripcord::procedure::{BUILT_IN, Procedure, StepSpec, healthy, revert};
use ripcord::rollback::object::Mode;
use ripcord::rollback::{Memory, Rollback, crd};
use ripcord::sandbox::Sandbox;
use ripcord::target::{Audience, Health, Ownership, Target, Workload};
use ripcord::telemetry::{Metrics, Spans};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const NAME: &str = "api";
/// How long a condition may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A sandbox that is ready for Ripcord.
pub(crate) async fn sandbox() -> Sandbox {
    // A second one is refused, and is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::start().await.unwrap();
    for crd in [crd::rollbacks(), crd::targets()] {
        sandbox.apply(serde_json::to_value(crd).unwrap()).unwrap();
    }
    sandbox.apply(hold_config_map()).unwrap();
    sandbox
}

/// Waits until something is so by what the watches tell a replica.
pub(crate) async fn knows(caches: &Caches, known: impl Fn() -> bool) {
    let mut changes = caches.changes();
    let waiting = async {
        while !known() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("the watches tell of it");
}

pub(crate) fn hold_config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ripcord-hold", "namespace": "ripcord"}})
}

/// A good release, fully promoted, behind a Service. Canary steps: a quarter, then a pause without end.
pub(crate) async fn good_release(sandbox: &Sandbox) {
    first_release(sandbox, "demo:v1-good");
    assert!(
        sandbox
            .wait(
                |view| phase(view.object("rollouts", NAMESPACE, NAME)) == "Healthy",
                LIMIT
            )
            .await,
        "v1 is healthy"
    );
}

/// The first release of the workload, whatever it is worth.
pub(crate) fn first_release(sandbox: &Sandbox, image: &str) {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    sandbox
        .apply(fixture::service(NAMESPACE, NAME, 8000))
        .unwrap();
    sandbox
        .apply(fixture::rollout(NAMESPACE, NAME, image, &steps))
        .unwrap();
}

/// A bad canary that waits at its first pause.
pub(crate) async fn bad_canary(sandbox: &Sandbox) {
    sandbox.deploy(NAMESPACE, NAME, "demo:v2-half500").unwrap();
    assert!(
        sandbox
            .wait(
                |view| phase(view.object("rollouts", NAMESPACE, NAME)) == "Paused",
                LIMIT
            )
            .await,
        "v2 is paused"
    );
}

pub(crate) fn phase(object: Option<&Value>) -> String {
    object
        .and_then(|o| o.pointer("/status/phase"))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// One target over the demo workload, and one trigger that acts on everything that names it.
pub(crate) fn policy() -> Policy {
    let target = Target {
        name: NAME.into(),
        workload: Workload {
            kind: ripcord::target::Kind::Rollout,
            namespace: NAMESPACE.into(),
            name: NAME.into(),
            deployments: vec![],
        },
        health: Some(Health {
            path: "/health/pinn".into(),
            port: 8000,
            pointer: Some("/overall_status".into()),
            equals: Some("healthy".into()),
            url: None,
            timeout: Duration::from_secs(2),
        }),
        redis: None,
        warm_up: None,
        commands: std::collections::BTreeMap::new(),
        ownership: Ownership::Auto,
        drills: ripcord::target::Drills::Refused,
        manifest: None,
        known_good: None,
        change_window: Duration::from_secs(3600),
        min_soak: Duration::ZERO,
        settle: Duration::from_secs(300),
        start_within: Duration::from_secs(120),
        approve_within: Duration::from_secs(900),
        give_up: Duration::from_secs(900),
        audience: Audience::default(),
        links: vec![],
        after: vec![],
    };
    let procedure = Procedure {
        name: BUILT_IN.into(),
        budget: Duration::from_secs(30),
        approval: false,
        escalate_to: None,
        steps: vec![
            StepSpec::Revert(revert::Revert {}),
            StepSpec::Healthy(healthy::Healthy {
                consecutive: 3,
                every: Duration::from_millis(50),
                within: Duration::from_secs(20),
            }),
        ],
    };
    Policy {
        digest: "test".into(),
        cluster: None,
        protected: BTreeSet::new(),
        hash_label: "rollouts_pod_template_hash".into(),
        targets: [(NAME.to_owned(), target)].into(),
        triggers: vec![Trigger {
            name: "latency".into(),
            place: "test:1".into(),
            matchers: "alertname=\"LatencyHigh\"".parse::<Matchers>().unwrap(),
            target: TargetChoice::Named(NAME.into()),
            severity: SeverityChoice::Fixed(Severity::P0),
            mode: Mode::Act,
            procedure: None,
        }],
        severities: [
            (Severity::P0, BUILT_IN.to_owned()),
            (Severity::P1, BUILT_IN.to_owned()),
        ]
        .into(),
        asks: BTreeSet::new(),
        escalations: BTreeMap::new(),
        procedures: [(BUILT_IN.to_owned(), procedure)].into(),
    }
}

/// One replica's caches and engine, in this process.
pub(crate) struct Replica {
    pub(crate) cluster: Cluster,
    pub(crate) caches: Arc<Caches>,
    pub(crate) stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Replica {
    /// Starts a replica and waits until its caches are filled.
    pub(crate) async fn start(sandbox: &Sandbox, identity: &str, policy: Policy) -> Self {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), sandbox.kubeconfig()).unwrap();
        let cluster = Cluster::connect(Some(kubeconfig.path()), Duration::from_secs(5))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let now = clock::system();
        let caches = Caches::start(
            cluster.clone(),
            now.clone(),
            ("ripcord".into(), "ripcord-hold".into()),
            stop.clone(),
        );
        caches.follow(&policy.namespaces());
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let lease = Lease::new(
            cluster.client(),
            "ripcord",
            "ripcord",
            identity,
            lease::Settings::default(),
            {
                let now = now.clone();
                move || now()
            },
        );
        let (sender, _) = watch::channel(Standing::default());
        let context = Context {
            cluster: cluster.clone(),
            caches: Arc::clone(&caches),
            policy,
            rights: Arc::default(),
            prober: Prober::new(now.clone()).unwrap(),
            clock: now,
            events: Events::new(&cluster, identity),
            identity: identity.to_owned(),
            tick: Duration::from_millis(200),
            mode: Mode::Act,
            retention: engine::settings::Settings::default().retention,
            metrics: Metrics::new("test"),
            spans: Spans::nowhere(),
            ended: CancellationToken::new(),
        };
        let task = tokio::spawn(leader::lead(lease, stop.clone(), sender, move |term| {
            let context = Context {
                ended: term.ended().clone(),
                ..context.clone()
            };
            term.spawn(dispatch::work(
                context.clone(),
                term.clone(),
                Busy::default(),
            ));
            term.spawn(keeper::work(context));
        }));
        let replica = Self {
            cluster,
            caches,
            stop,
            task,
        };
        knows(&replica.caches, || replica.caches.ready().is_ok()).await;
        replica
    }

    /// Waits until a rollback satisfies a condition.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: impl Fn(&Rollback) -> bool,
    ) -> Arc<Rollback> {
        let mut changes = self.caches.changes();
        let found = async {
            loop {
                if let Some(found) = self
                    .caches
                    .rollbacks
                    .get(NAMESPACE, name)
                    .filter(|rollback| what(rollback))
                {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await;
        found.unwrap_or_else(|_| {
            panic!(
                "{name} never got there: {:#?}",
                self.caches.rollbacks.get(NAMESPACE, name)
            )
        })
    }

    /// Waits until the target's memory satisfies a condition.
    pub(crate) async fn until_memory(&self, what: impl Fn(&Memory) -> bool) -> Arc<Memory> {
        let mut changes = self.caches.changes();
        let found = async {
            loop {
                if let Some(found) = self
                    .caches
                    .memories
                    .get(NAMESPACE, NAME)
                    .filter(|memory| what(memory))
                {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await;
        found.unwrap_or_else(|_| {
            panic!(
                "the memory never got there: {:#?}",
                self.caches.memories.get(NAMESPACE, NAME)
            )
        })
    }

    /// Hands over and ends.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
