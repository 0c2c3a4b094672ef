//! What is shipped for the Prometheus operator says what the plain files say.

use serde_json::{Value, json};

use super::{documents, text};

fn plain(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap()
}

/// `camelCase` as `snake_case`, in the names of keys.
fn snake(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| {
                let mut name = String::new();
                for letter in key.chars() {
                    if letter.is_ascii_uppercase() {
                        name.push('_');
                    }
                    name.push(letter.to_ascii_lowercase());
                }
                (name, snake(value))
            })
            .collect(),
        Value::Array(all) => all.iter().map(snake).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_rules_are_the_same() {
    let objects = documents("prometheus/operator/rules.yaml");
    assert_eq!(objects.len(), 2);
    for (object, file) in objects.iter().zip(["rules.yml", "ripcord.yml"]) {
        assert_eq!(object["kind"], "PrometheusRule");
        assert_eq!(
            object["spec"],
            plain(&format!("prometheus/{file}")),
            "{file}"
        );
    }
}

#[test]
fn the_pods_are_found_and_labelled_alike() {
    let jobs = plain("prometheus/scrape.yml")["scrape_configs"].clone();
    let jobs = jobs.as_array().unwrap();
    let monitors = documents("prometheus/operator/pod-monitors.yaml");
    assert_eq!(monitors.len(), jobs.len());
    for (monitor, job) in monitors.iter().zip(jobs) {
        let name = &job["job_name"];
        assert_eq!(monitor["metadata"]["name"], *name);
        assert_eq!(
            json!([monitor["metadata"]["namespace"]]),
            job["kubernetes_sd_configs"][0]["namespaces"]["names"]
        );
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        for (here, there) in [
            ("interval", "scrape_interval"),
            ("path", "metrics_path"),
            ("params", "params"),
        ] {
            assert_eq!(endpoint[here], job[there], "{name}: {here}");
        }
        // The operator chooses by itself what these choose, and would name the job by itself.
        let chosen = ["container_port_name", "_label_app_kubernetes_io_name"];
        let of_job = job["relabel_configs"].as_array().unwrap().iter();
        let of_job: Vec<_> = of_job
            .filter(|it| {
                let from = it["source_labels"][0].as_str().unwrap_or_default();
                it["action"] != "keep" || !chosen.iter().any(|end| from.ends_with(end))
            })
            .collect();
        let of_monitor = snake(&endpoint["relabelings"]);
        let of_monitor: Vec<_> = of_monitor.as_array().unwrap().iter().collect();
        assert_eq!(
            *of_monitor[0],
            json!({"target_label": "job", "replacement": name})
        );
        assert_eq!(of_monitor[1..], of_job, "{name}");
        let port = job["relabel_configs"].as_array().unwrap().iter();
        let mut port = port.filter(|it| {
            it["source_labels"] == json!(["__meta_kubernetes_pod_container_port_name"])
        });
        assert_eq!(port.next().unwrap()["regex"], endpoint["port"], "{name}");
    }
}

#[test]
fn alertmanager_routes_alike() {
    let plain = plain("alertmanager/alertmanager.yml");
    let routes = plain["route"]["routes"].as_array().unwrap();
    let webhook = &plain["receivers"][0]["webhook_configs"][0];
    let objects = documents("alertmanager/alertmanager-config.yaml");
    assert_eq!(objects.len(), 2);
    for (object, route) in objects.iter().zip(routes) {
        let spec = snake(&object["spec"]);
        for key in [
            "receiver",
            "group_by",
            "group_wait",
            "group_interval",
            "repeat_interval",
            "continue",
        ] {
            assert_eq!(spec["route"][key], route[key], "{key}");
        }
        let of_object = object["spec"]["route"]["matchers"].as_array().unwrap();
        let mut matchers: Vec<_> = of_object
            .iter()
            .map(|it| {
                let word = |key: &str| it[key].as_str().unwrap();
                json!(format!(
                    "{}{}\"{}\"",
                    word("name"),
                    word("matchType"),
                    word("value")
                ))
            })
            .collect();
        // The operator adds the one for the namespace.
        if object["metadata"]["name"] == "ripcord" {
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            matchers.insert(0, json!(format!("namespace=~\"{namespace}\"")));
        }
        assert_eq!(Value::from(matchers), route["matchers"]);

        assert_eq!(spec["receivers"].as_array().unwrap().len(), 1);
        let receiver = &spec["receivers"][0];
        assert_eq!(receiver["name"], plain["receivers"][0]["name"]);
        let mut of_object = receiver["webhook_configs"][0].clone();
        let token = of_object["http_config"]["authorization"].take();
        let instructions = text("alertmanager/alertmanager-config.yaml");
        let secret = token["credentials"]["name"].as_str().unwrap();
        let key = token["credentials"]["key"].as_str().unwrap();
        assert!(instructions.contains(&format!("create secret generic {secret} ")));
        assert!(instructions.contains(&format!("--from-file={key}=")));
        let mut of_plain = webhook.clone();
        of_plain["http_config"]["authorization"].take();
        assert_eq!(of_object, of_plain);
    }
}
