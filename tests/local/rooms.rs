//! The rooms of the house and who may import whom: imports point one way only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pure rooms, each allowed to import those before it, then the rooms with I/O.
const PURE: [&str; 6] = [
    "reason",
    "alert",
    "target",
    "procedure",
    "rollback",
    "policy",
];
/// What no pure room may mention.
const IMPURE: [&str; 7] = [
    "tokio::",
    "reqwest::",
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "Timestamp::now",
    "std::time::Instant",
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

fn sources(folder: &Path) -> Vec<PathBuf> {
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

/// The room of a file, and its text without tests: those may use another room's fixtures.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
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
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        rooms.push((room, path, text));
    }
    rooms
}

/// The rooms that a text names as `crate::room`, also inside a braced import.
fn named(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(first_word(&item));
                        item.clear();
                    }
                    _ => {}
                }
                item.push(c);
            }
            found.insert(first_word(&item));
        } else {
            found.insert(first_word(rest));
        }
    }
    found.remove("");
    found
}

fn first_word(text: &str) -> String {
    let start = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    start
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
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
    for (room, path, text) in rooms() {
        if PURE.contains(&room.as_str()) {
            for word in IMPURE {
                assert!(
                    !text.contains(word),
                    "{}: pure room `{room}` mentions `{word}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_reader_of_imports_sees_both_forms() {
    let text = "use crate::alert::{Labels, Severity};\nuse crate::{policy::guard, target::{Probe, Release}};\nlet x = crate::reason::Reason::Done;";
    let names: Vec<_> = named(text).into_iter().collect();
    assert_eq!(names, ["alert", "policy", "reason", "target"]);
}
