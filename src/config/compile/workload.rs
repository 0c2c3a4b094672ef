//! The workload of a target: a Rollout, a Deployment, or a Service that selects one of two Deployments, in a namespace that is
//! not protected.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::{Check, place, words};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::target::{Kind, Workload};

/// The workload, and where its name stands.
pub(super) fn compile(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    target: &str,
    raw: &Spanned<raw::Workload>,
    protected: &BTreeMap<String, Option<Place>>,
) -> (Workload, Place) {
    let raw::Workload {
        rollout,
        deployment,
        service,
        deployments,
        namespace,
    } = &raw.value;
    let named = [
        (Kind::Rollout, rollout),
        (Kind::Deployment, deployment),
        (Kind::Service, service),
    ];
    let mut named = named
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, name.as_ref()?)));
    let (kind, name, named) = match (named.next(), named.next()) {
        (Some((kind, name)), None) => (kind, name.value.as_str(), place(source, name)),
        (None, _) => {
            let here = place(source, raw);
            let title = format!("target `{target}` names no workload");
            let label = "expected `rollout`, `deployment` or `service` in here";
            check.say(Diagnostic::error(title).at(here.clone(), label));
            (Kind::Rollout, "", here)
        }
        (Some((first, other)), Some((kind, name))) => {
            let here = place(source, name);
            let title = format!("target `{target}` names two workloads");
            let label = format!("expected either `{}` or `{}`", first.word(), kind.word());
            let diagnostic = Diagnostic::error(title).at(here.clone(), label);
            check.say(diagnostic.with(place(source, other), "the other stands here"));
            (kind, name.value.as_str(), here)
        }
    };
    let is_named = !name.is_empty();
    if is_named && !words::is_dns_subdomain(name) {
        let title = format!("`{name}` cannot be the name of a {}", kind.name());
        let label = "expected a name in lower case as Kubernetes has it";
        check.say(Diagnostic::error(title).at(named.clone(), label));
    }
    let deployments = selected(check, source, kind, &named, deployments.as_ref());
    let at = place(source, namespace);
    check.dns(&at, "namespace", &namespace.value);
    if let Some(said) = protected.get(&namespace.value) {
        let title = format!("target `{target}` is in a protected namespace");
        let diagnostic = Diagnostic::error(title).at(at, "Ripcord never acts in here");
        check.say(match said {
            Some(there) => diagnostic.with(there.clone(), "it is protected here"),
            None => diagnostic.help("this namespace is always protected"),
        });
    }
    let workload = Workload {
        kind,
        namespace: namespace.value.clone(),
        name: name.to_owned(),
        deployments,
    };
    (workload, named)
}

/// The two Deployments that a Service selects between; none of another kind.
fn selected(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    kind: Kind,
    named: &Place,
    deployments: Option<&Spanned<Vec<Spanned<String>>>>,
) -> Vec<String> {
    let Some(raw) = deployments else {
        if kind == Kind::Service {
            let title = "a Service alone is no release";
            let label = "expected `deployments` beside it: the two that it selects between";
            check.say(Diagnostic::error(title).at(named.clone(), label));
        }
        return Vec::new();
    };
    let here = place(source, raw);
    if kind != Kind::Service {
        let title = "`deployments` without `service`";
        let label = "expected `service` too: what selects one of them";
        check.say(Diagnostic::error(title).at(here, label));
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    for name in &raw.value {
        if !words::is_dns_subdomain(&name.value) {
            let title = format!("`{}` cannot be the name of a Deployment", name.value);
            let label = "expected a name in lower case as Kubernetes has it";
            check.say(Diagnostic::error(title).at(place(source, name), label));
        }
        if !names.contains(&name.value) {
            names.push(name.value.clone());
        }
    }
    if names.len() != 2 || raw.value.len() != 2 {
        let title = "a Service is led from one Deployment to another";
        let label = "expected the names of two Deployments";
        check.say(Diagnostic::error(title).at(here, label));
    }
    names
}
