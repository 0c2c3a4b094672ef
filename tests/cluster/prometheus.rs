//! A real Prometheus in a process of its own, with the shipped scrape jobs and the shipped rules: it finds the pods, reads
//! what they count, and decides about alerts. All that is not shipped are the times, which are divided so that a test can
//! wait for them.
//!
//! It must be on the PATH; a test that needs it fails without it. It is killed when dropped.

mod blackbox;
mod cluster;
mod discovery;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::Client;
use reqwest::Url;
use serde_json::Value;
use tokio::task::JoinSet;

use self::blackbox::Blackbox;
use crate::scene::LIMIT;
use crate::support::replica::{client, until};
use crate::support::scaled::scaled;

const SETTINGS: &str = include_str!("prometheus/prometheus.yml");
const SCRAPE: &str = include_str!("../../deploy/prometheus/scrape.yml");
const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
/// For how long a series counts of which nobody tells any more, in milliseconds: Prometheus's own five minutes.
const LOOKBACK: u64 = 300_000;

/// A running Prometheus.
pub(crate) struct Prometheus {
    url: String,
    child: Child,
    log: PathBuf,
    blackbox: Option<Blackbox>,
    /// They look at the cluster for it.
    _watch: JoinSet<()>,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that watches the pods of a namespace and tells this Alertmanager, and waits until it listens. Times are
    /// divided by `factor`.
    pub(crate) async fn start(
        folder: &Path,
        cluster: Client,
        namespace: &str,
        alertmanager: &str,
        factor: u64,
    ) -> Self {
        let (page, watch) = cluster::watch(cluster, namespace, folder.join("pods.json")).await;
        let blackbox = Blackbox::start(folder).await;
        let path = folder.join("prometheus.yml");
        let settings = settings(alertmanager, &page, &blackbox.address);
        fs::write(&path, scaled(&settings, factor)).unwrap();
        fs::write(folder.join("rules.yml"), scaled(RULES, factor)).unwrap();
        let log = folder.join("prometheus.log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("series").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg(format!("--query.lookback-delta={}ms", LOOKBACK / factor))
            // Five seconds, as it is built: what the scrapes are told of new targets late.
            .arg("--scrape.discovery-reload-interval=250ms")
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
            blackbox: Some(blackbox),
            _watch: watch,
        };
        let listening = async || Some(format!("http://{}", listening(&log)?));
        prometheus.url = until(listening, LIMIT).await.expect("Prometheus listens");
        prometheus
    }

    /// From now on no pod is asked for its health.
    pub(crate) fn probes_nothing(&mut self) {
        self.blackbox = None;
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The series that an expression has now. Where there is no answer, it is asked again: that is no series either.
    pub(crate) async fn ask(&self, expression: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/query", self.url);
        let url = Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let client = client();
        let mut said = Value::Null;
        let series = async || {
            let answer = client.get(url.clone()).send().await.ok()?;
            said = answer.json().await.ok()?;
            said.pointer("/data/result")?.as_array().cloned()
        };
        let series = until(series, LIMIT).await;
        series.unwrap_or_else(|| panic!("{expression}: {said:#}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the log of Prometheus:\n{log}---");
        }
    }
}

/// The shipped scrape jobs, with the addresses of this scenario.
fn settings(alertmanager: &str, cluster: &str, blackbox: &str) -> String {
    let filled = |text: &str, from: &str, to: &str, times: usize| {
        assert_eq!(text.matches(from).count(), times, "{from}");
        text.replace(from, to)
    };
    let pods =
        "kubernetes_sd_configs: [{ role: pod, namespaces: { names: [options-production] } }]";
    let jobs = filled(SCRAPE, pods, "file_sd_configs: [{ files: [pods.json] }]", 2);
    // Ripcord is no pod here.
    let ripcord = "kubernetes_sd_configs: [{ role: pod, namespaces: { names: [ripcord] } }]";
    let jobs = filled(&jobs, ripcord, "static_configs: []", 1);
    let jobs = filled(&jobs, "blackbox-exporter.monitoring.svc:9115", blackbox, 1);
    let text = filled(SETTINGS, "ALERTMANAGER", alertmanager, 1);
    let text = filled(&text, "CLUSTER", cluster, 1);
    filled(&text, "SCRAPE", &jobs, 1)
}

/// Where a program of Prometheus's family says in its log that it listens.
fn listening(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains(r#"msg="Listening on""#))?;
    let (_, address) = line.split_once("address=")?;
    Some(address.split_whitespace().next()?.to_owned())
}
