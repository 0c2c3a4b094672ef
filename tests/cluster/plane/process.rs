//! One process of the control plane, with its log. Nothing ends it but the end of the run, which ends all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build;

/// How many lines of a log say why.
const TAIL: usize = 25;

/// A process that was started.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts a program that was built.
    pub(crate) fn start(name: &'static str, folder: &Path, arguments: &[String]) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(build::bin().join(name));
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null());
        // A home of its own: what a person's kubeconfig says must not matter.
        command
            .env_clear()
            .env("HOME", folder)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let child = command.stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Fails, with its last words, once it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.tail(""));
        }
        Ok(())
    }

    /// The end of its log: of those lines that hold this text.
    pub(crate) fn tail(&self, about: &str) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(about)).collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Its name, which is that of its program and of its log.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let line = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status()?;
        ensure!(sent.success(), "cannot send {signal} to {}", self.name);
        Ok(())
    }
}
