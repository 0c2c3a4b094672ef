//! Whether somebody's cluster is one that the scenarios can be played on at all, and whose it is. It makes nothing but the
//! custom resource definitions of Ripcord where there are none, and refuses a cluster that has other ones.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::foreign::Run;
use super::install::{self, Manifests};

/// The oldest minor version of Kubernetes that Ripcord serves.
const OLDEST: u32 = 33;
/// What the scenarios themselves do: verb, group, resource.
const RIGHTS: [(&str, &str, &str); 19] = [
    ("create", "", "namespaces"),
    ("delete", "", "namespaces"),
    ("list", "", "namespaces"),
    ("create", "", "configmaps"),
    ("create", "", "pods"),
    ("list", "", "pods"),
    ("create", "", "serviceaccounts"),
    ("create", "", "serviceaccounts/token"),
    ("create", "", "services"),
    ("create", "apps", "deployments"),
    ("list", "apps", "replicasets"),
    ("create", "argoproj.io", "analysistemplates"),
    ("create", "argoproj.io", "rollouts"),
    ("patch", "argoproj.io", "rollouts/status"),
    ("get", "coordination.k8s.io", "leases"),
    ("list", "discovery.k8s.io", "endpointslices"),
    ("create", "networking.k8s.io", "ingresses"),
    ("create", "rbac.authorization.k8s.io", "roles"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
];
/// The path of all custom resource definitions.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Says which cluster it is, and fails where no scenario can be played on it.
pub(super) async fn check(run: &Run) -> Result<Manifests> {
    eprintln!("the cluster of KUBECONFIG: {}", run.place());
    let version = run.admin.ask("/version").await;
    let version = version.context("the API server does not answer")?;
    let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    // Some write `34+`.
    let minor: String = text("minor")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    ensure!(
        text("major") == "1" && minor.parse::<u32>().is_ok_and(|it| it >= OLDEST),
        "it is Kubernetes {}, and Ripcord needs 1.{OLDEST} or newer",
        text("gitVersion")
    );
    let argo = run.admin.ask("/apis/argoproj.io/v1alpha1").await;
    let argo = argo.unwrap_or_default();
    let mut kinds = argo["resources"].as_array().into_iter().flatten();
    ensure!(
        kinds.any(|it| it["name"] == "rollouts"),
        "it has no Argo Rollouts (the kind `rollouts.argoproj.io` is not served): install it first"
    );
    eprintln!(
        "it is Kubernetes {} with Argo Rollouts {}",
        text("gitVersion"),
        argo_version(run).await
    );
    may_do(run).await?;
    let others = run.others().await;
    if !others.is_empty() {
        eprintln!(
            "namespaces of other runs are there, and are let be: {}",
            others.join(", ")
        );
    }
    let (key, value) = run.label();
    eprintln!(
        "namespaces of this run begin with {} and have the label {key}={value}",
        run.prefix()
    );
    let rendered = install::render(&run.kubeconfig()).await?;
    for definition in rendered.definitions() {
        define(run, definition).await?;
    }
    install::are_served(&run.admin).await?;
    Ok(rendered.manifests)
}

/// The version, as the image of the controller tells it, where that can be found.
async fn argo_version(run: &Run) -> String {
    let path = "/apis/apps/v1/deployments?labelSelector=app.kubernetes.io/name=argo-rollouts";
    let found = run.admin.get(path).await.unwrap_or_default();
    let image = found.pointer("/items/0/spec/template/spec/containers/0/image");
    let image = image.and_then(Value::as_str);
    let tag = image.and_then(|it| Some(it.rsplit_once(':')?.1.to_owned()));
    tag.unwrap_or_else(|| "of a version that no Deployment tells".to_owned())
}

/// Whether this user may do what the scenarios do.
async fn may_do(run: &Run) -> Result<()> {
    let mut missing = Vec::new();
    for (verb, group, resource) in RIGHTS {
        if !may(run, verb, group, resource).await? {
            let group = if group.is_empty() { "core" } else { group };
            missing.push(format!("{verb} {resource} ({group})"));
        }
    }
    ensure!(
        missing.is_empty(),
        "the user of KUBECONFIG may not do what the scenarios do in namespaces of their own: {}",
        missing.join(", ")
    );
    Ok(())
}

async fn may(run: &Run, verb: &str, group: &str, resource: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes =
        json!({ "verb": verb, "group": group, "resource": resource, "subresource": subresource });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": { "resourceAttributes": attributes },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = run.admin.post(path, &review).await?;
    Ok(answer["status"]["allowed"] == true)
}

/// Installs a definition where there is none; one that is there has to be this version's.
async fn define(run: &Run, definition: &Value) -> Result<()> {
    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
    let Some(there) = run.admin.get(&format!("{DEFINITIONS}/{name}")).await else {
        let group = "apiextensions.k8s.io";
        ensure!(
            may(run, "create", group, "customresourcedefinitions").await?,
            "the kind `{name}` is not there, and the user of KUBECONFIG may not install it: kubectl apply -k deploy/crds"
        );
        run.admin.create(definition).await?;
        eprintln!("installed the kind `{name}`, which stays");
        return Ok(());
    };
    if let Some(place) = differs(&definition["spec"], &there["spec"], "spec") {
        bail!(
            "the kind `{name}` of this cluster is not this version's (it differs at {place}), so that the API server would \
             drop what this version writes: kubectl apply --server-side -k deploy/crds, or use another cluster"
        );
    }
    Ok(())
}

/// Where something that is wanted is not there. What the server has added is no difference.
fn differs(wanted: &Value, there: &Value, place: &str) -> Option<String> {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(_)) => wanted
            .iter()
            .find_map(|(key, it)| differs(it, &there[key], &format!("{place}.{key}"))),
        (Value::Array(wanted), Value::Array(all)) if wanted.len() == all.len() => wanted
            .iter()
            .zip(all)
            .enumerate()
            .find_map(|(index, (it, there))| differs(it, there, &format!("{place}[{index}]"))),
        _ => (wanted != there).then(|| place.to_owned()),
    }
}
