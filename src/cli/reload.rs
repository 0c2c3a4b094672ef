//! Reads the policy again while the service runs: when its files have changed, or a person sends SIGHUP.
//!
//! A policy that the service could not start with is refused, and the old one stays in force. What was refused is tried again
//! at each look: a password that it names may come later than the policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::preflight;
use crate::cluster::Caches;
use crate::config::policy::{digest, read_sources};
use crate::config::{Diagnostic, Level, Loaded, Settings, Source, read_policy};
use crate::policy::Policy;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Reload;

/// How often the policy's files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Puts changed policies in force.
pub(super) struct Reloader {
    /// The file or folder.
    pub path: PathBuf,
    /// The policy in force.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What watches the policy's namespaces.
    pub caches: Arc<Caches>,
    /// What counts the reloads.
    pub metrics: Metrics,
    /// Ripcord's own namespace.
    pub namespace: String,
    /// The settings, which a policy must fit.
    pub settings: Settings,
}

/// What the files held when they were last looked at, and what is wrong with it.
#[derive(Default)]
struct Seen {
    /// The digest of their texts, or why there is none.
    was: Option<Result<String, String>>,
    refused: Vec<String>,
}

impl Reloader {
    pub(super) async fn run(self, stop: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return;
        };
        let mut seen = Seen {
            was: Some(Ok(self.policy.load().digest.clone())),
            ..Seen::default()
        };
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => false,
                _ = hangup.recv() => true,
            };
            let changed = self.look(&mut seen).await;
            if changed || asked {
                for fault in &seen.refused {
                    tracing::error!(
                        fault,
                        "the new policy is refused, the old one stays in force"
                    );
                }
            }
        }
    }

    /// Looks at the files, and says whether there is news of them. Only what has changed, or was refused, is read as a policy.
    async fn look(&self, seen: &mut Seen) -> bool {
        let path = self.path.clone();
        // Files may lie on a slow volume, and a large policy takes its time.
        let Ok(found) = tokio::task::spawn_blocking(move || read_sources(&path)).await else {
            return false;
        };
        let is = match &found {
            Ok(sources) => Ok(digest(sources)),
            Err(fault) => Err(fault.one_line()),
        };
        let same = seen.was.as_ref() == Some(&is);
        if same && seen.refused.is_empty() {
            return false;
        }
        seen.was = Some(is);
        let loaded = match found {
            Ok(sources) => self.compile(sources).await,
            Err(fault) => Err(vec![fault]),
        };
        let refused: Vec<_> = match &loaded {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(Diagnostic::one_line).collect(),
        };
        if same && seen.refused == refused {
            return false;
        }
        seen.refused = refused;
        match loaded {
            Ok(loaded) => self.take(loaded),
            Err(_) => self.metrics.policy_reload(Reload::Refused),
        }
        true
    }

    async fn compile(&self, sources: Vec<Source>) -> Result<Loaded, Vec<Diagnostic>> {
        let settings = self.settings.clone();
        let namespace = self.namespace.clone();
        let work = move || {
            let mut loaded = read_policy(sources).into_loaded()?;
            preflight::tame(&mut loaded.policy, &settings);
            preflight::protect(&mut loaded.policy, &namespace).map_err(|fault| vec![fault])?;
            // The files of the settings were looked at when the service started, and their users look at them again.
            let (mut errors, warnings): (Vec<_>, Vec<_>) =
                preflight::inspect(&settings, Some(&loaded.policy), false)
                    .into_iter()
                    .partition(|one| one.level == Level::Error);
            // What a new policy names nobody has looked at yet.
            errors.extend(preflight::locked(&loaded.policy));
            if !errors.is_empty() {
                return Err(errors);
            }
            loaded.warnings.extend(warnings);
            Ok(loaded)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(vec![Diagnostic::error(error.to_string())]))
    }

    /// Puts a policy in force, unless it is.
    fn take(&self, loaded: Loaded) {
        if loaded.policy.digest == self.policy.load().digest {
            tracing::info!(
                policy = loaded.policy.digest,
                "the policy in force is back in its files"
            );
            return;
        }
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.one_line());
        }
        tracing::info!(
            policy = loaded.policy.digest,
            targets = loaded.policy.targets.len(),
            triggers = loaded.policy.triggers.len(),
            acting = loaded.policy.acting(),
            "a new policy is in force"
        );
        self.caches.follow(&loaded.policy.namespaces());
        self.metrics.policy(&loaded.policy.digest);
        self.metrics.policy_reload(Reload::Loaded);
        self.policy.store(Arc::new(loaded.policy));
    }
}

#[cfg(test)]
mod tests;
