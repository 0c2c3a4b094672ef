//! What somebody's cluster allows beyond its API, found out by trying in a namespace of this run's own: whether its Rollouts
//! controller works, whether pods get ready and answer by the words of their image's tag, whether they can be reached from
//! here. What does not work is noted with what was seen.

use std::time::Duration;

use anyhow::{Context, Result};
use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use super::foreign::Run;
use crate::need::{Lacks, Need};
use crate::support::replica::{client, until};

/// How long the controller may take, and how long a pod whose image has to be fetched.
const CONTROLLER: Duration = Duration::from_secs(60);
const PODS: Duration = Duration::from_secs(180);
const NAME: &str = "probe";
/// Words, and what a pod answers to two requests at a path.
const WORDS: [(&str, &str, &str); 3] = [
    ("half500", "/price", "200, 500"),
    ("unhealthy", "/health/pinn", "200 degraded, 200 degraded"),
    ("neverready", "/price", "200, 200"),
];
/// Reasons of a container that nobody needs to wait for.
const HOPELESS: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
];

/// Where the probes are.
struct Probe<'a> {
    run: &'a Run,
    namespace: String,
}

/// Finds out what is lacking, and says so. Fails where nothing can be played at all.
pub(super) async fn find_out(run: &Run) -> Result<Lacks> {
    let probe = Probe {
        run,
        namespace: run.namespace(NAME).await?,
    };
    let mut lacks = Lacks::default();
    lacks.note(
        Need::Freeze,
        "the Rollouts controller of somebody's cluster is not stopped",
    );
    lacks.note(
        Need::AuditLog,
        "the audit log of somebody's cluster is not read, and the proxy sees Ripcord's requests alone",
    );
    lacks.note(
        Need::NodeLabels,
        "the nodes of somebody's cluster are not labelled",
    );
    lacks.note(
        Need::ClusterRules,
        "nothing but namespaces is made in somebody's cluster",
    );
    lacks.note(
        Need::LocalExec,
        "what is run in a pod of somebody's cluster runs there",
    );
    lacks.note(
        Need::WarmUps,
        "how often a pod of somebody's cluster was warmed up is counted there",
    );
    lacks.note(
        Need::DemoNames,
        "the demo's namespaces do not have this run's prefix; it can be played by hand, see CONTRIBUTING.md",
    );
    probe.controller_works().await?;
    if let Err(error) = probe.pods_work(&mut lacks).await {
        lacks.note(Need::Pods, format!("{error:#}"));
    }
    run.remove(std::slice::from_ref(&probe.namespace)).await;
    for (need, reason) in lacks.all() {
        eprintln!("it cannot give {need:?}: {reason}");
    }
    Ok(lacks)
}

// === impl Probe ===

impl Probe<'_> {
    /// A Rollout of one pod behind a Service is looked at.
    async fn controller_works(&self) -> Result<()> {
        let admin = &self.run.admin;
        admin
            .create(&fixture::service(&self.namespace, NAME, 80))
            .await?;
        let mut rollout = fixture::rollout(&self.namespace, NAME, "demo:v1-good", &json!([]));
        rollout["spec"]["replicas"] = json!(1);
        admin.create(&rollout).await?;
        let path = format!(
            "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts/{NAME}",
            self.namespace
        );
        let looked = async || {
            let rollout = admin.get(&path).await?;
            rollout.pointer("/status/observedGeneration").cloned()
        };
        let looked = until(looked, CONTROLLER).await;
        looked.map(drop).with_context(|| {
            format!(
                "no Rollouts controller has looked at a Rollout within {CONTROLLER:?}: is the controller of Argo Rollouts \
                 running, for all namespaces?"
            )
        })
    }

    /// Pods get ready, are reached, and answer by their words.
    async fn pods_work(&self, lacks: &mut Lacks) -> Result<()> {
        for (word, _, _) in WORDS {
            self.pod(word).await?;
        }
        let image = self.run.admin.image("v1-good");
        let mut good = Value::Null;
        let ready = async || {
            let list = format!(
                "/api/v1/namespaces/{}/pods?labelSelector=app={NAME}",
                self.namespace
            );
            let list = self.run.admin.get(&list).await?;
            good = list.pointer("/items/0")?.clone();
            let waiting = good.pointer("/status/containerStatuses/0/state/waiting/reason");
            let hopeless = waiting.is_some_and(|it| HOPELESS.iter().any(|one| it == one));
            (hopeless || is_ready(&good)).then_some(())
        };
        until(ready, PODS).await;
        anyhow::ensure!(
            is_ready(&good),
            "no pod of the image `{image}` gets ready (its status: {}); `--image REPOSITORY` names one that behaves by the \
             words of its tag, see CONTRIBUTING.md",
            good["status"]
        );
        self.kubelet(&good, lacks).await;
        if let Err(error) = self.is_reached(&good).await {
            let advice = "run the tests where pods and Services can be reached";
            lacks.note(Need::Network, format!("{error:#}; {advice}"));
            return Ok(());
        }
        for (word, path, wanted) in WORDS {
            let (pod, answers) = self.answers(word, path).await?;
            anyhow::ensure!(
                answers == wanted && is_ready(&pod) == (word != "neverready"),
                "a pod of the image `{}` does not behave by the words of its tag: it answered {answers} at {path}, and its \
                 status is {}",
                self.run.admin.image(&format!("v1-{word}")),
                pod["status"]
            );
        }
        Ok(())
    }

    async fn pod(&self, word: &str) -> Result<()> {
        let container = json!({ "name": "app", "image": format!("demo:v1-{word}") });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": word, "namespace": self.namespace },
            "spec": { "containers": [container] },
        });
        // The account that pods run as comes a moment after its namespace.
        let made = async || self.run.admin.create(&pod).await.ok();
        if until(made, CONTROLLER).await.is_none() {
            self.run.admin.create(&pod).await?;
        }
        Ok(())
    }

    /// Only a simulated kubelet leaves the status of a pod as somebody else has written it.
    async fn kubelet(&self, pod: &Value, lacks: &mut Lacks) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let node = self.run.admin.ask(&format!("/api/v1/nodes/{node}")).await;
        let version = node.map(|it| it["status"]["nodeInfo"]["kubeletVersion"].clone());
        match version {
            Ok(version) if version.as_str().is_some_and(|it| it.starts_with("kwok")) => {}
            Ok(version) => lacks.note(
                Need::PodStatus,
                format!("a kubelet ({version}) puts the status of its pods right"),
            ),
            Err(error) => lacks.note(
                Need::PodStatus,
                format!("whether its kubelets are simulated cannot be read: {error:#}"),
            ),
        }
    }

    /// The pod answers, and its Service does.
    async fn is_reached(&self, pod: &Value) -> Result<()> {
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        reach(&format!("http://{address}:8000/price"))
            .await
            .context("a pod cannot be reached from here")?;
        let path = format!("/api/v1/namespaces/{}/services/{NAME}", self.namespace);
        let service = self.run.admin.ask(&path).await?;
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        reach(&format!("http://{address}/price"))
            .await
            .context("pods can be reached from here, and Services cannot")
    }

    /// What a pod that runs answers to two requests.
    async fn answers(&self, word: &str, path: &str) -> Result<(Value, String)> {
        let pod = format!("/api/v1/namespaces/{}/pods/{word}", self.namespace);
        let running = async || {
            let pod = self.run.admin.get(&pod).await?;
            let runs = pod.pointer("/status/containerStatuses/0/state/running");
            let ready = is_ready(&pod) || word == "neverready";
            (runs.is_some() && ready).then_some(pod)
        };
        let pod = until(running, PODS)
            .await
            .with_context(|| format!("a pod with the word `{word}` does not start"))?;
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        let mut said = Vec::new();
        for _ in 0..2 {
            let url = format!("http://{address}:8000{path}");
            let answer = client().get(url).send().await?;
            let code = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap_or_default();
            let state = body["overall_status"].as_str();
            said.push(state.map_or_else(|| code.to_string(), |it| format!("{code} {it}")));
        }
        Ok((pod, said.join(", ")))
    }
}

/// An answer comes, now or in a moment: routes follow pods.
async fn reach(url: &str) -> Result<()> {
    let asked = async || {
        let answer = client().get(url).timeout(Duration::from_secs(2)).send();
        let answer = answer.await.ok()?;
        answer.status().is_success().then_some(())
    };
    let limit = Duration::from_secs(15);
    let answer = until(asked, limit).await;
    answer.with_context(|| format!("no good answer from {url} within {limit:?}"))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}
