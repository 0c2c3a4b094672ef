//! What is generated from the code, and committed, is what the code would generate now.
//!
//! After a change: `UPDATE_DOCS=1 cargo test docs`, then look at the difference.

mod matrix;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use regex::Regex;
use ripcord::cli::Exit;
use ripcord::config::settings::{PREFIX, Settings, defaults};
use ripcord::config::{Source, read_policy};
use ripcord::reason::Reason;
use ripcord::rollback::crd;
use serde_json::Value;

use crate::support::story::for_each_story;

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

/// Compares a file with what it should be, or writes it where `UPDATE_DOCS` is set.
fn is_current(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{path} is not what the code says: run `UPDATE_DOCS=1 cargo test docs`"
    );
}

/// A file of which only the part between two marks is generated.
fn part_is_current(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(file).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("a mark where the generated part begins");
    let (_, after) = rest
        .split_once(END)
        .expect("a mark where the generated part ends");
    is_current(path, &format!("{before}{BEGIN}{expected}{END}{after}"));
}

/// Lists the stories that both clusters play.
macro_rules! names {
    ($($name:ident: $module:ident::$story:ident $([$($need:ident)+])?,)+) => {
        const BOTH: &[&str] = &[$(stringify!($name),)+];
    };
}

for_each_story!(names);

/// The names of all stories that the tests of the real cluster tell.
fn told() -> BTreeSet<String> {
    let real = include_str!("../cluster/scenario.rs");
    let (_, real) = real.split_once("\nreal! {").expect("the list");
    // What a story needs stands in brackets behind its name.
    let needs = Regex::new(r"\[[^\]]*\]").unwrap();
    let real = needs.replace_all(real.trim_end().trim_end_matches('}'), "");
    let modules = real.split(';').filter_map(|it| it.split_once(':'));
    let names = modules.flat_map(|(module, stories)| {
        let module = module.trim();
        let stories = stories.split_whitespace();
        stories.map(move |story| format!("{module}_{story}"))
    });
    let both = BOTH.iter().map(|it| (*it).to_owned());
    both.chain(names).collect()
}

/// What the document says of Argo Rollouts is shown by the stories in the last column of its tables.
#[test]
fn docs_of_argo_rollouts_name_stories_that_are_told() {
    let text = include_str!("../../docs/argo-rollouts.md");
    let rows = text
        .lines()
        .filter(|it| it.starts_with("| ") && !it.ends_with("| story |"));
    let rows = rows.filter(|it| !it.starts_with("| ---"));
    let (told, mut shown) = (told(), BTreeSet::new());
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next();
        let names = last.unwrap_or_default().split('`').skip(1).step_by(2);
        let names: Vec<_> = names.collect();
        assert!(!names.is_empty(), "no story shows this: {row}");
        for name in names {
            assert!(told.contains(name), "nobody tells {name}: {row}");
            shown.insert(name);
        }
    }
    // What these are about is Argo Rollouts itself.
    let about = ["lost_", "people_", "promoted_"];
    for name in &told {
        let about = about.iter().any(|it| name.starts_with(it));
        assert!(!about || shown.contains(&**name), "{name} is left out");
    }
}

#[test]
fn docs_of_the_reasons() {
    let mut table = String::from("\n| code | meaning |\n| --- | --- |\n");
    for reason in Reason::ALL {
        writeln!(table, "| `{}` | {} |", reason.code(), reason.meaning()).unwrap();
    }
    table.push('\n');
    part_is_current("docs/reasons.md", &table);
}

#[test]
fn docs_of_the_exit_codes() {
    let mut table = String::from("\n| code | meaning |\n| --- | --- |\n");
    for exit in Exit::ALL {
        writeln!(table, "| {} | {} |", exit.code(), exit.meaning()).unwrap();
    }
    table.push('\n');
    part_is_current("docs/exit-codes.md", &table);
}

#[test]
fn docs_of_the_settings() {
    let schema = serde_json::to_value(schemars::schema_for!(Settings)).unwrap();
    let mut text = String::new();
    section(&schema, &schema, &defaults(), "", &mut text);
    text.push('\n');
    part_is_current("docs/configuration.md", &text);
}

/// One table for the values of a section, then its inner sections.
fn section(root: &Value, schema: &Value, defaults: &Value, path: &str, text: &mut String) {
    let properties = schema["properties"].as_object().unwrap();
    let of = |name: &str| &defaults[name];
    let full = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let values: Vec<_> = properties
        .iter()
        .filter(|(name, _)| !of(name).is_object())
        .collect();
    if !values.is_empty() {
        writeln!(
            text,
            "\n### {path}\n\n{}\n\n| key | default | what it is |\n| --- | --- | --- |",
            flat(schema)
        )
        .unwrap();
        for (name, property) in values {
            let default = match of(name) {
                Value::Null => "none".to_owned(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let what = flat(property);
            assert!(!what.is_empty(), "{} is not explained", full(name));
            writeln!(text, "| `{}` | {default} | {what} |", full(name)).unwrap();
        }
    }
    for (name, property) in properties.iter().filter(|(name, _)| of(name).is_object()) {
        let target = property["$ref"].as_str().unwrap().trim_start_matches('#');
        section(
            root,
            root.pointer(target).unwrap(),
            of(name),
            &full(name),
            text,
        );
    }
}

/// A description on one line.
fn flat(schema: &Value) -> String {
    let words = schema["description"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn docs_name_the_prefix_of_the_variables() {
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    assert!(text.contains(&format!("`{PREFIX}INTAKE__LISTEN`")));
}

/// The keys that the policy knows at a place, as the error for an unknown one lists them.
fn keys_at(before: &str) -> Vec<String> {
    let text = format!("{before}{{ colour: red }}\n");
    let reading = read_policy([Source {
        path: "x".to_owned(),
        text,
    }]);
    let label = &reading.diagnostics[0].label;
    assert!(label.starts_with("expected `"), "{before}: {label}");
    label
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn docs_name_every_key_of_the_policy() {
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    let (_, policy) = text.split_once("## The policy").unwrap();
    for (heading, before) in [
        ("top level", ""),
        ("cluster", "cluster: "),
        ("defaults", "defaults: "),
        ("targets", "targets:\n  x: "),
        ("workload", "targets:\n  x:\n    workload: "),
        ("health", "targets:\n  x:\n    health: "),
        ("redis", "targets:\n  x:\n    redis: "),
        ("redis", "targets:\n  x:\n    redis:\n      tls: "),
        ("warm_up", "targets:\n  x:\n    warm_up: "),
        ("commands", "targets:\n  x:\n    commands:\n      y: "),
        ("after", "targets:\n  x:\n    after:\n      - "),
        ("known_good", "targets:\n  x:\n    known_good: "),
        (
            "known_good",
            "targets:\n  x:\n    known_good:\n      image: ",
        ),
        ("triggers", "triggers:\n  - "),
        ("target_from", "triggers:\n  - target_from: "),
        ("severity_from", "triggers:\n  - severity_from: "),
        ("severities", "severities: "),
        ("severities", "severities:\n  P0: "),
        ("procedures", "procedures:\n  x: "),
        ("steps", "procedures:\n  x:\n    steps:\n      - "),
        ("steps", "procedures:\n  x:\n    steps:\n      - gone: "),
        (
            "steps",
            "procedures:\n  x:\n    steps:\n      - flush-redis: ",
        ),
        ("steps", "procedures:\n  x:\n    steps:\n      - restart: "),
        (
            "steps",
            "procedures:\n  x:\n    steps:\n      - switch-service: ",
        ),
        ("steps", "procedures:\n  x:\n    steps:\n      - scale: "),
        (
            "steps",
            "procedures:\n  x:\n    steps:\n      - wait-ready: ",
        ),
        ("steps", "procedures:\n  x:\n    steps:\n      - http: "),
        ("steps", "procedures:\n  x:\n    steps:\n      - exec: "),
        ("steps", "procedures:\n  x:\n    steps:\n      - pause: "),
        ("steps", "procedures:\n  x:\n    steps:\n      - healthy: "),
        ("steps", "procedures:\n  x:\n    steps:\n      - metric: "),
    ] {
        let part = policy
            .split("\n### ")
            .find(|part| part.lines().next() == Some(heading));
        let part = part.expect(heading);
        for key in keys_at(before) {
            assert!(
                part.contains(&format!("| `{key}` |")),
                "`{key}` is missing under `{heading}`"
            );
        }
    }
}

#[test]
fn docs_list_what_links_can_use() {
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    for variable in ripcord::target::LinkFacts::VARIABLES {
        assert!(
            text.contains(&format!("`{variable}`")) || text.contains(&format!("`{variable}.")),
            "{variable}"
        );
    }
}

#[test]
fn docs_and_deployed_definitions_are_current() {
    for (path, definition) in [
        ("deploy/crds/rollbacks.yaml", crd::rollbacks()),
        ("deploy/crds/targets.yaml", crd::targets()),
    ] {
        is_current(path, &serde_saphyr::to_string(&definition).unwrap());
        let text = fs::read_to_string(path).unwrap();
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&text).unwrap();
        assert!(
            read == definition,
            "{path} does not say what it was written from"
        );
    }
}
