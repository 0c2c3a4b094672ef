//! The workload of a target: a Rollout or a Deployment, in a namespace that is not protected.

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
        namespace,
    } = &raw.value;
    let (kind, name, named) = match (rollout, deployment) {
        (Some(name), None) => (Kind::Rollout, name.value.as_str(), place(source, name)),
        (None, Some(name)) => (Kind::Deployment, name.value.as_str(), place(source, name)),
        (None, None) => {
            let here = place(source, raw);
            let title = format!("target `{target}` names no workload");
            let label = "expected `rollout` or `deployment` in here";
            check.say(Diagnostic::error(title).at(here.clone(), label));
            (Kind::Rollout, "", here)
        }
        (Some(rollout), Some(deployment)) => {
            let here = place(source, deployment);
            let title = format!("target `{target}` names two workloads");
            let label = "expected either `rollout` or `deployment`";
            let diagnostic = Diagnostic::error(title).at(here.clone(), label);
            check.say(diagnostic.with(place(source, rollout), "the other stands here"));
            (Kind::Deployment, deployment.value.as_str(), here)
        }
    };
    let is_named = rollout.is_some() || deployment.is_some();
    if is_named && !words::is_dns_subdomain(name) {
        let title = format!("`{name}` cannot be the name of a {}", kind.name());
        let label = "expected a name in lower case as Kubernetes has it";
        check.say(Diagnostic::error(title).at(named.clone(), label));
    }
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
    };
    (workload, named)
}
