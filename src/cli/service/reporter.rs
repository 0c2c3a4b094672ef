//! Wires the report: what it is told from, where it sends, and what is counted of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;

use crate::cli::preflight;
use crate::cluster::Caches;
use crate::config::settings::Settings;
use crate::engine::Context;
use crate::policy::Policy;
use crate::report::audience::Everyone;
use crate::report::outbox::{Outbox, Outcome, Subject};
use crate::report::slack::{DEFAULT_TIMEOUT, SlackClient, TokenSource};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Delivery;

/// Tells people, in the terms that this replica leads.
#[derive(Clone)]
pub(super) struct Reporter {
    slack: SlackClient,
    everyone: Everyone,
}

impl Reporter {
    /// A reporter, where Slack is configured.
    pub(super) fn new(settings: &Settings, namespace: &str) -> anyhow::Result<Option<Self>> {
        let slack = &settings.report.slack;
        let Some(token) = token_source(slack.token.clone(), slack.token_file.clone()) else {
            tracing::warn!("no Slack token is configured: nobody is told anything there");
            return Ok(None);
        };
        let everyone = Everyone {
            channel: slack.channel.clone(),
            on_call: slack.on_call.clone(),
            namespace: namespace.to_owned(),
            hold: settings.cluster.hold_config_map.clone(),
        };
        let slack = SlackClient::new(&slack.api, DEFAULT_TIMEOUT, token)?;
        Ok(Some(Self { slack, everyone }))
    }

    pub(super) async fn work(self, context: Context) {
        let (metrics, gauge) = (context.metrics.clone(), context.metrics.clone());
        let policy = Arc::clone(&context.policy);
        let outbox = Outbox {
            slack: self.slack,
            ledger: Arc::new(context.cluster),
            policy: Arc::new(move || policy.load_full()),
            everyone: self.everyone,
            clock: context.clock,
            observe: Arc::new(move |outcome| observe(&metrics, outcome)),
            waiting: Arc::new(move |rollbacks| gauge.slack_pending(rollbacks)),
            spans: context.spans,
        };
        let caches = Arc::clone(&context.caches);
        let policy = context.policy;
        let subjects = move || subjects(&caches, &policy.load());
        outbox
            .run(context.ended, subjects, context.caches.changes())
            .await;
    }
}

/// All rollbacks of the policy's targets, each with its target's memory.
fn subjects(caches: &Caches, policy: &Policy) -> Vec<Subject> {
    let all = caches.rollbacks.all();
    all.into_iter()
        .map(|rollback| {
            let target = policy.targets.get(&rollback.spec.target);
            let memory = target.and_then(|target| caches.memory(target));
            (rollback, memory)
        })
        .collect()
}

fn observe(metrics: &Metrics, outcome: Outcome) {
    metrics.slack(match outcome {
        Outcome::Delivered => Delivery::Delivered,
        Outcome::Limited | Outcome::Retried | Outcome::Unknown | Outcome::Anew => Delivery::Retried,
        Outcome::Refused | Outcome::NoChannel => Delivery::Refused,
        Outcome::Unrecorded => Delivery::Lost,
    });
}

/// Where the token comes from at each call: a file is read anew, so that a new token is used at once. What
/// is wrong with it is said once, until it changes.
fn token_source(token: Option<SecretString>, file: Option<PathBuf>) -> Option<TokenSource> {
    match (token, file) {
        (Some(token), _) => Some(Arc::new(move || token.clone())),
        (None, Some(path)) => {
            let trouble = Mutex::new(None);
            Some(Arc::new(move || {
                let token = preflight::slack_token(&path);
                let now = token.as_ref().err().cloned();
                let mut before = trouble.lock().unwrap_or_else(PoisonError::into_inner);
                if *before != now {
                    if let Some(error) = &now {
                        tracing::error!(error, "there is no Slack token");
                    } else {
                        tracing::info!("the Slack token can be read again");
                    }
                    *before = now;
                }
                token.unwrap_or_default()
            }))
        }
        (None, None) => None,
    }
}
