//! What the service needs besides sound settings and a sound policy: asked by `serve` before it starts, and by `check`.
//!
//! It refuses to ask the cluster or Slack: an answer from there is no property of the configuration.

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;
use secrecy::ExposeSecret as _;

use crate::cluster::redis::files;
use crate::config::{Diagnostic, Settings};
use crate::intake::auth::{self, AuthError, AuthMode, Tokens};
use crate::policy::Policy;
use crate::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use crate::procedure::{Procedure, StepSpec};
use crate::report::webhook::{read_headers, web_address};
use crate::report::{self, email, secret};
use crate::rollback::object::Mode;
use crate::telemetry::{logs, otlp};

/// Where Kubernetes tells a pod its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What would keep the service from starting, or is probably not meant. `files` says whether to look at the files, and at
/// the passwords, that settings and policy name; without a policy, what depends on it is left out.
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
        if files {
            found.extend(locked(policy));
        }
        let mut policy = policy.clone();
        tame(&mut policy, settings);
        found.extend(mute(settings, &policy));
        found.extend(unheard(settings, &policy));
        found.extend(unasked(settings, &policy));
        found.extend(unused_channel(settings, &policy));
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

/// Channels of targets that nothing is ever sent to.
fn unused_channel(settings: &Settings, policy: &Policy) -> Option<Diagnostic> {
    settings.report.slack.webhook_file.as_ref()?;
    let mut all = policy.targets.values();
    let target = all.find(|target| target.audience.channel.is_some())?;
    let title = format!("the channel of target `{}` is not used", target.name);
    let help = "an incoming webhook (`report.slack.webhook_file`) has a channel of its own";
    Some(Diagnostic::warning(title).help(help))
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

/// Numbers that the policy asks for, where there is no Prometheus to ask.
fn unasked(settings: &Settings, policy: &Policy) -> Option<Diagnostic> {
    if settings.prometheus.url.is_some() {
        return None;
    }
    let mut targets = policy.targets.values();
    let target = targets.find(|target| !target.after.is_empty());
    let asks = |procedure: &&Procedure| {
        let mut steps = procedure.steps.iter();
        steps.any(|step| matches!(step, StepSpec::Metric(_)))
    };
    let procedure = policy.procedures.values().find(asks);
    let who = target.map(|it| format!("`after` of target `{}`", it.name));
    let who =
        who.or_else(|| procedure.map(|it| format!("step `metric` of procedure `{}`", it.name)))?;
    let title = format!("{who} asks for a number, and no Prometheus is configured");
    Some(Diagnostic::error(title).help("give its address as `prometheus.url` in the settings"))
}

/// Passwords and certificates of the targets' Redis that the service could not read. A flush comes after the traffic has
/// moved: that is too late to find it out.
pub(super) fn locked(policy: &Policy) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for target in policy.targets.values() {
        let Some(redis) = &target.redis else { continue };
        let mut say = |why: String, keys: &str| {
            let title = format!("`redis` of target `{}`: {why}", target.name);
            let help = format!(
                "put it there, or say where it is by {keys}; on another machine, leave it out by `ripcord check --no-files`"
            );
            found.push(Diagnostic::error(title).help(help));
        };
        if let Some(Err(why)) = redis.password.as_ref().map(files::password) {
            say(why, "`password_file` or `password_env`");
        }
        let file = redis.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
        if let Some(Err(why)) = file.map(|path| files::certificates(path)) {
            say(why, "`ca_file`");
        }
    }
    found
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
    found.extend(
        secrets(&settings.report)
            .into_iter()
            .filter_map(|(key, why)| {
                let why = why?;
                Some(Diagnostic::error(format!("setting `report.{key}`: {why}")))
            }),
    );
    if let Some(path) = &settings.prometheus.bearer_file
        && let Err(why) = secret::read(path)
    {
        found.push(Diagnostic::error(format!(
            "setting `prometheus.bearer_file`: {why}"
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

/// The files of the report's secrets, each with what is wrong with it.
fn secrets(report: &report::settings::Settings) -> Vec<(&'static str, Option<String>)> {
    let unreadable = |path: &Option<PathBuf>| secret::read(path.as_ref()?).err();
    let no_address = |path: &Option<PathBuf>| match secret::read(path.as_ref()?) {
        Ok(url) if web_address(url.expose_secret()).is_some() => None,
        Ok(_) => Some("holds no address that begins with https:// or http://".to_owned()),
        Err(why) => Some(why),
    };
    let headers = report.webhook.headers_file.as_ref();
    let authority = report.email.ca_file.as_ref();
    let no_authority = authority.and_then(|path| email::authority(path).err());
    vec![
        ("slack.token_file", unreadable(&report.slack.token_file)),
        ("slack.webhook_file", no_address(&report.slack.webhook_file)),
        ("email.ca_file", no_authority),
        (
            "email.password_file",
            unreadable(&report.email.password_file),
        ),
        (
            "pagerduty.routing_key_file",
            unreadable(&report.pagerduty.routing_key_file),
        ),
        ("webhook.url_file", no_address(&report.webhook.url_file)),
        (
            "webhook.headers_file",
            headers.and_then(|path| read_headers(path).err()),
        ),
    ]
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
