//! Links: those that the alert brings, and those that the policy configures as templates.

use super::Case;
use crate::report::blocks::link;
use crate::report::page::Span;
use crate::target::Link;
use crate::target::link::{AlertFacts, LinkFacts};
use crate::telemetry::span::trace_id;

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
        for wanted in self.target.map_or(&[][..], |target| &target.links) {
            match self.link(wanted) {
                Ok(link) => links.push(link),
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(Err(fault)) = self.manifest() {
            faults.push(fault);
        }
        (links, faults)
    }

    /// Where the manifest is that somebody must revert, if somebody must and the policy says where it is.
    pub(super) fn manifest(&self) -> Option<Result<Span, String>> {
        let manifest = self.target?.manifest.as_ref()?;
        self.left_in_git().then(|| self.link(manifest))
    }

    fn link(&self, wanted: &Link) -> Result<Span, String> {
        let url = wanted.render(&self.facts());
        let url = url.map_err(|error| format!("link {}: {error}", wanted.name))?;
        span(&url, &wanted.name).ok_or_else(|| format!("link {} is no web address", wanted.name))
    }

    pub(super) fn facts(&self) -> LinkFacts {
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
            trace: trace_id(self.rollback).to_string(),
        }
    }
}

fn span(url: &str, label: &str) -> Option<Span> {
    link(url, label).map(|_| Span::Link {
        url: url.to_owned(),
        label: label.to_owned(),
    })
}
