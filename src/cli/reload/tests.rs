//! Policies that change under a replica's feet: what is taken, what is refused, and how often it is said.

use std::fs;

use kube::config::Kubeconfig;

use super::*;
use crate::cluster::{Cluster, clock};
use crate::config::load_policy;

/// Nobody listens there: what is tested here asks the cluster nothing.
const KUBECONFIG: &str = "
clusters: [{ name: none, cluster: { server: 'http://127.0.0.1:9' } }]
users: [{ name: none, user: {} }]
contexts: [{ name: none, context: { cluster: none, user: none } }]
current-context: none
";

fn policy(namespace: &str, mode: &str) -> String {
    format!(
        "targets:
  api:
    workload: {{ rollout: api, namespace: {namespace} }}
    health: {{ path: /health, port: 8000 }}
triggers: [{{ name: any, match: ['a=\"b\"'], target: api, severity: P0, mode: {mode} }}]
"
    )
}

async fn reloader(path: PathBuf) -> Reloader {
    let settings = Settings::default();
    let kubeconfig = Kubeconfig::from_yaml(KUBECONFIG).unwrap();
    let cluster = Cluster::connect_by(kubeconfig, Duration::from_secs(1));
    let hold = ("ripcord".to_owned(), "ripcord-hold".to_owned());
    let stop = CancellationToken::new();
    Reloader {
        policy: Arc::new(ArcSwap::from_pointee(load_policy(&path).unwrap().policy)),
        path,
        caches: Caches::start(cluster.await.unwrap(), clock::system(), hold, stop),
        metrics: Metrics::new("0"),
        namespace: "ripcord".to_owned(),
        settings,
    }
}

#[tokio::test]
async fn a_changed_policy_is_read_once_and_taken_only_if_the_service_could_start_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollbacks.yaml");
    fs::write(&path, policy("prod", "shadow")).unwrap();
    let mut reloader = reloader(path.clone()).await;
    reloader.settings.intake.listen = "0.0.0.0:8080".parse().unwrap();
    let first = reloader.policy.load().digest.clone();
    let mut seen = Seen {
        was: Some(Ok(first.clone())),
        ..Seen::default()
    };
    assert!(!reloader.look(&mut seen).await, "nothing has changed");
    for (text, said) in [
        (String::new(), "the policy has no target"),
        ("targets: [".to_owned(), "not a policy that can be read"),
        (policy("ripcord", "shadow"), "is Ripcord's own namespace"),
        (policy("prod", "act"), "there is no bearer token"),
    ] {
        fs::write(&path, text).unwrap();
        assert!(reloader.look(&mut seen).await, "{said}");
        assert!(seen.refused[0].contains(said), "{:?}", seen.refused);
        assert!(!reloader.look(&mut seen).await, "said once: {said}");
        assert_eq!(reloader.policy.load().digest, first);
    }
    fs::remove_file(&path).unwrap();
    assert!(reloader.look(&mut seen).await);
    assert!(seen.refused[0].contains("cannot read"));
    fs::write(&path, policy("elsewhere", "shadow")).unwrap();
    assert!(reloader.look(&mut seen).await);
    assert_eq!(seen.refused, [""; 0]);
    let now = reloader.policy.load_full();
    assert_ne!(now.digest, first);
    assert!(
        now.protected.contains("ripcord"),
        "whatever the policy says"
    );
}

#[tokio::test]
async fn a_policy_waits_for_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollbacks.yaml");
    fs::write(&path, policy("prod", "shadow")).unwrap();
    let reloader = reloader(path.clone()).await;
    let first = reloader.policy.load().digest.clone();
    let mut seen = Seen {
        was: Some(Ok(first.clone())),
        ..Seen::default()
    };
    let password = folder.path().join("password");
    let redis = format!(
        "    redis: {{ address: \"redis:6379\", password_file: \"{}\" }}\ntriggers:",
        password.display()
    );
    let text = policy("prod", "shadow").replace("triggers:", &redis);
    fs::write(&path, text).unwrap();
    let refusals = || {
        let text = reloader.metrics.encode();
        let mut lines = text.lines();
        let counted = "ripcord_policy_reload_total{result=\"refused\"} ";
        lines.find_map(|line| line.strip_prefix(counted).map(str::to_owned))
    };
    for news in [true, false, false] {
        assert_eq!(reloader.look(&mut seen).await, news, "said once");
        assert!(
            seen.refused[0].contains("`redis` of target `api`"),
            "{:?}",
            seen.refused
        );
        assert_eq!(refusals().as_deref(), Some("1"), "counted once");
        assert_eq!(reloader.policy.load().digest, first);
    }
    fs::write(&password, "hunter2\n").unwrap();
    assert!(reloader.look(&mut seen).await);
    assert_eq!(seen.refused, [""; 0]);
    assert_ne!(reloader.policy.load().digest, first);
    // Once it is in force, nothing is read again.
    fs::remove_file(&password).unwrap();
    assert!(!reloader.look(&mut seen).await);
}
