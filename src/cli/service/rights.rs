//! Asks now and then whether Ripcord still has every right that it needs, so that people hear of one that is gone before it is
//! missed.
//!
//! It refuses nothing: what it knows to be missing, the leader asks again before it admits a rollback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::cluster::rights::Rights;
use crate::cluster::{Clock, Cluster, Error};
use crate::policy::Policy;
use crate::rollback::object::Mode;
use crate::target::{Kind, Workload};
use crate::telemetry::Metrics;

/// How long after the start it asks first.
const FIRST: Duration = Duration::from_secs(1);
/// How often it asks then. Within the time for which an answer counts, and in which an unused connection stays open: asking
/// at once for all that a rollback needs also keeps those connections ready that its first reads go over.
const ROUND: Duration = Duration::from_secs(60);

/// Who asks, and in whose name.
pub(super) struct Asker {
    /// The API server.
    pub(super) cluster: Cluster,
    /// What only watches needs fewer rights.
    pub(super) mode: Mode,
    /// Ripcord's own namespace, and the `ConfigMap` there that is the off switch.
    pub(super) home: (String, String),
    /// Where it is shown.
    pub(super) metrics: Metrics,
}

/// What rights are there for; in each namespace they are granted so.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Need {
    /// A rollback of a workload of this kind.
    Rollback(Kind),
    /// All else that is done for a workload of this kind.
    Besides(Kind),
    /// Commands in pods.
    Commands,
    /// Ripcord itself.
    Home,
}

/// What is missing, by namespace and need.
type Missing = BTreeMap<(String, Need), Vec<String>>;

/// What was found in a round, and in the one before.
struct Round<'a> {
    before: &'a Missing,
    found: Missing,
}

/// Asks until it is stopped.
pub(super) async fn rights(
    asker: Asker,
    policy: Arc<ArcSwap<Policy>>,
    rights: Arc<Rights>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut known = Missing::new();
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = ROUND,
        }
        let now = clock();
        let policy = policy.load_full();
        let told = |workload: &Workload, missing: &[String]| rights.note(workload, missing, now);
        known = asker.ask(&policy, &known, told).await;
    }
}

// === impl Asker ===

impl Asker {
    /// Asks once for each namespace and need. What the API server does not say stays as it was.
    async fn ask(
        &self,
        policy: &Policy,
        before: &Missing,
        told: impl Fn(&Workload, &[String]),
    ) -> Missing {
        let (cluster, mode) = (&self.cluster, self.mode);
        let mut round = Round {
            before,
            found: Missing::new(),
        };
        for target in policy.targets.values() {
            let workload = &target.workload;
            let key = |need| (workload.namespace.clone(), need);
            let rollback = key(Need::Rollback(workload.kind));
            if !round.found.contains_key(&rollback) {
                let answer = cluster.missing_permissions(workload, mode).await;
                if let Ok(missing) = &answer {
                    told(workload, missing);
                }
                round.take(&rollback, answer);
            }
            let besides = key(Need::Besides(workload.kind));
            if !round.found.contains_key(&besides) {
                round.take(&besides, cluster.missing_besides(workload, mode).await);
            }
            let mut needs = vec![rollback, besides];
            if mode == Mode::Act && !policy.commands_of(target).is_empty() {
                let commands = key(Need::Commands);
                if !round.found.contains_key(&commands) {
                    let answer = cluster.missing_to_exec(None, &workload.namespace).await;
                    round.take(&commands, answer);
                }
                needs.push(commands);
            }
            let known: Vec<_> = needs.iter().filter_map(|it| round.found.get(it)).collect();
            // Nothing is known yet of what nobody answered.
            if !known.is_empty() {
                let missing: usize = known.into_iter().map(Vec::len).sum();
                self.metrics.permissions_missing(&target.name, missing);
            }
        }
        let (namespace, hold) = &self.home;
        let home = (namespace.clone(), Need::Home);
        let answer = cluster.missing_at_home(None, namespace, hold).await;
        round.take(&home, answer);
        if let Some(missing) = round.found.get(&home) {
            self.metrics.own_permissions_missing(missing.len());
        }
        round.found
    }
}

// === impl Need ===

impl Need {
    /// What follows where something of it is missing.
    const fn so(self) -> &'static str {
        match self {
            Self::Rollback(_) => "nothing could be pulled back here",
            Self::Besides(_) => "what happens here may not be heard of, recorded or told",
            Self::Commands => "procedures with the step `exec` are declined here",
            Self::Home => {
                "it may be unable to lead or to start anything, or lose what leads to no workload"
            }
        }
    }
}

// === impl Round ===

impl Round<'_> {
    /// Notes an answer, and says it where it is news. Where there was none, what was known before stays so.
    fn take(&mut self, key: &(String, Need), answer: Result<Vec<String>, Error>) {
        let (namespace, need) = key;
        let before = self.before.get(key);
        match answer {
            Ok(missing) => {
                tell(before, &missing, namespace, need.so());
                self.found.insert(key.clone(), missing);
            }
            Err(error) => {
                unknown(&error, namespace);
                if let Some(missing) = before {
                    self.found.insert(key.clone(), missing.clone());
                }
            }
        }
    }
}

/// Says once what is missing, and once that it is back.
fn tell(before: Option<&Vec<String>>, missing: &[String], namespace: &str, so: &str) {
    if before.is_some_and(|before| before == missing) {
        return;
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        tracing::warn!(
            k8s.namespace = namespace,
            missing,
            "rights are missing: {so}"
        );
    } else if before.is_some() {
        tracing::info!(
            k8s.namespace = namespace,
            "no right is missing here any more"
        );
    }
}

fn unknown(error: &Error, namespace: &str) {
    tracing::debug!(k8s.namespace = namespace, %error, "what Ripcord may do cannot be asked");
}

#[cfg(test)]
#[cfg(feature = "demo")]
mod tests {
    use std::cell::Cell;

    use kube::config::Kubeconfig;

    use super::*;
    use crate::config::{Source, read_policy};
    use crate::sandbox::Sandbox;

    const POLICY: &str = "
targets:
  a: { workload: { rollout: a, namespace: shop } }
  b: { workload: { rollout: b, namespace: shop } }
  c: { workload: { deployment: c, namespace: shop } }
triggers:
  - { name: any, match: ['a=\"b\"'], target_from: { namespace: n, workload: w }, severity: P3 }
";

    /// What is shown, in the order of the names.
    fn shown(asker: &Asker) -> Vec<String> {
        let text = asker.metrics.encode();
        let mine = text.lines().filter_map(|line| {
            if let Some(count) = line.strip_prefix("ripcord_own_permissions_missing ") {
                return Some(format!("own: {count}"));
            }
            let (target, count) = line
                .strip_prefix("ripcord_permissions_missing{target=\"")?
                .split_once("\"} ")?;
            Some(format!("{target}: {count}"))
        });
        let mut mine: Vec<_> = mine.collect();
        mine.sort_unstable();
        mine
    }

    async fn asker(sandbox: &Sandbox, mode: Mode) -> Asker {
        let kubeconfig = Kubeconfig::from_yaml(&sandbox.kubeconfig()).unwrap();
        let cluster = Cluster::connect_by(kubeconfig, Duration::from_secs(5));
        Asker {
            cluster: cluster.await.unwrap(),
            mode,
            home: ("ripcord".to_owned(), "ripcord-hold".to_owned()),
            metrics: Metrics::new("0"),
        }
    }

    fn policy() -> Policy {
        let (path, text) = ("x".to_owned(), POLICY.to_owned());
        read_policy([Source { path, text }]).policy.unwrap()
    }

    #[tokio::test]
    async fn a_right_that_is_gone_is_shown_at_each_target_that_needs_it() {
        let sandbox = Sandbox::start().await.unwrap();
        let asker = asker(&sandbox, Mode::Act).await;
        let policy = policy();
        let known = asker.ask(&policy, &Missing::new(), |_, _| ()).await;
        assert_eq!(shown(&asker), ["a: 0", "b: 0", "c: 0", "own: 0"]);
        let reviews = || {
            let asked = sandbox.requests().into_iter();
            asked
                .filter(|it| it.path.ends_with("/selfsubjectaccessreviews"))
                .count()
        };
        let first = reviews();
        sandbox.deny("patch", "argoproj.io", "rollouts", "");
        let known = asker.ask(&policy, &known, |_, _| ()).await;
        assert_eq!(shown(&asker), ["a: 1", "b: 1", "c: 0", "own: 0"]);
        assert_eq!(
            reviews(),
            2 * first,
            "once for each namespace and kind of workload"
        );

        // An API server that does not answer takes nothing back.
        sandbox.stop().await;
        asker.ask(&policy, &known, |_, _| ()).await;
        assert_eq!(shown(&asker), ["a: 1", "b: 1", "c: 0", "own: 0"]);
    }

    #[tokio::test]
    async fn a_right_to_hear_to_remember_or_to_lead_is_missed_as_well() {
        let sandbox = Sandbox::start().await.unwrap();
        let asker = asker(&sandbox, Mode::Act).await;
        let policy = policy();
        sandbox.deny("watch", "argoproj.io", "rollouts", "");
        sandbox.deny("create", "ripcord.dev", "targets", "");
        sandbox.deny("update", "coordination.k8s.io", "leases", "");
        sandbox.deny("watch", "", "configmaps", "");
        let complete = Cell::new(0);
        let told = |_: &Workload, missing: &[String]| {
            complete.set(complete.get() + usize::from(missing.is_empty()));
        };
        let known = asker.ask(&policy, &Missing::new(), told).await;
        assert_eq!(shown(&asker), ["a: 2", "b: 2", "c: 1", "own: 2"]);
        assert_eq!(complete.get(), 2, "a rollback could do all that it does");
        let home = &known[&("ripcord".to_owned(), Need::Home)];
        assert_eq!(
            home,
            &[
                "update leases.coordination.k8s.io in ripcord",
                "watch configmaps in ripcord"
            ]
        );
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn what_only_watches_misses_no_right_to_change_anything() {
        let sandbox = Sandbox::start().await.unwrap();
        let asker = asker(&sandbox, Mode::Shadow).await;
        let policy = policy();
        for (group, resource, subresource) in [
            ("argoproj.io", "rollouts", ""),
            ("argoproj.io", "rollouts", "status"),
            ("apps", "deployments", ""),
            ("ripcord.dev", "rollbacks", ""),
            ("events.k8s.io", "events", ""),
        ] {
            sandbox.deny("patch", group, resource, subresource);
        }
        let known = asker.ask(&policy, &Missing::new(), |_, _| ()).await;
        assert_eq!(shown(&asker), ["a: 0", "b: 0", "c: 0", "own: 0"]);
        // To plan, to hear and to lead it needs as much as what acts.
        sandbox.deny("list", "apps", "replicasets", "");
        sandbox.deny("watch", "ripcord.dev", "targets", "");
        sandbox.deny("get", "coordination.k8s.io", "leases", "");
        asker.ask(&policy, &known, |_, _| ()).await;
        assert_eq!(shown(&asker), ["a: 2", "b: 2", "c: 2", "own: 1"]);
        sandbox.stop().await;
    }
}
