//! Wires the report: what it is told from, where it sends, and what is counted of it.

use std::sync::Arc;

use anyhow::Context as _;

use crate::cluster::Caches;
use crate::config::settings::Settings;
use crate::engine::Context;
use crate::policy::Policy;
use crate::report::audience::Everyone;
use crate::report::email::Email;
use crate::report::once::Each;
use crate::report::outbox::{Outbox, Outcome, Subject};
use crate::report::pagerduty::PagerDuty;
use crate::report::post::{DEFAULT_TIMEOUT, Poster};
use crate::report::reporter::{Reporter, Via};
use crate::report::slack::{Hook, InSlack, SlackClient};
use crate::report::webhook::{Webhook, web_address};
use crate::report::{secret, settings};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Delivery;

/// All the ways in which people are told, in the terms that this replica leads.
#[derive(Clone)]
pub(super) struct Reporters {
    everyone: Everyone,
    slack: Option<InSlack>,
    hook: Option<Each<Hook>>,
    email: Option<Each<Email>>,
    pagerduty: Option<Each<PagerDuty>>,
    webhook: Option<Each<Webhook>>,
}

impl Reporters {
    /// Those that are configured.
    pub(super) fn new(settings: &Settings, namespace: &str) -> anyhow::Result<Self> {
        let report = &settings.report;
        let everyone = Everyone {
            channel: report.slack.channel.clone(),
            on_call: report.slack.on_call.clone(),
            namespace: namespace.to_owned(),
            hold: settings.cluster.hold_config_map.clone(),
        };
        let poster = Poster::new(DEFAULT_TIMEOUT).context("the HTTP client cannot be built")?;
        let reporters = Self {
            everyone,
            slack: slack(&report.slack)?,
            hook: hook(&report.slack, &poster),
            email: email(report),
            pagerduty: pagerduty(report, &poster)?,
            webhook: webhook(report, &poster),
        };
        if reporters.slack.is_none() && reporters.hook.is_none() {
            tracing::warn!("no Slack token is configured: nobody is told anything there");
        }
        Ok(reporters)
    }

    /// Begins all of them, each by itself, so that trouble with one holds up no other. `begin` gets the name of one, and
    /// the work, which can be begun again.
    pub(super) fn begin(self, context: &Context, mut begin: impl FnMut(Via, Work)) {
        let Self {
            everyone,
            slack,
            hook,
            email,
            pagerduty,
            webhook,
        } = self;
        let mut add = |one: Option<(Via, Work)>| {
            if let Some((via, work)) = one {
                begin(via, work);
            }
        };
        add(slack.map(|it| work(it, context, &everyone)));
        add(hook.map(|it| work(it, context, &everyone)));
        add(email.map(|it| work(it, context, &everyone)));
        add(pagerduty.map(|it| work(it, context, &everyone)));
        add(webhook.map(|it| work(it, context, &everyone)));
    }
}

/// The work of one reporter, begun anew each time that it is called.
pub(super) type Work = Box<dyn Fn() -> futures_util::future::BoxFuture<'static, ()> + Send>;

fn work<R: Reporter>(reporter: R, context: &Context, everyone: &Everyone) -> (Via, Work) {
    let (context, everyone) = (context.clone(), everyone.clone());
    let work = move || {
        let work = report(reporter.clone(), context.clone(), everyone.clone());
        Box::pin(work) as futures_util::future::BoxFuture<'static, ()>
    };
    (R::VIA, Box::new(work))
}

async fn report<R: Reporter>(reporter: R, context: Context, everyone: Everyone) {
    let (metrics, gauge) = (context.metrics.clone(), context.metrics.clone());
    let policy = Arc::clone(&context.policy);
    let outbox = Outbox {
        reporter,
        ledger: Arc::new(context.cluster),
        policy: Arc::new(move || policy.load_full()),
        everyone,
        clock: context.clock,
        observe: Arc::new(move |outcome| observe(&metrics, R::VIA, outcome)),
        waiting: Arc::new(move |rollbacks| gauge.reports_pending(R::VIA, rollbacks)),
        spans: context.spans,
    };
    let caches = Arc::clone(&context.caches);
    let policy = context.policy;
    let subjects = move || subjects(&caches, &policy.load());
    outbox
        .run(context.ended, subjects, context.caches.changes())
        .await;
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

fn observe(metrics: &Metrics, via: Via, outcome: Outcome) {
    let delivery = match outcome {
        Outcome::Delivered => Delivery::Delivered,
        Outcome::Limited | Outcome::Retried | Outcome::Unknown | Outcome::Anew => Delivery::Retried,
        Outcome::Refused | Outcome::NoChannel => Delivery::Refused,
        Outcome::Unrecorded | Outcome::GivenUp => Delivery::Lost,
    };
    metrics.report(via, delivery);
}

fn slack(settings: &settings::Slack) -> anyhow::Result<Option<InSlack>> {
    let token = match (&settings.token, &settings.token_file) {
        (Some(token), _) => secret::fixed(token.clone()),
        (None, Some(path)) => secret::in_file(path.clone(), "Slack token"),
        (None, None) => return Ok(None),
    };
    let client = SlackClient::new(&settings.api, DEFAULT_TIMEOUT, token)?;
    Ok(Some(InSlack(client)))
}

fn hook(settings: &settings::Slack, poster: &Poster) -> Option<Each<Hook>> {
    let path = settings.webhook_file.clone()?;
    let url = secret::in_file(path, "Slack webhook");
    let tell = settings.webhook_tell.clone();
    Some(Each(Hook::new(poster.clone(), url, tell)))
}

fn email(settings: &settings::Settings) -> Option<Each<Email>> {
    let settings = &settings.email;
    let password = settings.password_file.clone();
    let password = password.map(|path| secret::in_file(path, "password for e-mail"));
    Email::new(settings, password).map(Each)
}

fn pagerduty(
    settings: &settings::Settings,
    poster: &Poster,
) -> anyhow::Result<Option<Each<PagerDuty>>> {
    let settings = &settings.pagerduty;
    let Some(path) = &settings.routing_key_file else {
        return Ok(None);
    };
    let key = secret::in_file(path.clone(), "PagerDuty routing key");
    let api = web_address(&settings.api).context("`report.pagerduty.api` is no address")?;
    Ok(Some(Each(PagerDuty::new(poster.clone(), api, key))))
}

fn webhook(settings: &settings::Settings, poster: &Poster) -> Option<Each<Webhook>> {
    let settings = &settings.webhook;
    let url = match (&settings.url, &settings.url_file) {
        (Some(url), _) => secret::fixed(url.clone().into()),
        (None, Some(path)) => secret::in_file(path.clone(), "webhook address"),
        (None, None) => return None,
    };
    Some(Each(Webhook::new(poster.clone(), url, settings)))
}
