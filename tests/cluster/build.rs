//! Builds the control plane from Go modules, once: what is there already, from the same modules and the same Go, stays.
//!
//! It downloads, so it runs before the cluster's own network is entered. It does not start anything.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The folder of the `go.mod` files.
const GO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/go");
/// One folder for each `go.mod`.
const MODULES: [&str; 3] = ["k8s", "kwok", "alertmanager"];
/// Without the versions, the server says that it is v0.0.0 and Argo Rollouts that it is v99.99.99, and clients that read
/// that are confused.
const FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.1 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34 \
    -X github.com/argoproj/argo-rollouts/utils/version.version=1.9.1";
/// What Go's caches grow by when nothing is there yet, and what linking alone takes, in MiB.
const COLD: u64 = 8 * 1024;
const WARM: u64 = 2 * 1024;

/// Where everything is kept between runs: beside Cargo's own folders.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("cluster")
}

/// Where the programs are.
pub(crate) fn bin() -> PathBuf {
    folder().join("bin")
}

/// Where the manifests of Argo Rollouts and of KWOK are.
pub(crate) fn manifests() -> PathBuf {
    folder().join("manifests")
}

/// Builds what is missing.
pub(crate) fn build() -> Result<()> {
    fs::create_dir_all(bin())?;
    fs::create_dir_all(manifests())?;
    // Two runs at once: the second finds everything done.
    let lock = File::create(folder().join("lock"))?;
    lock.lock()?;
    let version = go(Path::new(GO), &["version"])?;
    for module in MODULES {
        let source = Path::new(GO).join(module);
        let stamp = stamp(&source, &version)?;
        let stamped = bin().join(format!("{module}.stamp"));
        if fs::read_to_string(&stamped).is_ok_and(|old| old == stamp) {
            continue;
        }
        room(&source)?;
        eprintln!(
            "building the tools of {}: minutes, when it is the first time",
            source.display()
        );
        let out = format!("{}/", bin().display());
        go(
            &source,
            &["build", "-trimpath", "-ldflags", FLAGS, "-o", &out, "tool"],
        )?;
        match module {
            "k8s" => copy(
                &source,
                "github.com/argoproj/argo-rollouts",
                "manifests/crds",
                &[
                    "analysis-run-crd.yaml",
                    "analysis-template-crd.yaml",
                    "cluster-analysis-template-crd.yaml",
                    "experiment-crd.yaml",
                    "rollout-crd.yaml",
                ],
            )?,
            "kwok" => copy(
                &source,
                "sigs.k8s.io/kwok",
                "kustomize/stage/node",
                &[
                    "fast/node-initialize.yaml",
                    "heartbeat-with-lease/node-heartbeat-with-lease.yaml",
                ],
            )?,
            _ => {}
        }
        fs::write(stamped, stamp)?;
    }
    Ok(())
}

/// What decides about the result of a build.
fn stamp(source: &Path, version: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for part in ["go.mod", "go.sum"] {
        let path = source.join(part);
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    hash.update(version);
    hash.update(FLAGS);
    let digest: Vec<_> = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digest.concat())
}

/// Says so at once where the disk is too small, rather than after minutes.
fn room(source: &Path) -> Result<()> {
    let variables = go(source, &["env", "GOCACHE", "GOMODCACHE"])?;
    let mut variables = variables.lines();
    let (cache, modules) = (
        variables.next().unwrap_or("/"),
        variables.next().unwrap_or("/"),
    );
    let cold = !Path::new(modules)
        .join("k8s.io/kubernetes@v1.34.1")
        .exists()
        || !Path::new(cache).exists();
    let needed = if cold { COLD } else { WARM };
    for place in [cache, modules, &folder().display().to_string()] {
        // The cache itself may not be there yet.
        let existing = Path::new(place).ancestors().find(|path| path.exists());
        let existing = existing.unwrap_or(Path::new("/"));
        let said = Command::new("df")
            .arg("-Pm")
            .arg(existing)
            .output()
            .context("cannot run df")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let free = said
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
        let free = free.with_context(|| format!("df does not say how much is free: {said}"))?;
        ensure!(
            free >= needed,
            "{free} MiB are free for {place}, and building the control plane needs {needed} MiB there: make room, or let \
             GOCACHE and GOMODCACHE name folders where there is some"
        );
    }
    Ok(())
}

/// Keeps files of a module, so that a later run needs no module cache.
fn copy(source: &Path, module: &str, within: &str, files: &[&str]) -> Result<()> {
    let from = go(source, &["list", "-m", "-f", "{{.Dir}}", module])?;
    for file in files {
        let path = Path::new(from.trim()).join(within).join(file);
        let name = path.file_name().context("a file's name")?;
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(manifests().join(name), text)?;
    }
    Ok(())
}

/// Runs Go, in the background of what else the machine does.
fn go(folder: &Path, arguments: &[&str]) -> Result<String> {
    if Command::new("go").arg("version").output().is_err() {
        bail!(
            "`go` is not on the PATH: the control plane of the cluster tests is built with it. Install Go 1.26 or newer \
             (https://go.dev/dl/)"
        );
    }
    let mut command = Command::new("nice");
    command
        .args(["-n", "10", "go"])
        .args(arguments)
        .current_dir(folder);
    let done = command
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .output()?;
    ensure!(
        done.status.success(),
        "`go {}` failed in {}:\n{}",
        arguments.join(" "),
        folder.display(),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8(done.stdout)?)
}
