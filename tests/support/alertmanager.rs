//! A real Alertmanager in a process of its own, with its own folder and port, and with the peers that it is told of.
//!
//! It must be on the PATH; a test that needs it fails without it. It is killed when dropped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::replica::{client, until};

/// What it is called, by Debian and by its makers.
pub(crate) const NAMES: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];
/// How long a condition may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A running Alertmanager.
pub(crate) struct Alertmanager {
    /// Where it listens, without a path.
    pub(crate) url: String,
    child: Child,
    log: PathBuf,
}

// === impl Alertmanager ===

impl Alertmanager {
    /// Starts one with this configuration and waits until it is ready.
    pub(crate) async fn start(folder: &Path, config: &str) -> Self {
        let alone = ["--cluster.listen-address=".to_owned()];
        Self::start_as(&NAMES.map(PathBuf::from), folder, config, &alone).await
    }

    /// The same with the first of these programs that there is, and with what it is told of its peers.
    pub(crate) async fn start_as(
        programs: &[PathBuf],
        folder: &Path,
        config: &str,
        peers: &[String],
    ) -> Self {
        let path = folder.join("alertmanager.yml");
        fs::write(&path, config).unwrap();
        let log = folder.join("alertmanager.log");
        let spawn = |name: &PathBuf| {
            Command::new(name)
                .arg(format!("--config.file={}", path.display()))
                .arg(format!(
                    "--storage.path={}",
                    folder.join("alertmanager").display()
                ))
                .args(["--web.listen-address=127.0.0.1:0", "--log.level=debug"])
                .args(peers)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log).unwrap())
                .spawn()
        };
        let child = programs.iter().find_map(|name| spawn(name).ok());
        let child = child.unwrap_or_else(|| {
            panic!("none of {programs:?} is on the PATH: install it, e.g. with `apt-get install prometheus-alertmanager`")
        });
        let mut alertmanager = Self {
            url: String::new(),
            child,
            log: log.clone(),
        };
        let listening = async || {
            let log = fs::read_to_string(&log).unwrap();
            let line = log.lines().find(|line| line.contains("Listening on"))?;
            let (_, address) = line.split_once("address=")?;
            Some(format!("http://{}", address.trim_matches(['[', ']', '"'])))
        };
        alertmanager.url = until(listening, LIMIT).await.expect("it listens");
        let http = client();
        let ready = async || {
            let answer = http
                .get(format!("{}/-/ready", alertmanager.url))
                .send()
                .await;
            answer
                .is_ok_and(|it| it.status().is_success())
                .then_some(())
        };
        until(ready, LIMIT).await.expect("it is ready");
        alertmanager
    }

    /// Tells it of alerts, as Prometheus does.
    pub(crate) async fn post(&self, alerts: &Value) {
        let sent = client()
            .post(format!("{}/api/v2/alerts", self.url))
            .body(alerts.to_string());
        let answer = sent
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the log of Alertmanager:\n{log}---");
        }
    }
}

/// The shipped configuration with other addresses, and with times that a test can wait for.
pub(crate) fn configuration(to: &[SocketAddr], pager: SocketAddr, token: &str) -> String {
    let shipped = include_str!("../../deploy/alertmanager/alertmanager.yml");
    for kept in [
        "continue: true",
        "group_wait: 0s",
        "group_by: ['namespace', 'rollout']",
        "send_resolved: true",
        "max_alerts: 0",
        "follow_redirects: false",
    ] {
        assert!(shipped.contains(kept), "{kept}");
    }
    let replace = |text: &str, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    };
    // The routes for releases and for the heartbeat.
    let in_both = |text: &str, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 2, "{from}");
        text.replace(from, to)
    };
    let text = replace(shipped, "/etc/alertmanager/secrets/ripcord-token", token);
    let text = replace(
        &text,
        "http://pager.invalid/replace-me",
        &format!("http://{pager}/"),
    );
    let text = in_both(&text, "group_interval: 10s", "group_interval: 1s");
    let text = in_both(&text, "repeat_interval: 1m", "repeat_interval: 1s");
    // One receiver with all addresses: harder than a Service, as every replica gets everything.
    let begin = text
        .find("      - url: http://ripcord.ripcord.svc")
        .unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap() + 1;
    let block = &text[begin..end];
    let address =
        |to: &SocketAddr| replace(block, "http://ripcord.ripcord.svc", &format!("http://{to}"));
    let blocks: String = to.iter().map(address).collect();
    format!("{}{blocks}{}", &text[..begin], &text[end..])
}
