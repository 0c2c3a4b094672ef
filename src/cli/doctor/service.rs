//! The service itself: whether it leads, whether it is held, and whether it has its rights.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;

use super::check::{Check, Section, expect};
use super::ground::Ground;
use crate::cluster::hold::{self, ANNOTATION};
use crate::cluster::survey::Pulse;
use crate::cluster::{Cluster, Error};
use crate::config::Settings;
use crate::policy::guard::Hold;
use crate::rollback::object::Mode;

/// Looks at the service.
pub(in crate::cli) async fn section(ground: &Ground<'_>) -> Section {
    let settings = ground.settings;
    let (cluster, home) = (&ground.cluster, ground.home);
    let lease = &settings.engine.lease_name;
    let hold = &settings.cluster.hold_config_map;
    let (pulse, held, rights) = tokio::join!(
        cluster.pulse(home, lease),
        read_hold(cluster, home, hold),
        rights(ground),
    );
    let mut checks = vec![
        leader(home, lease, pulse),
        off_switch(home, hold, held),
        mode(settings),
    ];
    checks.extend(rights);
    Section::of("the service", checks)
}

fn leader(home: &str, lease: &str, pulse: Result<Pulse, Error>) -> Check {
    let asked = expect(
        "leader",
        format!("one replica renews the Lease {home}/{lease}"),
    );
    let help = format!("see its pods: kubectl get pods -n {home}");
    match pulse {
        Ok(Pulse::Alive { holder }) => asked.ok(format!("{holder} leads")),
        Ok(Pulse::Absent) => asked.failed("there is no Lease: it never ran here", help),
        Ok(Pulse::Free) => asked.failed("nobody leads", help),
        Ok(Pulse::Silent { holder, renewed }) => {
            let renewed = renewed.map_or_else(String::new, |at| format!(", last at {at:.0}"));
            let found =
                format!("nobody leads: {holder} does not renew its Lease any more{renewed}");
            asked.failed(found, help)
        }
        Err(error) => asked.unread(&error, &format!("get leases in {home}")),
    }
}

async fn read_hold(cluster: &Cluster, home: &str, name: &str) -> Result<Hold, Error> {
    let found = cluster.call(cluster.api::<ConfigMap>(home).get(name)).await;
    match found {
        Ok(found) => Ok(hold::of(&found)),
        Err(Error::NotFound(said)) => Ok(Hold::Unreadable(said)),
        Err(error) => Err(error),
    }
}

fn off_switch(home: &str, name: &str, hold: Result<Hold, Error>) -> Check {
    let asked = expect(
        "off switch",
        format!("ConfigMap {home}/{name} holds nothing"),
    );
    match hold {
        Ok(Hold::Free) => asked.ok("nothing is held"),
        Ok(Hold::Held(said)) => {
            let help = format!("kubectl annotate configmap {name} -n {home} {ANNOTATION}-");
            asked.failed(format!("nothing starts: {said}"), help)
        }
        Ok(Hold::Unreadable(said)) => asked.failed(
            format!("nothing starts: {said}"),
            format!("make it: kubectl create configmap {name} -n {home}"),
        ),
        Err(error) => asked.unread(&error, &format!("get configmaps in {home}")),
    }
}

fn mode(settings: &Settings) -> Check {
    let asked = expect("mode", "engine.mode is act");
    match settings.engine.mode {
        Mode::Shadow => asked.warning(
            "engine.mode is shadow: nothing is ever pulled back",
            "say `act` in the settings once you trust it",
        ),
        _ => asked.ok("it may act"),
    }
}

/// What the service may not do, in its own namespace and for each kind of workload in each other one.
async fn rights(ground: &Ground<'_>) -> Vec<Check> {
    let account = ground.service();
    let of = account.as_ref();
    let (home, hold) = (ground.home, &ground.settings.cluster.hold_config_map);
    let missing = ground.cluster.missing_at_home(of, home, hold).await;
    let mut checks = vec![granted(home, "", "deploy/rbac/own-namespace.yaml", missing)];
    let mut seen = BTreeSet::new();
    let mode = ground.settings.engine.mode;
    for target in &ground.targets {
        let workload = &target.workload;
        if !seen.insert((workload.namespace.clone(), workload.kind)) {
            continue;
        }
        let missing = ground.cluster.missing_rights(of, workload, mode).await;
        let what = format!(" for {}", workload.kind.plural());
        let role = "the overlay of that namespace, as deploy/examples shows";
        checks.push(granted(&workload.namespace, &what, role, missing));
    }
    let acts = mode != Mode::Shadow;
    let with_commands = ground
        .targets
        .iter()
        .filter(|it| acts && !ground.policy.commands_of(it).is_empty());
    let namespaces: BTreeSet<_> = with_commands.map(|it| &it.workload.namespace).collect();
    for namespace in namespaces {
        let missing = ground.cluster.missing_to_exec(of, namespace).await;
        let role = "deploy/rbac/exec-targets in the overlay of that namespace";
        checks.push(granted(namespace, " for commands in pods", role, missing));
    }
    checks
}

fn granted(namespace: &str, what: &str, role: &str, missing: Result<Vec<String>, Error>) -> Check {
    let name = format!("rights in {namespace}{what}");
    let asked = expect(name, "its service account has every right that it needs");
    match missing {
        Ok(missing) if missing.is_empty() => asked.ok("it has every right that it needs"),
        Ok(missing) => asked.failed(
            format!("it may not {}", missing.join(", nor ")),
            format!("apply {role}"),
        ),
        Err(error @ Error::Forbidden(_)) => asked.warning(
            format!("not checked: {error}"),
            "ask somebody who may create subjectaccessreviews, or run this in a pod of the service",
        ),
        Err(error) => asked.unread(&error, "create subjectaccessreviews"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn only_who_renews_leads() {
        let of = |pulse| leader("ripcord", "ripcord", pulse).verdict;
        let holder = || "ripcord-0".to_owned();
        assert_eq!(of(Ok(Pulse::Alive { holder: holder() })), Verdict::Ok);
        let silent = Pulse::Silent {
            holder: holder(),
            renewed: None,
        };
        for gone in [silent, Pulse::Free, Pulse::Absent] {
            assert_eq!(of(Ok(gone)), Verdict::Failed);
        }
        assert_eq!(of(Err(Error::Forbidden("no".into()))), Verdict::Failed);
    }

    #[test]
    fn whatever_holds_fails() {
        let of = |hold| off_switch("ripcord", "ripcord-hold", hold);
        assert_eq!(of(Ok(Hold::Free)).verdict, Verdict::Ok);
        let held = of(Ok(Hold::Held("jo: freeze".into())));
        assert_eq!(held.verdict, Verdict::Failed);
        assert!(held.found.contains("jo: freeze"), "{held:?}");
        let help = held.help.unwrap();
        assert!(help.ends_with("ripcord.dev/hold-"), "{help}");
        let gone = of(Ok(Hold::Unreadable("gone".into())));
        assert_eq!(gone.verdict, Verdict::Failed);
    }

    #[test]
    fn each_missing_right_is_named_and_who_may_not_ask_is_told() {
        let missing = vec!["patch rollouts.argoproj.io in shop".to_owned()];
        let found = granted("shop", "", "x", Ok(missing));
        assert_eq!(found.verdict, Verdict::Failed);
        assert_eq!(found.found, "it may not patch rollouts.argoproj.io in shop");
        let unknown = granted("shop", "", "x", Err(Error::Forbidden("no".into())));
        assert_eq!(unknown.verdict, Verdict::Warning);
    }
}
