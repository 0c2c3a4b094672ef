//! The service uses every right that is granted to it, and no other.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use ripcord::cli::service::Service;
use ripcord::policy::Policy;
use ripcord::policy::trigger::{TargetChoice, Trigger};
use ripcord::rollback::Phase;
use ripcord::rollback::object::Mode;
use ripcord::sandbox::{Request, Sandbox};
use serde_json::{Value, json};

use super::{HOME, documents, http, manifest, service, service_in, text, until};
use crate::support::stage::{self, LIMIT, NAME, NAMESPACE};

/// Who asks in the test's own name.
const PERSON: &str = "person";
/// An alert that leads to no workload.
const LOST: &str = "LostService";
/// The annotated object that is the off switch.
const HOLD: &str = "ripcord-hold";

/// `verb resource[/subresource][.group]`.
type Rights = BTreeSet<String>;

fn right(verb: &str, group: &str, resource: &str) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    format!("{verb} {resource}{dot}{group}")
}

/// What a role grants.
fn granted(rules: &[PolicyRule]) -> Rights {
    let mut rights = Rights::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    assert!(
                        ![group, resource, verb].iter().any(|word| *word == "*"),
                        "a rule grants everything"
                    );
                    let new = rights.insert(right(verb, group, resource));
                    assert!(new, "{} is granted twice", right(verb, group, resource));
                }
            }
        }
    }
    rights
}

/// The namespace of a request and the right that it needs, as the API server's authorizer reads it.
fn needed(request: &Request) -> (String, String) {
    let parts: Vec<_> = request.path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("{} is no path of the API", request.path),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (resource, name) = match rest {
        [resource] => ((*resource).to_owned(), None),
        [resource, name] => ((*resource).to_owned(), Some(*name)),
        [resource, name, subresource] => (format!("{resource}/{subresource}"), Some(*name)),
        _ => panic!("{} is no path of the API", request.path),
    };
    let verb = match (request.method.as_str(), name) {
        ("GET", Some(_)) => "get",
        ("GET", None) if request.query.get("watch").is_some_and(|it| it == "true") => "watch",
        ("GET", None) => "list",
        ("POST", None) => "create",
        ("PUT", Some(_)) => "update",
        ("PATCH", Some(_)) => "patch",
        ("DELETE", Some(_)) => "delete",
        (method, _) => panic!("{method} {} needs a right of its own", request.path),
    };
    (namespace.to_owned(), right(verb, group, &resource))
}

/// What the service asked for, but for the question what it may do: everybody may ask that.
fn requests(sandbox: &Sandbox) -> impl Iterator<Item = Request> {
    let all = sandbox.requests().into_iter();
    all.filter(|request| {
        request.user_agent != PERSON && !request.path.ends_with("/selfsubjectaccessreviews")
    })
}

fn used(sandbox: &Sandbox, namespace: &str) -> Rights {
    let needed = requests(sandbox).map(|request| needed(&request));
    needed
        .filter(|(of, _)| of == namespace)
        .map(|(_, right)| right)
        .collect()
}

/// A person's wish for a rollback of a release that is long gone: it ends at once, and is removed in time.
fn of_a_gone_release(name: &str) -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"target": NAME, "release": {"uid": "gone", "revision": 1, "hash": "gone", "images": []}},
    })
}

/// A policy with a trigger that can lead to no target as well.
fn policy() -> Policy {
    let mut policy = stage::policy();
    let lost = Trigger {
        name: LOST.to_lowercase(),
        matchers: format!("alertname=\"{LOST}\"").parse().unwrap(),
        target: TargetChoice::FromLabels {
            namespace: "namespace".into(),
            workload: "rollout".into(),
        },
        ..policy.triggers[0].clone()
    };
    policy.triggers.push(lost);
    policy
}

async fn post(service: &Service, alert: &str) -> String {
    let now = ripcord::cluster::clock::system()().to_string();
    let body = json!({"version": "4", "alerts": [{
        "status": "firing", "labels": {"alertname": alert}, "annotations": {},
        "startsAt": now, "endsAt": "0001-01-01T00:00:00Z",
    }]});
    let url = format!("http://{}/api/v1/alerts", service.addr);
    let answer = http().post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success());
    let answer: Value = answer.json().await.unwrap();
    let rollback = answer["decisions"][0]["rollback"].as_str();
    let (_, name) = rollback.unwrap().split_once('/').unwrap();
    name.to_owned()
}

async fn succeeds(service: &Service, name: &str) {
    let ended = until(LIMIT, async || {
        let rollback = service.caches.rollbacks.get(NAMESPACE, name);
        rollback.is_some_and(|rollback| rollback.phase() == Phase::Succeeded)
    });
    assert!(ended.await, "{name} does not succeed");
}

/// Promotes the update in flight, as a pipeline does.
async fn promote(sandbox: &Sandbox) {
    let path = format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{NAME}/status");
    let request = http()
        .patch(format!("{}{path}", sandbox.url()))
        .header("content-type", "application/merge-patch+json")
        .header("user-agent", PERSON)
        .body(json!({"status": {"promoteFull": true}}).to_string());
    assert!(request.send().await.unwrap().status().is_success());
    let promoted = |rollout: &Value| {
        rollout["status"]["currentPodHash"] == rollout["status"]["stableRS"]
            && rollout["status"]["phase"] == "Healthy"
    };
    let seen = sandbox.wait(
        |view| {
            view.object("rollouts", NAMESPACE, NAME)
                .is_some_and(promoted)
        },
        LIMIT,
    );
    assert!(seen.await, "the bad release is promoted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_is_granted_is_used_and_no_other() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    for name in ["old", "older"] {
        sandbox.apply(of_a_gone_release(name)).unwrap();
    }
    let service = service(&sandbox, policy()).await;
    let stable = |count: usize| {
        let memories = &service.caches.memories;
        let found = memories.get(NAMESPACE, NAME);
        found.is_some_and(|memory| memory.state().history.len() == count)
    };
    assert!(until(LIMIT, async || stable(1)).await, "v1 is remembered");

    // A canary in flight, then a promoted release whose promotion is asked for more than once.
    stage::bad_canary(&sandbox).await;
    let name = post(&service, "LatencyHigh").await;
    succeeds(&service, &name).await;
    sandbox.deploy(NAMESPACE, NAME, "demo:v3-half500").unwrap();
    let paused = sandbox.wait(
        |view| stage::phase(view.object("rollouts", NAMESPACE, NAME)) == "Paused",
        LIMIT,
    );
    assert!(paused.await, "v3 is paused");
    promote(&sandbox).await;
    sandbox.lose_status_requests(3);
    let name = post(&service, "LatencyHigh").await;
    succeeds(&service, &name).await;

    // An alert that leads to no workload is on record in the service's own namespace, until that is old.
    post(&service, LOST).await;

    let home: Role = manifest("rbac/own-namespace.yaml", "Role");
    let release: Role = manifest("rbac/release-namespace/role.yaml", "Role");
    let home = granted(&home.rules.unwrap());
    let release = granted(&release.rules.unwrap());
    // What is published or removed without being waited for comes a moment later.
    until(Duration::from_secs(10), async || {
        release.is_subset(&used(&sandbox, NAMESPACE)) && home.is_subset(&used(&sandbox, HOME))
    })
    .await;
    assert_eq!(used(&sandbox, NAMESPACE), release);
    assert_eq!(used(&sandbox, HOME), home);
    let elsewhere: Vec<_> = requests(&sandbox)
        .filter(|request| ![NAMESPACE, HOME].contains(&needed(request).0.as_str()))
        .map(|request| request.path)
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    only_the_hold_is_read(&sandbox);
    what_is_granted_is_asked_for(&sandbox, &release, &home).await;
    service.stop().await;
    sandbox.stop().await;
}

/// A person's wish to act on whatever is live.
fn by_hand() -> Value {
    json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Rollback",
        "metadata": {"name": "by-hand", "namespace": NAMESPACE},
        "spec": {"target": NAME, "reason": "errors", "requestedBy": "jo"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_no_right_changes_a_workload_and_every_one_is_used() {
    let role: Role = manifest("rbac/shadow-namespace/role.yaml", "Role");
    let shadow = granted(&role.rules.unwrap());
    let release: Role = manifest("rbac/release-namespace/role.yaml", "Role");
    let release = granted(&release.rules.unwrap());
    assert!(shadow.is_subset(&release), "acting needs more, never less");
    let home: Role = manifest("rbac/own-namespace.yaml", "Role");
    let home = granted(&home.rules.unwrap());
    let sandbox = stage::sandbox().await;
    // Whatever is not granted is forbidden, as by the real API server.
    for right in release.difference(&shadow) {
        let (verb, of) = right.split_once(' ').unwrap();
        let (resource, group) = of.split_once('.').unwrap_or((of, ""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        sandbox.deny(verb, group, resource, subresource);
    }
    stage::good_release(&sandbox).await;
    for name in ["old", "older"] {
        sandbox.apply(of_a_gone_release(name)).unwrap();
    }
    // The policy acts, and the setting has the last word.
    let service = service_in(Mode::Shadow, &sandbox, policy()).await;
    let remembered = || {
        let found = service.caches.memories.get(NAMESPACE, NAME);
        found.is_some_and(|memory| memory.state().history.len() == 1)
    };
    assert!(
        until(LIMIT, async || remembered()).await,
        "v1 is remembered"
    );
    stage::bad_canary(&sandbox).await;
    let name = post(&service, "LatencyHigh").await;
    sandbox.apply(by_hand()).unwrap();
    for name in [name.as_str(), "by-hand"] {
        let planned = || {
            let found = service.caches.rollbacks.get(NAMESPACE, name)?;
            let reason = found.state().reason.clone()?;
            (found.phase() == Phase::Shadowed).then(|| reason.to_string())
        };
        assert!(until(LIMIT, async || planned().is_some()).await, "{name}");
        let said = planned().unwrap();
        assert!(said.starts_with("would pull r2"), "{name}: {said}");
    }
    until(Duration::from_secs(10), async || {
        shadow.is_subset(&used(&sandbox, NAMESPACE))
    })
    .await;
    assert_eq!(used(&sandbox, NAMESPACE), shadow);
    assert!(used(&sandbox, HOME).is_subset(&home));
    what_is_granted_is_asked_for(&sandbox, &shadow, &home).await;
    service.stop().await;
    sandbox.stop().await;
}

#[test]
fn what_is_granted_to_watch_changes_ripcords_own_objects_alone() {
    for path in [
        "rbac/shadow-namespace",
        "rbac/shadow-deployment-targets",
        "rbac/shadow-service-targets",
    ] {
        let role: Role = manifest(&format!("{path}/role.yaml"), "Role");
        for rule in role.rules.unwrap() {
            let own = ["ripcord.dev", "events.k8s.io"];
            let groups = rule.api_groups.unwrap();
            let reads = rule
                .verbs
                .iter()
                .all(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
            assert!(
                reads || groups.iter().all(|it| own.contains(&it.as_str())),
                "{groups:?}"
            );
        }
        // Under the same names, so that the rights to act take their place.
        let acts = match path {
            "rbac/shadow-namespace" => "rbac/release-namespace",
            "rbac/shadow-service-targets" => "rbac/service-targets",
            _ => "rbac/deployment-targets",
        };
        for file in ["role.yaml", "role-binding.yaml"] {
            let name = |folder: &str| documents(&format!("{folder}/{file}"))[0]["metadata"].clone();
            assert_eq!(name(path), name(acts), "{path}/{file}");
        }
    }
}

/// The right to read `ConfigMaps` is limited to one name, and so is every request for one.
fn only_the_hold_is_read(sandbox: &Sandbox) {
    let home: Role = manifest("rbac/own-namespace.yaml", "Role");
    let rules = home.rules.unwrap();
    let mut rules = rules
        .iter()
        .filter(|rule| rule.resources.iter().flatten().any(|it| it == "configmaps"));
    let names = rules.next().unwrap().resource_names.clone();
    assert_eq!(names, Some(vec![HOLD.to_owned()]));
    let hold: Value = manifest("hold.yaml", "ConfigMap");
    assert_eq!(hold["metadata"]["name"], HOLD);
    assert_eq!(
        ripcord::config::Settings::default().cluster.hold_config_map,
        HOLD
    );
    for request in requests(sandbox).filter(|request| request.path.contains("/configmaps")) {
        let named = request.path.ends_with(&format!("/configmaps/{HOLD}"))
            || request.query.get("fieldSelector") == Some(&format!("metadata.name={HOLD}"));
        assert!(named, "{} {:?}", request.path, request.query);
    }
}

/// The service asks whether it still has its rights. One too many would be missed where all is well, and refuse every rollback;
/// of one too few nobody would hear that it is gone.
async fn what_is_granted_is_asked_for(sandbox: &Sandbox, granted: &Rights, home: &Rights) {
    until(Duration::from_secs(10), async || {
        asked(sandbox, NAMESPACE) == *granted && asked(sandbox, HOME) == *home
    })
    .await;
    assert_eq!(asked(sandbox, NAMESPACE), *granted);
    assert_eq!(asked(sandbox, HOME), *home);
}

/// The rights in a namespace that the service has asked for.
fn asked(sandbox: &Sandbox, namespace: &str) -> Rights {
    let all = sandbox.requests().into_iter();
    let reviews = all.filter(|request| request.path.ends_with("/selfsubjectaccessreviews"));
    let asked = reviews.filter_map(|request| {
        let asked = &request.body["spec"]["resourceAttributes"];
        let word = |key: &str| asked[key].as_str().unwrap_or_default();
        let known = [NAMESPACE, HOME].contains(&word("namespace"));
        assert!(known, "it has no business there: {asked:#}");
        let name = if word("resource") == "configmaps" {
            HOLD
        } else {
            ""
        };
        assert_eq!(word("name"), name, "{asked:#}");
        let resource = match word("subresource") {
            "" => word("resource").to_owned(),
            subresource => format!("{}/{subresource}", word("resource")),
        };
        let right = right(word("verb"), word("group"), &resource);
        (word("namespace") == namespace).then_some(right)
    });
    asked.collect()
}

#[test]
fn rights_go_to_the_services_account_in_one_namespace_at_a_time() {
    for (path, role) in [
        ("rbac/own-namespace.yaml", "ripcord"),
        (
            "rbac/release-namespace/role-binding.yaml",
            "ripcord-release",
        ),
        (
            "rbac/deployment-targets/role-binding.yaml",
            "ripcord-deployments",
        ),
        ("rbac/service-targets/role-binding.yaml", "ripcord-services"),
        ("rbac/shadow-namespace/role-binding.yaml", "ripcord-release"),
        (
            "rbac/shadow-deployment-targets/role-binding.yaml",
            "ripcord-deployments",
        ),
        (
            "rbac/shadow-service-targets/role-binding.yaml",
            "ripcord-services",
        ),
    ] {
        let binding: RoleBinding = manifest(path, "RoleBinding");
        assert_eq!(binding.role_ref.kind, "Role");
        assert_eq!(binding.role_ref.name, role);
        let subjects = binding.subjects.unwrap();
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects[0].kind, "ServiceAccount");
        assert_eq!(subjects[0].name, HOME);
        assert_eq!(subjects[0].namespace.as_deref(), Some(HOME));
    }
    // Roles of the whole cluster are for people, and are bound by people.
    let people = documents("rbac/people.yaml");
    assert!(people.iter().all(|it| it["kind"] == "ClusterRole"));
    for path in [
        "kustomization.yaml",
        "rbac/release-namespace/kustomization.yaml",
        "rbac/deployment-targets/kustomization.yaml",
        "rbac/service-targets/kustomization.yaml",
    ] {
        assert!(!text(path).contains("ClusterRoleBinding"));
    }
}
