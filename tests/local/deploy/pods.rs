//! The pods of the Deployment: they stop in order, survive a lost node, and can do nothing but serve.

use std::time::Duration;

use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::manifests::{container, deployment, kustomization, pod, settings};
use super::{HOME, manifest};

#[test]
fn the_pods_are_what_the_service_needs() {
    let pod = pod();
    // Kubernetes would otherwise put RIPCORD_* variables into the pod.
    assert_eq!(pod.enable_service_links, Some(false));
    let grace = u64::try_from(pod.termination_grace_period_seconds.unwrap()).unwrap();
    let intake = settings().intake;
    // The door stays open for a while, then open requests get their time; the rest is for what has no limit of its own.
    let stopping = intake.drain_delay + intake.shutdown_grace + Duration::from_secs(5);
    assert!(Duration::from_secs(grace) > stopping, "the end is cut off");
    let env = container().env.unwrap();
    for (name, path) in [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
    ] {
        let variable = env.iter().find(|it| it.name == name).unwrap();
        let from = variable.value_from.as_ref().unwrap();
        assert_eq!(from.field_ref.as_ref().unwrap().field_path, path);
    }
    assert_eq!(pod.service_account_name.as_deref(), Some(HOME));
    assert_eq!(kustomization()["namespace"], HOME);
    let account: Value = manifest("service-account.yaml", "ServiceAccount");
    assert_eq!(account["metadata"]["name"], HOME);
}

#[test]
fn one_replica_survives_a_node_a_crowd_and_an_update() {
    let spec = deployment().spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    let update = spec.strategy.unwrap().rolling_update.unwrap();
    assert_eq!(update.max_unavailable, Some(IntOrString::Int(0)));
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    let pod = pod();
    // Apart, but not at any price: on one node two replicas are better than one.
    let apart = pod.affinity.unwrap().pod_anti_affinity.unwrap();
    assert_eq!(
        apart.required_during_scheduling_ignored_during_execution,
        None
    );
    let preferred = apart
        .preferred_during_scheduling_ignored_during_execution
        .unwrap();
    let hosts = preferred
        .iter()
        .map(|it| &it.pod_affinity_term)
        .find(|term| term.topology_key == "kubernetes.io/hostname");
    let selector = hosts.unwrap().label_selector.as_ref().unwrap();
    let meant = selector.match_labels.as_ref().unwrap();
    assert!(
        !meant.is_empty()
            && meant
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    );
    let class: PriorityClass = manifest("priority-class.yaml", "PriorityClass");
    assert_eq!(pod.priority_class_name, class.metadata.name);
    assert!(class.value > 0, "what is worth nothing goes first");
    let container = container();
    assert!(container.startup_probe.is_some());
    assert!(container.liveness_probe.is_some() && container.readiness_probe.is_some());
}

#[test]
fn the_pods_can_do_nothing_but_serve() {
    let pod = pod().security_context.unwrap();
    assert_eq!(pod.run_as_non_root, Some(true));
    assert!(pod.run_as_user.unwrap() > 0);
    assert_eq!(pod.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let container = container().security_context.unwrap();
    assert_eq!(container.run_as_non_root, None, "the pod's own word counts");
    assert_eq!(container.run_as_user, None, "the pod's own word counts");
    assert_eq!(container.privileged, None);
    assert_eq!(container.allow_privilege_escalation, Some(false));
    assert_eq!(container.read_only_root_filesystem, Some(true));
    let capabilities = container.capabilities.unwrap();
    assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(capabilities.add, None);
}
