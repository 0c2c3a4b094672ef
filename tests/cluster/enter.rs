//! Namespaces of a run's own: a network, so that runs side by side do not meet, processes, so that none outlives the run,
//! and mounts, so that its data goes with it. No root is needed, where the kernel lets users have namespaces.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::build;

/// Says to the process in the namespaces that it is there, and what its parent is called outside.
const MARK: &str = "RIPCORD_CLUSTER_ENTERED";
const UNSHARE: [&str; 8] = [
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount",
    "--mount-proc",
];

/// The address of the one node, from which requests to Services come.
pub(crate) const NODE_IP: &str = "10.244.255.254";
/// The network of the pods.
pub(crate) const PODS: &str = "10.244.0.0/16";
/// The network of the Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Puts this program into namespaces of its own by replacing the process, and returns once it is there.
pub(crate) fn enter() -> Result<()> {
    if env::var_os(MARK).is_some() {
        return settle();
    }
    // Where `ip`, `nft` and `mount` may be, and where a user's own PATH does not lead.
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let mut tried = Command::new("unshare");
    tried.args(UNSHARE).args(["ip", "link", "set", "lo", "up"]);
    let tried = tried.env("PATH", &path).output();
    let tried =
        tried.context("cannot run `unshare` (on Debian it is in the package util-linux)")?;
    ensure!(
        tried.status.success(),
        "this system does not allow a network and a process namespace of one's own, which the cluster runs in: {}\n\
         See the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone (Debian) and \
         kernel.apparmor_restrict_unprivileged_userns (Ubuntu), or the security profile of the container.",
        String::from_utf8_lossy(&tried.stderr).trim()
    );
    // When whoever waits for this run dies, so does `unshare`, and with it, by --kill-child, the first process of the
    // namespace, and with that all others.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(UNSHARE);
    command
        .arg("--")
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(MARK, std::process::id().to_string())
        .env("PATH", path);
    Err(Error::from(command.exec())
        .context("cannot run `setpriv` (on Debian it is in the package util-linux)"))
}

/// Where the data of this run is: in memory, and gone with the run.
pub(crate) fn data() -> PathBuf {
    build::folder().join("data")
}

/// The process outside whose only child is this one.
pub(crate) fn parent() -> String {
    env::var(MARK).unwrap_or_default()
}

/// Makes the network and the data folder.
fn settle() -> Result<()> {
    fs::create_dir_all(data())?;
    run(
        "mount",
        &["-t", "tmpfs", "-o", "mode=755", "cluster", path(&data())?],
    )?;
    run("ip", &["link", "set", "lo", "up"])?;
    // Every pod's address is local: one process that listens on all addresses answers for all pods.
    run("ip", &["route", "add", "local", PODS, "dev", "lo"])?;
    run(
        "ip",
        &["address", "add", &format!("{NODE_IP}/32"), "dev", "lo"],
    )?;
    run(
        "ip",
        &["route", "add", SERVICES, "dev", "lo", "src", NODE_IP],
    )
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let done = Command::new(program).args(arguments).output();
    let done = done.with_context(|| format!("cannot run `{program}`"))?;
    if !done.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .context("the path of the data folder is not UTF-8")
}
