//! `ripcord doctor` on a real API server: what it publishes, who may ask what, and Leases that live and die.

use std::fs;

use serde_json::{Value, json};

use crate::scene::release::pausing;
use crate::scene::{NAME, Scene};
use crate::support::story::prelude::*;
use crate::typed::{self, Ended};

/// A sound installation: everything is well, for a person with all rights and for the service itself, and nothing is changed.
/// A password that only one of them has to find is missed by that one.
pub(crate) async fn all_well() {
    let mut scene = Scene::start("doctor, all is well").await;
    let _ripcord = scene.good(&pausing()).await;
    let before = scene.rollout().await["metadata"]["resourceVersion"].clone();
    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let home = &scene.namespaces.ripcord;
    let service = scene.plane.service_account_kubeconfig(home, "ripcord");
    let service = service.await.unwrap();
    let words = ["doctor", "--outside"];
    for kubeconfig in [&admin, &service] {
        let (report, code) = found(&scene, kubeconfig, &words).await;
        assert_eq!(code, Some(0), "{report:#}");
        for (section, name) in [
            ("the cluster", "API server"),
            ("the cluster", "rollbacks.ripcord.dev"),
            ("the cluster", "targets.ripcord.dev"),
            ("the cluster", "Argo Rollouts"),
            ("the service", "leader"),
            ("the service", "off switch"),
            ("the service", &format!("rights in {home}")),
            (
                "the service",
                &format!("rights in {} for rollouts", scene.namespaces.release),
            ),
            ("target options-api", "workload"),
            ("target options-api", "known good"),
            ("target options-api", "memory"),
            ("target options-api", "/health/pinn"),
        ] {
            is(&report, section, name, "ok");
        }
        // The policy names a Redis that nobody runs here.
        is(&report, "target options-api", "Redis", "warning");
    }
    let after = scene.rollout().await["metadata"]["resourceVersion"].clone();
    assert_eq!(before, after, "nothing was touched");
    assert!(scene.mutations().is_empty());

    scene.policy_says(
        "      # password_file: /etc/ripcord-secrets/redis-password\n",
        "      password_file: /no/password\n",
    );
    for (kubeconfig, verdict) in [(&admin, "warning"), (&service, "failed")] {
        let (report, _) = found(&scene, kubeconfig, &words).await;
        let redis = is(&report, "target options-api", "Redis", verdict);
        let said = redis["found"].as_str().unwrap();
        assert!(said.contains("from the file /no/password"), "{said}");
    }
}

/// What a rollback would miss: a right, a leader, a free target; and an update that is in flight.
pub(crate) async fn finds_out() {
    let mut scene = Scene::start("doctor, not well").await;
    let (ripcord, _bad) = scene.bad_canary().await;
    drop(ripcord);
    let namespace = &scene.namespaces.release;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces";
    let path = format!("{rbac}/{namespace}/roles/ripcord-release");
    let mut role = scene.plane.admin.get(&path).await.unwrap();
    let rules = role["rules"].as_array_mut().unwrap();
    rules.retain(|rule| rule["resources"] != json!(["rollouts/status"]));
    let change = json!({ "rules": rules });
    scene.plane.admin.patch(&path, &change).await.unwrap();
    let target = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/targets/options-api");
    let hold = json!({ "spec": { "hold": { "owner": "jo", "reason": "migration" } } });
    scene.plane.admin.patch(&target, &hold).await.unwrap();

    let admin = fs::read_to_string(scene.plane.kubeconfig()).unwrap();
    let (report, code) = looked(&scene, &admin).await;
    assert_eq!(code, Some(20), "{report:#}");
    let rights = format!("rights in {namespace} for rollouts");
    let found = is(&report, "the service", &rights, "failed");
    let missing = format!("it may not patch rollouts.argoproj.io/status in {namespace}");
    assert_eq!(found["found"], missing);
    is(&report, "the service", "leader", "failed");
    is(&report, "target options-api", "at rest", "warning");
    is(&report, "target options-api", "known good", "ok");
    let held = is(&report, "target options-api", "hold", "failed");
    assert_eq!(held["found"], "held by jo: migration");
    let patch = held["do"].as_str().unwrap();
    assert!(
        patch.starts_with("kubectl patch rt options-api -n "),
        "{patch}"
    );

    // Somebody who may see nothing is told so, and nothing looks well by that.
    let stranger = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "stranger", "namespace": namespace },
    });
    scene.plane.admin.create(&stranger).await.unwrap();
    let stranger = scene
        .plane
        .service_account_kubeconfig(namespace, "stranger");
    let (report, code) = looked(&scene, &stranger.await.unwrap()).await;
    assert_eq!(code, Some(20), "{report:#}");
    is(&report, "the cluster", "rollbacks.ripcord.dev", "ok");
    is(&report, "the service", "leader", "failed");
    is(&report, "the service", &rights, "warning");
    is(&report, "target options-api", "workload", "failed");
    let rollout = scene.rollout().await;
    assert_eq!(rollout["metadata"]["name"], NAME);
}

/// The check of this name in the section whose title begins so came to this.
pub(super) fn is<'a>(report: &'a Value, section: &str, name: &str, verdict: &str) -> &'a Value {
    let mut sections = report["sections"].as_array().unwrap().iter();
    let section = sections.find(|it| it["title"].as_str().unwrap().starts_with(section));
    let section = section.unwrap_or_else(|| panic!("{report:#}"));
    let mut checks = section["checks"].as_array().unwrap().iter();
    let check = checks.find(|it| it["name"] == name);
    let check = check.unwrap_or_else(|| panic!("{name}: {section:#}"));
    assert_eq!(check["verdict"], verdict, "{check:#}");
    check
}

async fn looked(scene: &Scene, kubeconfig: &str) -> (Value, Option<i32>) {
    found(scene, kubeconfig, &["doctor"]).await
}

/// What a command found, as programs read it, and how it ended.
pub(super) async fn found(scene: &Scene, kubeconfig: &str, words: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir_in(scene.folder.path()).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut command = typed::ripcord();
    command
        .args(words)
        .args(["--output", "json", "--policy"])
        .arg(file("policy.yaml", &scene.policy))
        .arg("--kubeconfig")
        .arg(file("kubeconfig", kubeconfig))
        .env("POD_NAMESPACE", &scene.namespaces.ripcord)
        .current_dir(folder.path());
    let ended = Ended::of(&mut command).await;
    let report = serde_json::from_str(&ended.out);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", ended.err));
    (report, ended.code)
}
