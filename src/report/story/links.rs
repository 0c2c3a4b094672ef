//! Links: those that the alert brings, and those that the policy configures as templates.

use super::Case;
use crate::report::blocks::link;
use crate::report::page::Span;
use crate::target::link::{AlertFacts, LinkFacts};

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
        let facts = self.facts();
        for wanted in configured {
            match wanted.render(&facts) {
                Ok(url) => match span(&url, &wanted.name) {
                    Some(link) => links.push(link),
                    None => faults.push(format!("link {} is no web address", wanted.name)),
                },
                Err(error) => faults.push(format!("link {}: {error}", wanted.name)),
            }
        }
        (links, faults)
    }

    fn facts(&self) -> LinkFacts {
        let spec = &self.rollback.spec;
        let plan = self.state.plan.as_ref();
        let procedure = plan
            .map(|plan| plan.procedure.clone())
            .or_else(|| spec.procedure.clone());
        let alert = self.alert().map(|alert| AlertFacts {
            name: alert.name.clone(),
            fingerprint: alert.fingerprint.clone(),
            began: alert.began.to_string(),
            summary: alert.summary.clone().unwrap_or_default(),
            runbook: alert.runbook.clone().unwrap_or_default(),
            source: alert.source.clone().unwrap_or_default(),
        });
        LinkFacts {
            target: spec.target.clone(),
            namespace: self.rollback.namespace().to_owned(),
            workload: self
                .target
                .map(|target| target.workload.name.clone())
                .unwrap_or_default(),
            from: self.rollback.from().cloned(),
            to: self.rollback.to().cloned(),
            alert: alert.unwrap_or_default(),
            trigger: spec.trigger.clone().unwrap_or_default(),
            severity: self.rollback.severity().to_string(),
            procedure: procedure.unwrap_or_default(),
        }
    }
}

fn span(url: &str, label: &str) -> Option<Span> {
    link(url, label).map(|_| Span::Link {
        url: url.to_owned(),
        label: label.to_owned(),
    })
}
