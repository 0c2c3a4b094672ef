//! A real Prometheus in a process of its own: it finds the pods, reads what they count, and decides about alerts.
//!
//! It must be on the PATH; a test that needs it fails without it. It is killed when dropped.

mod discovery;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::Client;
use reqwest::Url;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::scene::LIMIT;
use crate::support::replica::{client, until};

const SETTINGS: &str = include_str!("prometheus/prometheus.yml");
const RULES: &str = include_str!("prometheus/rules.yml");

/// A running Prometheus.
pub(crate) struct Prometheus {
    url: String,
    child: Child,
    log: PathBuf,
    discovery: JoinHandle<()>,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that watches the pods of a namespace and tells this Alertmanager, and waits until it listens.
    pub(crate) async fn start(
        folder: &Path,
        cluster: Client,
        namespace: &str,
        alertmanager: &str,
    ) -> Self {
        let settings = SETTINGS.replace("ALERTMANAGER", alertmanager);
        let discovery = tokio::spawn(discovery::keep(
            cluster,
            namespace.to_owned(),
            folder.join("pods.json"),
        ));
        let path = folder.join("prometheus.yml");
        fs::write(&path, settings).unwrap();
        fs::write(folder.join("rules.yml"), RULES).unwrap();
        let log = folder.join("prometheus.log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("series").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start `prometheus` ({error}): install it, e.g. with `apt-get install prometheus`"
                )
            });
        let mut prometheus = Self {
            url: String::new(),
            child,
            log: log.clone(),
            discovery,
        };
        let listening = async || {
            let log = fs::read_to_string(&log).unwrap();
            let line = log
                .lines()
                .find(|line| line.contains(r#"msg="Listening on""#))?;
            let (_, address) = line.split_once("address=")?;
            Some(format!("http://{address}"))
        };
        prometheus.url = until(listening, LIMIT).await.expect("Prometheus listens");
        prometheus
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The series that an expression has now; none while it cannot answer.
    pub(crate) async fn ask(&self, expression: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.url);
        let url = Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let Ok(answer) = client().get(url).send().await else {
            return Vec::new();
        };
        let answer: Value = answer.json().await.unwrap_or_default();
        let series = answer.pointer("/data/result").and_then(Value::as_array);
        series.cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.discovery.abort();
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the log of Prometheus:\n{log}---");
        }
    }
}
