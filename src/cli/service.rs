//! Wires the rooms together: one replica of the service, from its connection to its shutdown.

mod gauges;
mod reporter;
mod rights;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::gauges::gauges;
use self::reporter::Reporters;
use self::rights::{Asker, rights};
use super::preflight;
use super::reload::Reloader;
use crate::cluster::events::Events;
use crate::cluster::http::Prober;
use crate::cluster::prometheus::Prometheus;
use crate::cluster::{Caches, Clock, Cluster};
use crate::config::settings::Settings;
use crate::engine::dispatch::Busy;
use crate::engine::lease::{Lease, Standing, Term};
use crate::engine::supervise::supervise;
use crate::engine::{Context, after, dispatch, keeper, leader};
use crate::intake::auth::{Schemes, Tokens};
use crate::intake::desk::Registrar;
use crate::intake::{Limits, Running, Server};
use crate::policy::Policy;
use crate::telemetry::otlp::{Destination, Export};
use crate::telemetry::{Metrics, Spans};

/// How long the watches may take to end.
const WATCHES: Duration = Duration::from_secs(2);

/// What a replica is made from.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The policy.
    pub policy: Policy,
    /// Where the policy is read again from; never where it is absent.
    pub policy_path: Option<PathBuf>,
    /// The API server.
    pub cluster: Cluster,
    /// Tells the time.
    pub clock: Clock,
}

/// One replica that runs.
pub struct Service {
    /// Where it takes notifications.
    pub addr: SocketAddr,
    /// Who it is.
    pub identity: String,
    /// What its watches tell.
    pub caches: Arc<Caches>,
    /// What it counts.
    pub metrics: Metrics,
    door: Running,
    election: JoinHandle<()>,
    stop_leading: CancellationToken,
    stop_watching: CancellationToken,
    export: Option<Export>,
    drain_delay: Duration,
    grace: Duration,
}

// === impl Service ===

impl Service {
    /// Starts a replica. It listens at once; it decides as soon as its caches are filled.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            settings,
            mut policy,
            policy_path,
            cluster,
            clock,
        } = parts;
        let namespace = preflight::own_namespace(&settings);
        preflight::tame(&mut policy, &settings);
        preflight::protect(&mut policy, &namespace)
            .map_err(|refused| anyhow::anyhow!(refused.one_line()))?;
        let tokens = tokens(&settings)?;
        let listen = settings.intake.listen;
        let mode = preflight::senders(&settings, &policy)?;
        tracing::info!(auth = ?mode, "{}", mode.why());

        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        metrics.policy(&policy.digest);
        let stop_watching = CancellationToken::new();
        let stop_leading = CancellationToken::new();
        let hold_at = (namespace.clone(), settings.cluster.hold_config_map.clone());
        let caches = Caches::start(
            cluster.clone(),
            Arc::clone(&clock),
            hold_at,
            stop_watching.clone(),
        );
        caches.follow(&policy.namespaces());
        let policy = Arc::new(ArcSwap::from_pointee(policy));

        let identity = identity(settings.engine.identity.as_deref());
        let (spans, export) = export(&settings, &identity, &metrics)?;
        let desk = Registrar::new(
            cluster.clone(),
            Arc::clone(&caches),
            Arc::clone(&policy),
            Arc::clone(&clock),
            settings.engine.mode,
            metrics.clone(),
            spans.clone(),
        );
        let door = Server::start(
            listen,
            limits(&settings),
            Arc::new(desk),
            tokens,
            metrics.clone(),
            Arc::clone(&clock),
        )?;
        let context = Context {
            cluster: cluster.clone(),
            caches: Arc::clone(&caches),
            policy: Arc::clone(&policy),
            rights: Arc::default(),
            prober: prober(&settings, &clock).context("the HTTP client cannot be built")?,
            clock: Arc::clone(&clock),
            events: Events::new(&cluster, &identity),
            identity: identity.clone(),
            tick: settings.engine.tick,
            mode: settings.engine.mode,
            retention: settings.engine.retention.clone(),
            metrics: metrics.clone(),
            spans,
            ended: CancellationToken::new(),
        };
        let (standing, watched) = watch::channel(Standing::default());
        measure(&context, watched, &stop_watching);
        let election = elect(
            &settings,
            &namespace,
            context,
            stop_leading.clone(),
            standing,
        )?;
        if let Some(path) = policy_path {
            let reloader = Reloader {
                path,
                policy,
                caches: Arc::clone(&caches),
                metrics: metrics.clone(),
                namespace,
                settings: settings.clone(),
            };
            tokio::spawn(reloader.run(stop_watching.clone()));
        }
        Ok(Self {
            addr: door.addr,
            identity,
            caches,
            metrics,
            door,
            election,
            stop_leading,
            stop_watching,
            export,
            drain_delay: settings.intake.drain_delay,
            grace: settings.intake.shutdown_grace,
        })
    }

    /// Hands over the lease at once; says for a while that it goes, then stops accepting and finishes what was accepted;
    /// bounded in time.
    pub async fn stop(self) {
        tracing::info!("draining");
        self.door.drain();
        self.stop_leading.cancel();
        let election = tokio::time::timeout(self.grace, self.election);
        let closing = async {
            // Whoever does not know yet that this replica goes still finds the socket open.
            tokio::time::sleep(self.drain_delay).await;
            self.door.finish(self.grace).await
        };
        let (abandoned, election) = tokio::join!(closing, election);
        if let Err(abandoned) = abandoned {
            tracing::error!(error = %abandoned, "not everything that was accepted is recorded");
        }
        if election.is_err() {
            tracing::warn!("the lease was not handed over in time");
        }
        self.stop_watching.cancel();
        self.caches.stopped(WATCHES).await;
        if let Some(export) = self.export {
            export.finish().await;
        }
        tracing::info!("stopped");
    }
}

/// Keeps what is measured up to date.
fn measure(context: &Context, standing: watch::Receiver<Standing>, stop: &CancellationToken) {
    tokio::spawn(gauges(
        Arc::clone(&context.caches),
        Arc::clone(&context.policy),
        Arc::clone(&context.clock),
        standing,
        context.metrics.clone(),
        stop.clone(),
    ));
    let (namespace, hold) = context.caches.hold_at();
    let asker = Asker {
        cluster: context.cluster.clone(),
        mode: context.mode,
        home: (namespace.to_owned(), hold.to_owned()),
        metrics: context.metrics.clone(),
    };
    tokio::spawn(rights(
        asker,
        Arc::clone(&context.policy),
        Arc::clone(&context.rights),
        Arc::clone(&context.clock),
        stop.clone(),
    ));
}

/// Takes part in the election; the engine and the report work in the terms that this replica leads.
fn elect(
    settings: &Settings,
    namespace: &str,
    context: Context,
    stop: CancellationToken,
    standing: watch::Sender<Standing>,
) -> anyhow::Result<JoinHandle<()>> {
    let reporters = Reporters::new(settings, namespace)?;
    let clock = Arc::clone(&context.clock);
    let lease = Lease::new(
        context.cluster.client(),
        namespace,
        settings.engine.lease_name.clone(),
        context.identity.clone(),
        settings.engine.lease.clone(),
        move || clock(),
    );
    let on_term = move |term: &Term| begin(&context, &reporters, term);
    Ok(tokio::spawn(leader::lead(lease, stop, standing, on_term)))
}

/// Puts the engine and the report to work for a term.
fn begin(context: &Context, reporters: &Reporters, term: &Term) {
    let context = Context {
        ended: term.ended().clone(),
        ..context.clone()
    };
    let ended = term.ended();
    reporters.clone().begin(&context, |via, work| {
        let ended = ended.clone();
        let what = format!("the report by {}", via.as_str());
        term.spawn(async move { supervise(&what, &ended, work).await });
    });
    let (looks, until) = (context.clone(), ended.clone());
    let work = move || after::work(looks.clone());
    term.spawn(async move { supervise("the looks after the end", &until, work).await });
    let (engine, busy, own) = (context.clone(), Busy::default(), term.clone());
    let work = move || dispatch::work(engine.clone(), own.clone(), Busy::clone(&busy));
    let until = ended.clone();
    term.spawn(async move { supervise("the dispatch", &until, work).await });
    let until = ended.clone();
    let work = move || keeper::work(context.clone());
    term.spawn(async move { supervise("the memory", &until, work).await });
}

/// Begins to send spans, where the settings or OpenTelemetry's own variables name a collector.
fn export(
    settings: &Settings,
    identity: &str,
    metrics: &Metrics,
) -> anyhow::Result<(Spans, Option<Export>)> {
    let Some(destination) = Destination::find(&settings.telemetry.otlp, super::variable)? else {
        return Ok((Spans::nowhere(), None));
    };
    if let Some(unheard) = Destination::unheard(super::variable) {
        tracing::warn!("{unheard}");
    }
    let (spans, export) = Export::start(&destination, identity, metrics.clone())?;
    tracing::info!(collector = %destination.url, "traces of rollbacks are exported");
    Ok((spans, Some(export)))
}

/// Looks at health endpoints, and at Prometheus where one is configured.
fn prober(settings: &Settings, clock: &Clock) -> reqwest::Result<Prober> {
    let prometheus = Prometheus::new(&settings.prometheus)?;
    Ok(Prober::new(Arc::clone(clock))?.with(prometheus))
}

fn tokens(settings: &Settings) -> anyhow::Result<Option<Tokens>> {
    let intake = &settings.intake;
    if intake.schemes() == Schemes::default() {
        return Ok(None);
    }
    let (bearer, basic) = (&intake.bearer_token_files, &intake.basic_auth_files);
    Ok(Some(Tokens::load_all(bearer.clone(), basic.clone())?))
}

fn limits(settings: &Settings) -> Limits {
    let intake = &settings.intake;
    Limits {
        max_body: intake.max_body,
        bytes_in_flight: intake.bytes_in_flight,
        header_timeout: intake.header_timeout,
        body_timeout: intake.body_timeout,
        ..Limits::default()
    }
}

/// Who this replica is: never the same for two processes, as both would lead.
fn identity(configured: Option<&str>) -> String {
    let told = || {
        ["POD_NAME", "HOSTNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
    };
    let name = configured
        .map(str::to_owned)
        .or_else(told)
        .unwrap_or_else(|| "ripcord".to_owned());
    format!("{name}-{}", RandomIdGenerator::default().new_span_id())
}
