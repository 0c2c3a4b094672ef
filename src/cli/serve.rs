//! `ripcord serve`: the service, until it is told to stop.

use std::path::Path;
use std::process;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::preflight;
use super::service::{Parts, Service};
use crate::cluster::{Cluster, clock};
use crate::config::{Diagnostic, Level, Loaded, Settings, load_policy};
use crate::rollback::object::Mode;
use crate::telemetry::logs;

/// Runs the service; what is wrong with its settings or policy is said before anything listens.
///
/// # Errors
/// What kept it from starting, or from running on.
pub async fn run(settings: Option<&Path>, policy_path: &Path) -> anyhow::Result<Exit> {
    let settings = Settings::load(settings, super::variables());
    let loaded = load_policy(policy_path);
    let (settings, mut loaded, warnings) = match sound(settings, loaded) {
        Ok(sound) => sound,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let log = &settings.telemetry.log;
    logs::init(log.format, &log.filter)?;
    for warning in &warnings {
        tracing::warn!("{}", warning.one_line());
    }
    preflight::tame(&mut loaded.policy, &settings);
    if settings.engine.mode == Mode::Shadow {
        tracing::warn!("engine.mode is shadow: no trigger acts, and no workload is changed");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        policy = loaded.policy.digest,
        targets = loaded.policy.targets.len(),
        triggers = loaded.policy.triggers.len(),
        acting = loaded.policy.acting(),
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
        policy_path: Some(policy_path.to_owned()),
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

/// Settings and policy that the service can start with, and what is worth a look; or everything that is wrong.
fn sound(
    settings: Result<Settings, Vec<Diagnostic>>,
    loaded: Result<Loaded, Vec<Diagnostic>>,
) -> Result<(Settings, Loaded, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut found = Vec::new();
    if let Ok(settings) = &settings {
        let policy = loaded.as_ref().ok().map(|loaded| &loaded.policy);
        found = preflight::inspect(settings, policy, true);
    }
    let refused = found.iter().any(|one| one.level == Level::Error);
    match (settings, loaded) {
        (Ok(settings), Ok(loaded)) if !refused => {
            found.extend(loaded.warnings.iter().cloned());
            Ok((settings, loaded, found))
        }
        (settings, loaded) => {
            let mut faults = settings.err().unwrap_or_default();
            faults.extend(found);
            faults.extend(loaded.err().unwrap_or_default());
            Err(faults)
        }
    }
}

/// Says what is wrong with the settings or the policy.
fn refuse(faults: &[Diagnostic]) -> Exit {
    for fault in faults {
        anstream::eprintln!("{}", fault.render(true));
    }
    Exit::Invalid
}
