//! The rooms of the house and who may import whom: imports point one way only.

mod paths;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use paths::{Path, paths, without_tests};

/// The pure rooms, each allowed to import those before it, then the rooms with I/O.
const PURE: [&str; 6] = [
    "reason",
    "alert",
    "target",
    "procedure",
    "rollback",
    "policy",
];
/// What no pure room may mention, with all that is in it: whoever does I/O, asks the system or reads a clock.
const IMPURE: [&str; 16] = [
    "tokio",
    "tokio_util",
    "reqwest",
    "hyper",
    "axum",
    "futures",
    "kube::api",
    "kube::client",
    "kube::config",
    "kube::runtime",
    "kube::Client",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
];
/// What no pure room may mention wherever it comes from.
const IMPURE_ANYWHERE: [&str; 6] = [
    "Timestamp::now",
    "Zoned::now",
    "SystemTime",
    "Instant",
    "Client",
    "Api",
];

/// What a room may import besides itself.
fn allowed(room: &str) -> BTreeSet<&'static str> {
    let pure = PURE.iter().copied();
    match room {
        "sandbox" => BTreeSet::new(),
        "telemetry" => pure.collect(),
        "cluster" => pure.chain(["telemetry"]).collect(),
        "intake" | "engine" | "report" => pure.chain(["telemetry", "cluster"]).collect(),
        "config" => pure
            .chain(["telemetry", "cluster", "intake", "engine", "report"])
            .collect(),
        "cli" => pure
            .chain([
                "telemetry",
                "cluster",
                "intake",
                "engine",
                "report",
                "config",
                "sandbox",
            ])
            .collect(),
        _ => PURE
            .iter()
            .copied()
            .take_while(|earlier| *earlier != room)
            .collect(),
    }
}

fn sources(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The room of a file, and its text without tests.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let room = inside
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if matches!(room.as_str(), "lib" | "main") || is_test {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        rooms.push((room, path, without_tests(&text)));
    }
    rooms
}

/// The rooms that a text names as `crate::room`.
fn named(text: &str) -> BTreeSet<String> {
    let paths = paths(text).into_iter();
    paths
        .filter(|path| path[0] == "crate")
        .filter_map(|path| path.get(1).cloned())
        .collect()
}

/// The paths of a text that no pure room may mention.
fn impure(text: &str) -> Vec<String> {
    let split = |path: &str| path.split("::").map(str::to_owned).collect::<Path>();
    let forbids = |path: &Path| {
        let within = |forbidden: Path| path.starts_with(&forbidden) || is_glob_of(path, &forbidden);
        let anywhere = |words: Path| path.windows(words.len()).any(|part| part == words);
        IMPURE.into_iter().map(split).any(within)
            || IMPURE_ANYWHERE.into_iter().map(split).any(anywhere)
    };
    let all = paths(text).into_iter();
    all.filter(forbids).map(|path| path.join("::")).collect()
}

/// Whether a glob takes in what is forbidden: `std::*` has `fs` too.
fn is_glob_of(path: &Path, forbidden: &Path) -> bool {
    let outer = path.split_last().filter(|(last, _)| *last == "*");
    outer.is_some_and(|(_, outer)| forbidden.starts_with(outer))
}

#[test]
fn imports_point_one_way() {
    let all = rooms();
    let known: BTreeSet<_> = all.iter().map(|(room, _, _)| room.as_str()).collect();
    let mut faults = Vec::new();
    for (room, path, text) in &all {
        let allowed = allowed(room);
        for name in named(text) {
            if known.contains(name.as_str()) && name != *room && !allowed.contains(name.as_str()) {
                faults.push(format!(
                    "{}: room `{room}` imports `{name}`",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(known.len() >= 13, "rooms found: {known:?}");
}

#[test]
fn pure_rooms_call_nobody_and_read_no_clock() {
    let mut faults = Vec::new();
    for (room, path, text) in rooms() {
        if PURE.contains(&room.as_str()) {
            let found = impure(&text).into_iter();
            faults.extend(found.map(|it| format!("{}: `{it}`", path.display())));
        }
    }
    assert!(faults.is_empty(), "pure rooms mention: {faults:#?}");
}

#[test]
fn the_reader_of_imports_sees_both_forms() {
    let text = "use crate::alert::{Labels, Severity};\nuse crate::{policy::guard, target::{Probe, Release}};\nlet x = crate::reason::Reason::Done;";
    let names: Vec<_> = named(text).into_iter().collect();
    assert_eq!(names, ["alert", "policy", "reason", "target"]);
}

#[test]
fn what_is_impure_is_seen_in_every_form() {
    for text in [
        "use tokio;",
        "use tokio as runtime;",
        "async fn f() { ::tokio::time::sleep(x).await }",
        "use kube::{CustomResource, Client};",
        "use kube::{api::{ListParams, ObjectMeta}, CustomResource};",
        "use kube::*;",
        "fn f(client: kube::Client) {}",
        "use std::{collections::BTreeSet, fs};",
        "use std::net::IpAddr;",
        "use std::*;",
        "use std::time::{Duration, Instant};",
        "use std::time;\nlet now = time::SystemTime::now();",
        "let home = std::env::var(\"HOME\");",
        "std::process::exit(1)",
        "std::thread::sleep(x)",
        "let now = jiff::Timestamp::now();",
        "use jiff::Zoned;\nlet now = Zoned::now();",
    ] {
        assert_ne!(impure(text), [""; 0], "{text}");
    }
    for text in [
        "use kube::{CustomResource, KubeSchema};",
        "use std::{collections::BTreeSet, time::Duration};",
        "let at: Timestamp = now;",
        "// use tokio;",
        "let at = env!(\"CARGO_PKG_VERSION\");",
    ] {
        assert_eq!(impure(text), [""; 0], "{text}");
    }
}

/// The simulated cluster never grows into a second Kubernetes: what it does not do is for the real one.
#[test]
fn the_sandbox_stays_small() {
    let mut lines = 0;
    for (room, _, text) in rooms() {
        if room == "sandbox" {
            let code = text.lines().map(str::trim);
            lines += code
                .filter(|it| !it.is_empty() && !it.starts_with("//"))
                .count();
        }
    }
    assert!((500..=1500).contains(&lines), "{lines} lines of code");
}
