//! A real blackbox exporter in a process of its own, with the shipped module: it asks pods for their health.
//!
//! It must be on the PATH; a test that needs it fails without it. It is killed when dropped.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::scene::LIMIT;
use crate::support::replica::until;

const MODULES: &str = include_str!("../../../deploy/prometheus/blackbox.yml");
/// What it is called, by Debian and by its makers.
const NAMES: [&str; 2] = ["prometheus-blackbox-exporter", "blackbox_exporter"];

/// A running exporter.
pub(super) struct Blackbox {
    /// Where it listens.
    pub(super) address: String,
    child: Child,
}

// === impl Blackbox ===

impl Blackbox {
    /// Starts one, and waits until it listens.
    pub(super) async fn start(folder: &Path) -> Self {
        let modules = folder.join("blackbox.yml");
        fs::write(&modules, MODULES).unwrap();
        let log = folder.join("blackbox.log");
        let spawn = |name: &&str| {
            Command::new(name)
                .arg(format!("--config.file={}", modules.display()))
                .arg("--web.listen-address=127.0.0.1:0")
                // How long the module waits for an answer is not divided: the machine is no faster. Without this it would
                // wait no longer than Prometheus asks for it, and call a pod sick where only the machine is busy.
                .arg("--timeout-offset=-10")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(&log).unwrap())
                .spawn()
                .ok()
        };
        let child = NAMES.iter().find_map(spawn).unwrap_or_else(|| {
            panic!("none of {NAMES:?} is on the PATH: install it, e.g. with `apt-get install prometheus-blackbox-exporter`")
        });
        let mut blackbox = Self {
            address: String::new(),
            child,
        };
        let listening = async || super::listening(&log);
        blackbox.address = until(listening, LIMIT).await.expect("it listens");
        blackbox
    }
}

impl Drop for Blackbox {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
