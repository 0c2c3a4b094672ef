//! The ground: the API server, the definitions that it keeps, and Argo Rollouts.
//!
//! A field that the cluster's definition lacks is dropped there without a word, so fields are compared, not versions.

use std::collections::BTreeSet;

use super::check::{Check, Section, expect};
use super::ground::Ground;
use crate::cluster::Error;
use crate::cluster::survey::{Pulse, Version};
use crate::rollback::crd;
use crate::target::{Kind, Target};

/// The oldest Kubernetes that Ripcord is built for: `1.33`.
const OLDEST: u32 = 33;
/// The version of Ripcord's definitions.
const VERSION: &str = "v1alpha1";
/// The Lease of the Rollouts controller, where it takes part in an election.
const CONTROLLER: &str = "argo-rollouts-controller-lock";
/// How the definitions are installed.
const DEFINE: &str = "ripcord crd | kubectl apply --server-side -f -";

/// Looks at the ground. `namespace` is that of the Rollouts controller.
pub(super) async fn section(ground: &Ground<'_>, namespace: &str) -> Section {
    let mut checks = vec![api_server(&ground.version)];
    for (kind, definition) in [("Rollback", crd::rollbacks()), ("Target", crd::targets())] {
        let published = ground.cluster.published(VERSION, kind).await;
        let there = published.map(|schema| schema.map(|schema| crd::fields(&schema)));
        let name = definition.metadata.name.clone().unwrap_or_default();
        checks.push(definitions(&name, &crd::fields_of(&definition), there));
    }
    let mut rollouts = ground.targets.iter();
    if let Some(target) = rollouts.find(|it| it.workload.kind == Kind::Rollout) {
        checks.push(installed(
            target,
            ground.cluster.serves(&target.workload).await,
        ));
        match ground.cluster.pulse(namespace, CONTROLLER).await {
            Ok(pulse) => checks.extend(controller(namespace, pulse)),
            // Whether it looks is seen at each target, too.
            Err(error) => tracing::debug!(%error, "the controller's Lease cannot be read"),
        }
    }
    Section::of("the cluster", checks)
}

fn api_server(version: &Version) -> Check {
    let asked = expect("API server", format!("Kubernetes 1.{OLDEST} or newer"));
    let found = format!("Kubernetes {}", version.full);
    match version.minor {
        Some(minor) if minor >= OLDEST => asked.ok(found),
        Some(_) => asked.warning(found, "upgrade it: nothing is known of Ripcord on it"),
        None => asked.warning(found, "see which version it is"),
    }
}

/// What a definition keeps, against what this program writes.
fn definitions(
    name: &str,
    ours: &BTreeSet<String>,
    there: Result<Option<BTreeSet<String>>, Error>,
) -> Check {
    let said = format!(
        "{} fields, those of ripcord {}",
        ours.len(),
        env!("CARGO_PKG_VERSION")
    );
    let asked = expect(name, said);
    let there = match there {
        Ok(Some(there)) => there,
        Ok(None) => return asked.failed("it is not installed", DEFINE),
        Err(error) => return asked.unread(&error, "read /openapi/v3, as everybody may"),
    };
    let missing: Vec<_> = ours.difference(&there).collect();
    let spare: Vec<_> = there.difference(ours).collect();
    if let Some(first) = missing.first() {
        let found = format!(
            "it lacks {first}{}: what is written there is dropped",
            more(missing.len())
        );
        return asked.failed(found, DEFINE);
    }
    match spare.first() {
        Some(first) => {
            let found = format!("it has {first}{} besides", more(spare.len()));
            let help = "use the program of the version that is installed";
            asked.warning(found, help)
        }
        None => asked.ok(format!("all {} fields", there.len())),
    }
}

/// ` and 2 more` after the first of three.
fn more(all: usize) -> String {
    match all.saturating_sub(1) {
        0 => String::new(),
        others => format!(" and {others} more"),
    }
}

fn installed(target: &Target, served: Result<bool, Error>) -> Check {
    let asked = expect("Argo Rollouts", "rollouts.argoproj.io is served");
    match served {
        Ok(true) => asked.ok("rollouts.argoproj.io is served"),
        Ok(false) => asked.failed(
            "the cluster knows no rollouts.argoproj.io",
            "install Argo Rollouts",
        ),
        Err(error) => {
            let right = format!("list rollouts.argoproj.io in {}", target.workload.namespace);
            asked.unread(&error, &right)
        }
    }
}

/// Whether the controller lives, where a Lease tells. One that runs alone may have none.
fn controller(namespace: &str, pulse: Pulse) -> Option<Check> {
    let asked = expect("Rollouts controller", "it renews its Lease");
    let help = format!("see its pods: kubectl get pods -n {namespace}");
    match pulse {
        Pulse::Absent => None,
        Pulse::Alive { holder } => Some(asked.ok(format!("{holder} leads"))),
        Pulse::Free => Some(asked.failed("nobody holds its Lease", help)),
        Pulse::Silent { holder, .. } => {
            let found = format!("{holder} holds its Lease and does not renew it");
            Some(asked.failed(found, help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn fields(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn a_definition_must_keep_every_field_that_is_written() {
        let ours = fields(&["spec.a", "status.b", "status.c"]);
        let judge = |there| {
            let check = definitions("rollbacks.ripcord.dev", &ours, there);
            (check.verdict, check.found)
        };
        assert_eq!(
            judge(Ok(Some(ours.clone()))),
            (Verdict::Ok, "all 3 fields".into())
        );
        let (verdict, found) = judge(Ok(Some(fields(&["spec.a"]))));
        assert_eq!(verdict, Verdict::Failed);
        assert!(found.starts_with("it lacks status.b and 1 more"), "{found}");
        let newer = fields(&["spec.a", "spec.z", "status.b", "status.c"]);
        assert_eq!(
            judge(Ok(Some(newer))),
            (Verdict::Warning, "it has spec.z besides".into())
        );
        assert_eq!(judge(Ok(None)).0, Verdict::Failed);
        let refused = judge(Err(Error::Forbidden("no".into())));
        assert_eq!(refused.0, Verdict::Failed, "what nobody saw is not well");
    }

    #[test]
    fn an_old_cluster_is_warned_of() {
        let of = |minor| {
            let version = Version {
                full: String::new(),
                minor,
            };
            api_server(&version).verdict
        };
        assert_eq!(of(Some(33)), Verdict::Ok);
        assert_eq!(of(Some(32)), Verdict::Warning);
        assert_eq!(of(None), Verdict::Warning);
    }

    #[test]
    fn a_controller_that_holds_its_lease_and_is_silent_fails() {
        let of = |pulse| controller("argo-rollouts", pulse).map(|check| check.verdict);
        let holder = || "a".to_owned();
        assert_eq!(of(Pulse::Absent), None);
        assert_eq!(of(Pulse::Alive { holder: holder() }), Some(Verdict::Ok));
        let silent = Pulse::Silent {
            holder: holder(),
            renewed: None,
        };
        assert_eq!(of(silent), Some(Verdict::Failed));
        assert_eq!(of(Pulse::Free), Some(Verdict::Failed));
    }
}
