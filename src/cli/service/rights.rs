//! Asks now and then whether Ripcord still has the rights that a rollback needs, so that people hear of one that is gone before
//! it is missed.
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

/// What is missing, by namespace and kind of workload, or by namespace alone for commands in pods: rights are granted so.
type Missing = BTreeMap<(String, Option<Kind>), Vec<String>>;

/// Asks until it is stopped.
pub(super) async fn rights(
    cluster: Cluster,
    mode: Mode,
    policy: Arc<ArcSwap<Policy>>,
    rights: Arc<Rights>,
    clock: Clock,
    metrics: Metrics,
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
        known = ask(&cluster, mode, &policy, &metrics, &known, told).await;
    }
}

/// Asks once for each namespace and kind. What the API server does not say stays as it was.
async fn ask(
    cluster: &Cluster,
    mode: Mode,
    policy: &Policy,
    metrics: &Metrics,
    before: &Missing,
    told: impl Fn(&Workload, &[String]),
) -> Missing {
    let mut found = Missing::new();
    for target in policy.targets.values() {
        let workload = &target.workload;
        let key = (workload.namespace.clone(), Some(workload.kind));
        if !found.contains_key(&key) {
            let answer = cluster.missing_permissions(workload, mode).await;
            if let Ok(missing) = &answer {
                told(workload, missing);
            }
            take(
                &mut found,
                before,
                &key,
                answer,
                "nothing could be pulled back here",
            );
        }
        let commands = (workload.namespace.clone(), None);
        let runs = !policy.commands_of(target).is_empty() && mode == Mode::Act;
        if runs && !found.contains_key(&commands) {
            let answer = cluster.missing_to_exec(None, &workload.namespace).await;
            let so = "procedures with the step `exec` are declined here";
            take(&mut found, before, &commands, answer, so);
        }
        // Nothing is known yet of what nobody answered.
        if let Some(missing) = found.get(&key) {
            let more = found.get(&commands).filter(|_| runs);
            let missing = missing.len() + more.map_or(0, Vec::len);
            metrics.permissions_missing(&target.name, missing);
        }
    }
    found
}

/// Notes an answer, and says it where it is news. Where there was none, what was known before stays so.
fn take(
    found: &mut Missing,
    before: &Missing,
    key: &(String, Option<Kind>),
    answer: Result<Vec<String>, Error>,
    so: &str,
) {
    match answer {
        Ok(missing) => {
            tell(before.get(key), &missing, &key.0, so);
            found.insert(key.clone(), missing);
        }
        Err(error) => {
            unknown(&error, &key.0);
            if let Some(missing) = before.get(key) {
                found.insert(key.clone(), missing.clone());
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

#[cfg(all(test, feature = "demo"))]
mod tests {
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

    fn shown(metrics: &Metrics) -> Vec<String> {
        let text = metrics.encode();
        let mine = text.lines().filter_map(|line| {
            let (target, count) = line
                .strip_prefix("ripcord_permissions_missing{target=\"")?
                .split_once("\"} ")?;
            Some(format!("{target}: {count}"))
        });
        let mut mine: Vec<_> = mine.collect();
        mine.sort_unstable();
        mine
    }

    #[tokio::test]
    async fn a_right_that_is_gone_is_shown_at_each_target_that_needs_it() {
        let sandbox = Sandbox::start().await.unwrap();
        let kubeconfig = Kubeconfig::from_yaml(&sandbox.kubeconfig()).unwrap();
        let cluster = Cluster::connect_by(kubeconfig, Duration::from_secs(5));
        let cluster = cluster.await.unwrap();
        let (path, text) = ("x".to_owned(), POLICY.to_owned());
        let policy = read_policy([Source { path, text }]).policy.unwrap();
        let metrics = Metrics::new("0");

        let known = ask(
            &cluster,
            Mode::Act,
            &policy,
            &metrics,
            &Missing::new(),
            |_, _| (),
        )
        .await;
        assert_eq!(shown(&metrics), ["a: 0", "b: 0", "c: 0"]);
        let reviews = || {
            let asked = sandbox.requests().into_iter();
            asked
                .filter(|it| it.path.ends_with("/selfsubjectaccessreviews"))
                .count()
        };
        let first = reviews();
        sandbox.deny("patch", "argoproj.io", "rollouts", "");
        let known = ask(&cluster, Mode::Act, &policy, &metrics, &known, |_, _| ()).await;
        assert_eq!(shown(&metrics), ["a: 1", "b: 1", "c: 0"]);
        assert_eq!(
            reviews(),
            2 * first,
            "once for each namespace and kind of workload"
        );

        // An API server that does not answer takes nothing back.
        sandbox.stop().await;
        ask(&cluster, Mode::Act, &policy, &metrics, &known, |_, _| ()).await;
        assert_eq!(shown(&metrics), ["a: 1", "b: 1", "c: 0"]);
    }
}
