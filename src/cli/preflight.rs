//! What the service needs besides sound settings and a sound policy: asked by `serve` before it starts, and by `check`.
//!
//! It refuses to ask the cluster or Slack: an answer from there is no property of the configuration.

use std::path::Path;

use kube::config::Kubeconfig;
use secrecy::SecretString;

use crate::config::{Diagnostic, Settings};
use crate::intake::auth::{self, AuthError, AuthMode, Tokens};
use crate::policy::Policy;
use crate::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use crate::rollback::object::Mode;
use crate::telemetry::{logs, otlp};

/// Where Kubernetes tells a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What would keep the service from starting, or is probably not meant. `files` says whether to look at the files that
/// the settings name; without a policy, what depends on it is left out.
pub(super) fn inspect(
    settings: &Settings,
    policy: Option<&Policy>,
    files: bool,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Err(error) = logs::parse(&settings.telemetry.log.filter) {
        found.push(Diagnostic::error(format!(
            "setting `telemetry.log.filter`: {error}"
        )));
    }
    if files {
        found.extend(unusable(settings));
    }
    if let Some(policy) = policy {
        if let Err(error) = senders(settings, policy) {
            found.push(Diagnostic::error(error.to_string()));
        }
        let mut policy = policy.clone();
        tame(&mut policy, settings);
        found.extend(mute(settings, &policy));
        found.extend(unheard(settings, &policy));
        found.extend(protect(&mut policy, &own_namespace(settings)).err());
    }
    found
}

/// How senders are told from strangers.
///
/// # Errors
/// That anybody could roll back a release.
pub(super) fn senders(settings: &Settings, policy: &Policy) -> Result<AuthMode, AuthError> {
    let acting = settings.engine.mode == Mode::Act && policy.acting() > 0;
    auth::decide(settings.intake.listen, settings.intake.schemes(), acting)
}

/// What the settings make of a policy: where nothing may be done, no trigger acts.
pub(super) fn tame(policy: &mut Policy, settings: &Settings) {
    if settings.engine.mode == Mode::Shadow {
        policy.watch_only();
    }
}

/// Protects Ripcord's own namespace, whatever the policy says.
///
/// # Errors
/// The targets that the policy has there.
pub(super) fn protect(policy: &mut Policy, namespace: &str) -> Result<(), Diagnostic> {
    policy.protected.insert(namespace.to_owned());
    let all = policy.targets.values();
    let inside: Vec<_> = all
        .filter(|target| target.workload.namespace == namespace)
        .map(|target| format!("`{}`", target.name))
        .collect();
    if inside.is_empty() {
        return Ok(());
    }
    let title = format!(
        "{} cannot be a target: `{namespace}` is Ripcord's own namespace",
        inside.join(", ")
    );
    Err(Diagnostic::error(title)
        .help("Ripcord's own namespace is `engine.namespace`, or the pod's"))
}

/// Whether Slack is told things, and in no channel but the targets' own.
fn speaks_to_targets_only(settings: &Settings) -> bool {
    let slack = &settings.report.slack;
    (slack.token.is_some() || slack.token_file.is_some()) && slack.channel.is_none()
}

/// Slack that could be told nothing about some targets.
fn mute(settings: &Settings, policy: &Policy) -> Option<Diagnostic> {
    if !speaks_to_targets_only(settings) {
        return None;
    }
    let all = policy.targets.values();
    let without: Vec<_> = all
        .filter(|target| target.audience.channel.is_none())
        .map(|target| format!("`{}`", target.name))
        .collect();
    let shown = without.iter().take(5).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = without.len().saturating_sub(5);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let title = format!("nobody is told in Slack about {shown}{more}");
    (!without.is_empty()).then(|| {
        Diagnostic::warning(title)
            .help("name a channel in `report.slack.channel`, or one in each target")
    })
}

/// Triggers whose alerts can lead to no target, and so to no target's channel, where there is no other.
fn unheard(settings: &Settings, policy: &Policy) -> Option<Diagnostic> {
    let open = |trigger: &&Trigger| {
        trigger.mode.acts()
            && (matches!(trigger.target, TargetChoice::FromLabels { .. })
                || matches!(trigger.severity, SeverityChoice::FromLabel { .. }))
    };
    let first = policy.triggers.iter().find(open)?;
    speaks_to_targets_only(settings).then(|| {
        let title = format!(
            "nobody is told in Slack about alerts of trigger `{}` whose labels name no target or no severity",
            first.name
        );
        Diagnostic::warning(title).help("name a channel in `report.slack.channel`")
    })
}

/// The files that the settings name and that the service could not use.
fn unusable(settings: &Settings) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // One by one: all that is wrong is said at once.
    for path in &settings.intake.bearer_token_files {
        if let Err(error) = Tokens::load(vec![path.clone()]) {
            found.push(Diagnostic::error(format!(
                "setting `intake.bearer_token_files`: {error}"
            )));
        }
    }
    for path in &settings.intake.basic_auth_files {
        if let Err(error) = Tokens::load_all(Vec::new(), vec![path.clone()]) {
            found.push(Diagnostic::error(format!(
                "setting `intake.basic_auth_files`: {error}"
            )));
        }
    }
    if let Some(path) = &settings.report.slack.token_file
        && let Err(why) = slack_token(path)
    {
        found.push(Diagnostic::error(format!(
            "setting `report.slack.token_file`: {why}"
        )));
    }
    if let Some(path) = &settings.telemetry.otlp.headers_file
        && let Err(why) = otlp::headers(path)
    {
        found.push(Diagnostic::error(format!(
            "setting `telemetry.otlp.headers_file`: {why}"
        )));
    }
    if let Some(path) = &settings.cluster.kubeconfig
        && let Err(error) = Kubeconfig::read_from(path)
    {
        let path = path.display();
        found.push(Diagnostic::error(format!(
            "setting `cluster.kubeconfig`: {path}: {error}"
        )));
    }
    found
}

/// The Slack token in a file, or why there is none.
pub(super) fn slack_token(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("{shown} is empty")),
        Ok(text) => Ok(SecretString::from(text.trim().to_owned())),
        Err(error) => Err(format!("cannot read {shown}: {error}")),
    }
}

/// Ripcord's own namespace: what the settings say, else what Kubernetes says.
pub(super) fn own_namespace(settings: &Settings) -> String {
    let told = || {
        std::env::var("POD_NAMESPACE")
            .ok()
            .filter(|namespace| !namespace.is_empty())
    };
    let mounted = || {
        std::fs::read_to_string(Path::new(NAMESPACE_FILE))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let configured = settings.engine.namespace.clone();
    configured
        .or_else(told)
        .or_else(mounted)
        .unwrap_or_else(|| "ripcord".to_owned())
}
