//! Links: those that the alert brings, and those that the policy configures as templates.
//!
//! A template sees the facts below and nothing else: `rollback`, `target`, `namespace`, `workload`, `trigger`,
//! `severity`, `procedure`, `alert.name`, `alert.summary`, and `revision`, `hash` and `images` of `from` and `to`. A fact
//! that is not known yet is undefined, and a template that asks for it renders nothing.

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::Case;
use crate::report::blocks::link;
use crate::report::page::Span;
use crate::target::Release;

/// How much work one template may do.
const FUEL: u64 = 20_000;

#[derive(Serialize)]
struct Facts<'a> {
    rollback: &'a str,
    target: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<ReleaseFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<ReleaseFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<AlertFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a str>,
    severity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    procedure: Option<&'a str>,
}

#[derive(Serialize)]
struct ReleaseFacts<'a> {
    revision: i64,
    hash: &'a str,
    images: &'a [String],
}

#[derive(Serialize)]
struct AlertFacts<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
}

impl<'a> ReleaseFacts<'a> {
    fn of(release: &'a Release) -> Self {
        Self {
            revision: release.revision,
            hash: &release.hash,
            images: &release.images,
        }
    }
}

impl Case<'_> {
    /// The links, and why some are missing.
    pub(super) fn links(&self) -> (Vec<Span>, Vec<String>) {
        let mut links = Vec::new();
        let mut faults = Vec::new();
        let alert = self.alert();
        let brought = [
            ("runbook", alert.and_then(|alert| alert.runbook.as_deref())),
            ("alert", alert.and_then(|alert| alert.source.as_deref())),
        ];
        for (label, url) in brought {
            // An address that is no link is foreign text; nobody is helped by reading it.
            links.extend(url.and_then(|url| span(url, label)));
        }
        let configured = self.target.map_or(&[][..], |target| &target.links);
        if configured.is_empty() {
            return (links, faults);
        }
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        let facts = minijinja::Value::from(minijinja::value::Serde(self.facts()));
        for wanted in configured {
            match templates.render_str(&wanted.url, &facts) {
                Ok(url) => match span(&url, &wanted.name) {
                    Some(link) => links.push(link),
                    None => faults.push(format!("link {} is no web address", wanted.name)),
                },
                Err(error) => faults.push(format!("link {}: {error}", wanted.name)),
            }
        }
        (links, faults)
    }

    fn facts(&self) -> Facts<'_> {
        let rollback = self.rollback;
        let plan = self.state.plan.as_ref();
        Facts {
            rollback: rollback.name(),
            target: &rollback.spec.target,
            namespace: rollback.namespace(),
            workload: self.target.map(|target| target.workload.name.as_str()),
            from: rollback.from().map(ReleaseFacts::of),
            to: rollback.to().map(ReleaseFacts::of),
            alert: self.alert().map(|alert| AlertFacts {
                name: &alert.name,
                summary: alert.summary.as_deref(),
            }),
            trigger: rollback.spec.trigger.as_deref(),
            severity: rollback.severity().to_string(),
            procedure: plan
                .map(|plan| plan.procedure.as_str())
                .or(rollback.spec.procedure.as_deref()),
        }
    }
}

fn span(url: &str, label: &str) -> Option<Span> {
    link(url, label).map(|_| Span::Link {
        url: url.to_owned(),
        label: label.to_owned(),
    })
}
