//! Names, paths and ports of the manifests fit each other and the code.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, HTTPGetAction, PodSpec, Service as KubeService,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ripcord::cli::{self, Command};
use ripcord::config::{Settings, load_policy};
use ripcord::policy::Policy;
use ripcord::rollback::object::Mode;
use serde_json::Value;

use super::{HOME, deploy, http, manifest, service, text, until};
use crate::support::stage::{self, LIMIT};

pub(super) fn deployment() -> Deployment {
    manifest("deployment.yaml", "Deployment")
}

pub(super) fn pod() -> PodSpec {
    deployment().spec.unwrap().template.spec.unwrap()
}

pub(super) fn container() -> Container {
    let mut containers = pod().containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

pub(super) fn settings() -> Settings {
    Settings::load(Some(&deploy().join("config/ripcord.yaml")), []).unwrap()
}

pub(super) fn kustomization() -> Value {
    serde_saphyr::from_str(&text("kustomization.yaml")).unwrap()
}

/// The folder in the container that a volume with this source is mounted at.
fn mounted_at(name: &str) -> String {
    let pod = pod();
    let volumes = pod.volumes.unwrap();
    let volume = volumes.iter().find(|volume| {
        let map = volume.config_map.as_ref().map(|map| map.name.as_str());
        let secret = volume
            .secret
            .as_ref()
            .and_then(|it| it.secret_name.as_deref());
        map == Some(name) || secret == Some(name)
    });
    let volume = &volume.unwrap().name;
    let mounts = container().volume_mounts.unwrap();
    let mount = mounts.iter().find(|mount| mount.name == *volume).unwrap();
    assert_eq!(mount.sub_path, None, "a sub-path is never updated");
    mount.mount_path.clone()
}

#[test]
fn the_container_serves_with_the_files_that_are_mounted() {
    let words = ["ripcord".to_owned()].into_iter();
    let words = words.chain(container().args.unwrap()).map(Into::into);
    let cli = cli::parse(words).unwrap();
    assert!(matches!(cli.command, Command::Serve));
    let generator = &kustomization()["configMapGenerator"][0];
    let at = mounted_at(generator["name"].as_str().unwrap());
    let files: Vec<_> = generator["files"].as_array().unwrap().iter().collect();
    let paths = [cli.settings.unwrap(), cli.policy];
    let dockerfile = std::fs::read_to_string(deploy().with_file_name("Dockerfile")).unwrap();
    for (name, path) in ["SETTINGS", "POLICY"].iter().zip(&paths) {
        let said = format!("RIPCORD_{name}={}", path.display());
        assert!(dockerfile.contains(&said), "a plain `docker run`: {said}");
    }
    assert_eq!(files.len(), paths.len());
    for (path, file) in paths.iter().zip(files) {
        let file = file.as_str().unwrap();
        let (_, name) = file.rsplit_once('/').unwrap();
        assert_eq!(path.to_str().unwrap(), format!("{at}/{name}"));
        assert!(deploy().join(file).is_file());
    }
}

/// kubectl 1.20, the one of Debian 12, knows these keys only, and takes no folder for a resource.
#[test]
fn an_old_kubectl_can_render_what_is_shipped() {
    const KNOWN: [&str; 8] = [
        "apiVersion",
        "kind",
        "namespace",
        "resources",
        "bases",
        "configMapGenerator",
        "generatorOptions",
        "images",
    ];
    for folder in [
        ".",
        "rbac/release-namespace",
        "rbac/deployment-targets",
        "rbac/exec-targets",
        "rbac/service-targets",
        "rbac/shadow-namespace",
        "rbac/shadow-deployment-targets",
        "rbac/shadow-service-targets",
        "examples/options-production",
        "examples/shadow",
        "examples/shadow/options-production",
    ] {
        let read: Value =
            serde_saphyr::from_str(&text(&format!("{folder}/kustomization.yaml"))).unwrap();
        for key in read.as_object().unwrap().keys() {
            assert!(KNOWN.contains(&key.as_str()), "{folder}: {key}");
        }
        let listed = |key: &str| read[key].as_array().cloned().unwrap_or_default();
        for file in listed("resources") {
            let file = deploy().join(folder).join(file.as_str().unwrap());
            assert!(file.is_file(), "{}", file.display());
        }
        for base in listed("bases") {
            let base = deploy().join(folder).join(base.as_str().unwrap());
            assert!(base.join("kustomization.yaml").is_file(), "{folder}");
        }
        for generator in listed("configMapGenerator") {
            let mut keys = generator.as_object().unwrap().keys();
            assert!(keys.all(|key| key == "name" || key == "files"));
        }
    }
}

/// Who is let in, and who may be called: what the shipped policy and settings name.
#[test]
fn network_policies_fit_what_the_service_calls() {
    let labels = deployment()
        .spec
        .unwrap()
        .template
        .metadata
        .unwrap()
        .labels
        .unwrap();
    let ports = |path: &str, way: &str| -> Vec<u64> {
        let read: Value = manifest(path, "NetworkPolicy");
        let selector = read["spec"]["podSelector"]["matchLabels"]
            .as_object()
            .unwrap();
        assert!(
            selector
                .iter()
                .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
        );
        assert_eq!(read["metadata"]["namespace"], HOME);
        let rules = read["spec"][way].as_array().unwrap().iter();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().unwrap());
        ports.map(|it| it["port"].as_u64().unwrap()).collect()
    };
    let listen = u64::from(settings().intake.listen.port());
    assert_eq!(ports("network-policy.yaml", "ingress"), [listen]);
    let read: Value = manifest("network-policy-egress.yaml", "NetworkPolicy");
    let loaded = load_policy(&deploy().join("config/rollbacks.yaml")).unwrap();
    for (port, within, of) in called(&loaded.policy, &settings()) {
        assert!(allows(&read, port, within.as_deref()), "{of}: {port}");
    }
}

/// What the service, and `doctor` in its pod, call by TCP: the port, the namespace where one is known, and what for.
fn called(policy: &Policy, settings: &Settings) -> Vec<(u16, Option<String>, String)> {
    let mut all = Vec::new();
    let mut call = |port: u16, within: Option<&str>, of: &str| {
        all.push((port, within.map(str::to_owned), of.to_owned()));
    };
    call(53, None, "names");
    call(443, None, "the Service of the API server");
    call(6443, None, "the API server");
    for target in policy.targets.values() {
        let within = Some(target.workload.namespace.as_str());
        if let Some(health) = &target.health {
            call(health.port, within, "health");
            if let Some(url) = &health.url {
                let (port, within) = address(url);
                call(port, within.as_deref(), "health.url");
            }
        }
        if let Some(warm_up) = &target.warm_up {
            call(warm_up.port, within, "warm_up");
        }
        if let Some(redis) = &target.redis {
            let (port, within) = address(&format!("redis://{}", redis.address));
            call(port, within.as_deref(), "redis");
        }
    }
    // The built-in addresses of the receivers as well: a key is all that they lack.
    let report = &settings.report;
    let mut urls = vec![
        (report.slack.api.clone(), "report.slack"),
        (report.pagerduty.api.clone(), "report.pagerduty"),
        (alertmanager(), "doctor --alertmanager"),
    ];
    let named = [
        (&settings.prometheus.url, "prometheus.url"),
        (&report.webhook.url, "report.webhook"),
        (&settings.telemetry.otlp.endpoint, "telemetry.otlp"),
    ];
    urls.extend(
        named
            .into_iter()
            .filter_map(|(url, of)| Some((url.clone()?, of))),
    );
    for (url, of) in urls {
        let (port, within) = address(&url);
        call(port, within.as_deref(), of);
    }
    match report.email.port {
        Some(port) => call(port, None, "report.email"),
        // With starttls, and with tls.
        None => {
            for port in [587, 465] {
                call(port, None, "report.email");
            }
        }
    }
    all
}

/// The address of Alertmanager that the instructions give to `doctor`.
fn alertmanager() -> String {
    let docs = deploy().with_file_name("docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, rest) = docs.split_once("--alertmanager http://").unwrap();
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '`')
        .unwrap_or(rest.len());
    format!("http://{}", &rest[..end])
}

/// The port of an address, and the namespace, where its host is the name of a Service.
fn address(url: &str) -> (u16, Option<String>) {
    let url: reqwest::Url = url.parse().unwrap();
    let host = url.host_str().unwrap();
    let mut words = host.split('.').skip(1);
    let within = words
        .next()
        .filter(|_| words.next().is_none_or(|it| it == "svc"));
    let port = url.port_or_known_default();
    (port.unwrap(), within.map(str::to_owned))
}

/// Whether a pod may call this TCP port there; anywhere, where no namespace is known.
fn allows(policy: &Value, port: u16, within: Option<&str>) -> bool {
    let mut rules = policy["spec"]["egress"].as_array().unwrap().iter();
    rules.any(|rule| {
        let mut ports = rule["ports"].as_array().unwrap().iter();
        let open = ports.any(|it| it["protocol"] == "TCP" && it["port"] == u64::from(port));
        let Some(to) = rule["to"].as_array() else {
            return open;
        };
        let named = "/namespaceSelector/matchLabels/kubernetes.io~1metadata.name";
        open && to
            .iter()
            .any(|it| it.pointer(named).and_then(Value::as_str) == within)
    })
}

#[test]
fn the_secrets_are_those_that_the_instructions_make() {
    let at = mounted_at("ripcord-secrets");
    let settings = settings();
    let mut files = settings.intake.bearer_token_files;
    files.extend(settings.report.slack.token_file);
    assert_eq!(files.len(), 2);
    let instructions = text("README.md");
    assert!(instructions.contains("create secret generic ripcord-secrets"));
    for file in files {
        let key = file.strip_prefix(&at).unwrap().to_str().unwrap();
        assert!(
            instructions.contains(&format!("--from-file={key}=")),
            "{key}"
        );
    }
}

#[test]
fn ports_and_labels_fit_each_other() {
    let ports = container().ports.unwrap();
    assert_eq!(ports.len(), 1);
    let listen = settings().intake.listen;
    assert_eq!(ports[0].container_port, i32::from(listen.port()));
    assert!(listen.ip().is_unspecified(), "others must reach it");
    let name = IntOrString::String(ports[0].name.clone().unwrap());

    let spec = deployment().spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    let service: KubeService = manifest("service.yaml", "Service");
    let service = service.spec.unwrap();
    assert_eq!(service.ports.as_ref().unwrap()[0].target_port, Some(name));
    let budget: PodDisruptionBudget = manifest("pod-disruption-budget.yaml", "PodDisruptionBudget");
    let budget = budget.spec.unwrap();
    assert_eq!(budget.min_available, Some(IntOrString::Int(1)));
    for selector in [
        spec.selector.match_labels,
        service.selector,
        budget.selector.unwrap().match_labels,
    ] {
        let selector = selector.unwrap();
        assert!(!selector.is_empty());
        let chosen = selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        assert!(chosen, "{selector:?}");
    }
}

#[test]
fn the_image_is_what_the_pods_expect() {
    let root = deploy();
    let root = root.parent().unwrap();
    let file = std::fs::read_to_string(root.join("Dockerfile")).unwrap();
    assert_eq!(
        container().image.unwrap(),
        kustomization()["images"][0]["name"].as_str().unwrap()
    );
    assert_eq!(container().command, None);
    let user = pod().security_context.unwrap().run_as_user.unwrap();
    let port = settings().intake.listen.port();
    for line in [
        "ENTRYPOINT [\"/usr/local/bin/ripcord\"]".to_owned(),
        format!("USER {user}:{user}"),
        format!("EXPOSE {port}"),
        format!("ARG VERSION={}", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(file.lines().any(|it| it == line), "{line}");
    }
    assert!(file.contains("--locked --no-default-features --bin ripcord"));
    assert_eq!(
        kustomization()["images"][0]["newTag"],
        env!("CARGO_PKG_VERSION")
    );
    let builder = file
        .lines()
        .find_map(|it| it.strip_prefix("ARG RUST_VERSION="));
    let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    assert!(minor(builder.unwrap()) >= minor(env!("CARGO_PKG_RUST_VERSION")));
}

#[test]
fn the_shipped_policy_only_watches() {
    let shipped = load_policy(&deploy().join("config/rollbacks.yaml")).unwrap();
    let shown = load_policy(&deploy().with_file_name("config/rollbacks.yaml")).unwrap();
    let triggers = &shipped.policy.triggers;
    assert!(!triggers.is_empty());
    assert!(triggers.iter().all(|it| it.mode == Mode::Shadow));
    assert!(shipped.policy.protected.contains(HOME));
    assert_eq!(shipped.policy.protected, shown.policy.protected);
    let example: Value =
        serde_saphyr::from_str(&text("examples/options-production/kustomization.yaml")).unwrap();
    let namespaces = shipped.policy.namespaces();
    let namespaces: Vec<_> = namespaces.keys().collect();
    assert_eq!(namespaces, [example["namespace"].as_str().unwrap()]);
}

/// The example brings the setting with the rights: whoever applies it has nothing to add by hand.
#[test]
fn the_shadow_example_sets_the_mode_itself() {
    let env = container().env.unwrap();
    let variable = env.iter().find(|it| it.name == "RIPCORD__ENGINE__MODE");
    let from = variable.unwrap().value_from.as_ref().unwrap();
    let from = from.config_map_key_ref.as_ref().unwrap();
    assert_eq!(from.optional, Some(true), "without it the file counts");
    let mode: ConfigMap = manifest("examples/shadow/mode.yaml", "ConfigMap");
    assert_eq!(mode.metadata.name.as_deref(), Some(from.name.as_str()));
    assert_eq!(mode.metadata.namespace.as_deref(), Some(HOME));
    let said = mode.data.unwrap().remove(&from.key).unwrap();

    let path = deploy().join("config/ripcord.yaml");
    let with = |variables: Vec<(String, String)>| {
        let settings = Settings::load(Some(&path), variables).unwrap();
        settings.engine.mode
    };
    assert_eq!(with(vec![]), Mode::Act);
    let variable = vec![("RIPCORD__ENGINE__MODE".to_owned(), said)];
    assert_eq!(with(variable), Mode::Shadow);

    // The example is the mode, which stays in Ripcord's namespace, and rights that change no workload.
    let read = |path: &str| -> Value {
        serde_saphyr::from_str(&text(&format!("{path}/kustomization.yaml"))).unwrap()
    };
    let example = read("examples/shadow");
    assert_eq!(example["resources"], serde_json::json!(["mode.yaml"]));
    assert!(example["namespace"].is_null());
    assert_eq!(example["bases"], serde_json::json!(["options-production"]));
    let rights = read("examples/shadow/options-production");
    let base = serde_json::json!(["../../../rbac/shadow-namespace"]);
    assert_eq!(rights["bases"], base);
    let acting = read("examples/options-production");
    assert_eq!(rights["namespace"], acting["namespace"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_alertmanager_ask_where_the_service_answers() {
    let sandbox = stage::sandbox().await;
    let service = service(&sandbox, stage::policy()).await;
    let container = container();
    let probes = [
        container.startup_probe,
        container.liveness_probe,
        container.readiness_probe,
    ];
    for probe in probes {
        let HTTPGetAction { path, port, .. } = probe.unwrap().http_get.unwrap();
        assert_eq!(port, IntOrString::String("http".to_owned()));
        let url = format!("http://{}{}", service.addr, path.unwrap());
        let good = until(LIMIT, async || {
            let answer = http().get(&url).send().await.unwrap();
            answer.status().is_success()
        });
        assert!(good.await, "{url} does not get well");
    }

    let example: Value = serde_saphyr::from_str(&text("alertmanager/alertmanager.yml")).unwrap();
    let webhook = &example["receivers"][0]["webhook_configs"][0];
    let url: reqwest::Url = webhook["url"].as_str().unwrap().parse().unwrap();
    let kube: KubeService = manifest("service.yaml", "Service");
    let name = kube.metadata.name.unwrap();
    assert_eq!(url.host_str(), Some(format!("{name}.{HOME}.svc").as_str()));
    let port = kube.spec.unwrap().ports.unwrap()[0].port;
    assert_eq!(url.port_or_known_default().map(i32::from), Some(port));
    let url = format!("http://{}{}", service.addr, url.path());
    let body = r#"{"version": "4", "alerts": []}"#;
    let answer = http().post(url).body(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    service.stop().await;
    sandbox.stop().await;
}
