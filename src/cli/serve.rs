//! `ripcord serve`: the service, until it is told to stop.

use std::path::Path;
use std::process;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::service::{Parts, Service};
use crate::cluster::{Cluster, clock};
use crate::config::{Diagnostic, Settings, load_policy};
use crate::telemetry::logs;

/// Runs the service; what is wrong with its settings or policy is said before anything listens.
///
/// # Errors
/// What kept it from starting, or from running on.
pub async fn run(settings: Option<&Path>, policy: &Path) -> anyhow::Result<Exit> {
    let settings = match Settings::load(settings, super::variables()) {
        Ok(settings) => settings,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let log = &settings.telemetry.log;
    logs::init(log.format, &log.filter)?;
    let loaded = match load_policy(policy) {
        Ok(loaded) => loaded,
        Err(faults) => return Ok(refuse(&faults)),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.one_line());
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        policy = loaded.policy.digest,
        targets = loaded.policy.targets.len(),
        triggers = loaded.policy.triggers.len(),
        "ripcord starts"
    );
    let cluster = Cluster::connect(
        settings.cluster.kubeconfig.as_deref(),
        settings.cluster.request_timeout,
    )
    .await
    .context("the cluster cannot be reached as configured")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let service = Service::start(Parts {
        settings,
        policy: loaded.policy,
        policy_path: Some(policy.to_owned()),
        cluster,
        clock: clock::system(),
    })?;
    tracing::info!(listen = %service.addr, identity = service.identity, "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // A second signal ends it at once: whatever is under way goes on in another replica.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        process::exit(1);
    });
    service.stop().await;
    Ok(Exit::Done)
}

/// Says what is wrong with the settings or the policy.
fn refuse(faults: &[Diagnostic]) -> Exit {
    for fault in faults {
        anstream::eprintln!("{}", fault.render(true));
    }
    Exit::Invalid
}
