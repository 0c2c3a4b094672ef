//! One replica of the service as people run it: the real binary in a process of its own, with its own settings file.
//!
//! It is killed when dropped, and its log is printed where a test fails.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

pub(crate) use super::wait::until;

/// The token that senders show.
pub(crate) const TOKEN: &str = "a-sender-shows-this";
/// How long a condition may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// What a replica is started with.
pub(crate) struct Setup<'a> {
    /// Where its files are kept.
    pub(crate) folder: &'a Path,
    /// The name under which it leads.
    pub(crate) name: &'a str,
    /// How it reaches the API server.
    pub(crate) kubeconfig: String,
    /// Ripcord's own namespace.
    pub(crate) namespace: &'a str,
    /// `act` or `shadow`.
    pub(crate) mode: &'a str,
    /// The policy's text.
    pub(crate) policy: &'a str,
    /// Where Slack is.
    pub(crate) slack: String,
    /// The text of the token for it.
    pub(crate) slack_token: &'a str,
    /// Where Prometheus is, if it is to be asked.
    pub(crate) prometheus: Option<String>,
    /// Where PagerDuty takes events, if people are paged.
    pub(crate) pager: Option<String>,
}

/// A replica that runs, or ran.
pub(crate) struct Replica {
    pub(crate) name: String,
    addr: Option<SocketAddr>,
    child: Child,
    log: PathBuf,
}

// === impl Replica ===

impl Replica {
    /// Starts a replica and waits until it listens.
    pub(crate) async fn start(setup: &Setup<'_>) -> Self {
        let file = |what: &str, text: &str| {
            let path = setup.folder.join(format!("{}-{what}", setup.name));
            fs::write(&path, text).unwrap();
            path
        };
        let pager = setup.pager.as_ref();
        let pager = pager.map(
            |api| json!({ "routing_key_file": file("routing-key", "R0UT1NGKEY"), "api": api }),
        );
        let settings = json!({
            "intake": {"listen": "127.0.0.1:0", "bearer_token_files": [file("bearer", TOKEN)], "drain_delay": "0s"},
            "cluster": {"kubeconfig": file("kubeconfig", &setup.kubeconfig)},
            "engine": {
                "mode": setup.mode, "namespace": setup.namespace, "identity": setup.name,
                // Fast, so that a takeover is; with room for a machine that is busy.
                "lease": {"duration": "4s", "renew_deadline": "3s", "retry": "500ms", "drain": "5s"},
            },
            "report": {
                "slack": {"channel": "#releases", "token_file": file("slack", setup.slack_token), "api": setup.slack},
                "pagerduty": pager.unwrap_or_else(|| json!({})),
            },
            "prometheus": {"url": setup.prometheus},
            "telemetry": {"log": {"filter": "info,ripcord=debug", "format": "json"}},
        });
        let settings = file("settings.yaml", &settings.to_string());
        let policy = file("policy.yaml", setup.policy);
        let log = file("log", "");
        let child = Command::new(program())
            .arg("serve")
            .args(["--settings".as_ref(), settings.as_os_str()])
            .args(["--policy".as_ref(), policy.as_os_str()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut replica = Self {
            name: setup.name.to_owned(),
            addr: None,
            child,
            log,
        };
        let listening = until(async || replica.said("listening"), LIMIT).await;
        let listening = listening.expect("it listens");
        replica.addr = listening["listen"].as_str().map(|at| at.parse().unwrap());
        replica
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addr.unwrap()
    }

    /// Where it takes notifications.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/alerts", self.address())
    }

    /// Waits until it is ready for notifications.
    pub(crate) async fn ready(&self) {
        let url = format!("http://{}/readyz", self.address());
        let http = client();
        let ready = async || {
            let answer = http.get(&url).send().await;
            answer
                .is_ok_and(|it| it.status().is_success())
                .then_some(())
        };
        until(ready, LIMIT).await.expect("it is ready");
    }

    /// The first line of its log with this message.
    pub(crate) fn said(&self, message: &str) -> Option<Value> {
        let log = fs::read_to_string(&self.log).unwrap();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line["message"] == message)
    }

    /// Ends it at once, as a lost machine does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself, as it was asked to.
    pub(crate) async fn ended(&mut self) {
        let ended = until(async || self.child.try_wait().unwrap(), LIMIT).await;
        assert!(ended.expect("it ends").success(), "it ends well");
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(sent.success(), "{line}");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the log of {}:\n{log}---", self.name);
        }
    }
}

/// The program: the one that Cargo has built beside this, or the one that `RIPCORD_BIN` names.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("RIPCORD_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_ripcord").into())
}

/// An HTTP client that goes nowhere else than asked.
pub(crate) fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy();
    client.timeout(Duration::from_secs(30)).build().unwrap()
}
