//! Each fault in its own file, and what is said about it.

use super::*;
use crate::alert::{Labels, Severity};
use crate::rollback::object::Mode;

const FAULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/policy");

fn read(text: &str) -> Reading {
    let path = "rollbacks.yaml".to_owned();
    read_policy([Source {
        path,
        text: text.to_owned(),
    }])
}

fn drawn(reading: &Reading) -> String {
    let all = reading.diagnostics.iter().map(|one| one.render(false));
    all.collect::<Vec<_>>().join("\n\n")
}

#[test]
fn every_fault_is_said_with_its_place() {
    let mut files = files_in(Path::new(FAULTS)).unwrap();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    assert!(files.len() > 40, "{}", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let reading = read(&fs::read_to_string(&file).unwrap());
        let accepted =
            ["warnings", "classic-matcher", "no-redis-by-labels"].contains(&name.as_str());
        assert_eq!(
            reading.policy.is_some(),
            accepted,
            "{name}\n{}",
            drawn(&reading)
        );
        assert_eq!(reading.errors() == 0, accepted, "{name}");
        assert!(
            reading.diagnostics.iter().all(|one| one.place.is_some()),
            "{name}"
        );
        insta::with_settings!({
            snapshot_path => FAULTS,
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, drawn(&reading));
        });
    }
}

const TARGET: &str = "
targets:
  options-api:
    workload: { rollout: options-api-pinn-fixes, namespace: options-production }
    health: { path: /health/pinn, port: 8000, pointer: /overall_status, equals: healthy }
";

/// With a trigger, where the text has none: a policy needs one.
fn compiled(text: &str) -> Policy {
    let mut text = text.to_owned();
    if !text.contains("triggers:") {
        text.push_str(
            "\ntriggers: [{ name: any, match: ['a=\"b\"'], target: options-api, severity: P3, mode: act }]\n",
        );
    }
    let reading = read(&text);
    let drawn = drawn(&reading);
    reading.policy.unwrap_or_else(|| panic!("{drawn}"))
}

#[test]
fn the_owner_of_a_spec_is_said_in_a_word() {
    use crate::target::Ownership;
    let said = |line: &str| compiled(&format!("{TARGET}{line}")).targets["options-api"].clone();
    assert_eq!(said("").ownership, Ownership::Auto);
    for (word, ownership) in [
        ("auto", Ownership::Auto),
        ("none", Ownership::None),
        ("gitops", Ownership::Gitops),
    ] {
        assert_eq!(said(&format!("    owner: {word}\n")).ownership, ownership);
    }
    let url = "https://git.example/{{ workload }}.yaml";
    let manifest = said(&format!("    manifest: {url}\n")).manifest;
    assert_eq!(manifest.map(|link| link.url).as_deref(), Some(url));
}

#[test]
fn a_trigger_a_severity_and_a_procedure_can_ask() {
    let asks = "
severities:
  P0: { procedure: complete }
  P1: { ask: revert-and-prove }
procedures:
  complete: { approval: required, steps: [revert: {}] }
triggers: [{ name: any, match: ['a=\"b\"'], target: options-api, severity: P0, mode: ask }]
";
    let policy = compiled(&format!("{TARGET}{asks}"));
    assert_eq!(policy.triggers[0].mode, Mode::Ask);
    assert_eq!(policy.severities[&Severity::P1], "revert-and-prove");
    assert_eq!(policy.asks.iter().collect::<Vec<_>>(), [&Severity::P1]);
    assert!(policy.procedures["complete"].approval);
    assert!(!policy.procedures["revert-and-prove"].approval);
    assert_eq!(
        (
            policy.acting(),
            policy.mode_of(&policy.targets["options-api"])
        ),
        (1, "ask")
    );
    let minutes = policy.targets["options-api"].approve_within.as_secs() / 60;
    assert_eq!(minutes, 15);
}

#[test]
fn what_brings_an_image_up_asks_unless_it_says_that_it_does_not() {
    let steps = "steps: [restore-image: {}, revert: {}]";
    let policy = compiled(&format!(
        "{TARGET}
severities:
  P0: {{ procedure: revert-and-prove, escalate_to: asks }}
  P1: {{ ask: revert-and-prove, escalate_to: free }}
procedures:
  asks: {{ {steps} }}
  free: {{ approval: none, escalate_to: asks, {steps} }}
"
    ));
    assert!(policy.procedures["asks"].approval);
    assert!(!policy.procedures["free"].approval);
    let next = |procedure: &str, severity| {
        let procedure = &policy.procedures[procedure];
        policy.next_rung(procedure, severity).map(str::to_owned)
    };
    assert_eq!(
        next("revert-and-prove", Severity::P0).as_deref(),
        Some("asks")
    );
    assert_eq!(
        next("revert-and-prove", Severity::P1).as_deref(),
        Some("free")
    );
    assert_eq!(next("free", Severity::P0).as_deref(), Some("asks"));
    assert_eq!(next("asks", Severity::P0), None);
    assert_eq!(next("revert-and-prove", Severity::P2), None);
}

#[test]
fn what_is_left_out_has_its_default() {
    let policy = compiled(TARGET);
    assert_eq!(policy.hash_label, "rollouts_pod_template_hash");
    let protected: Vec<_> = policy.protected.iter().map(String::as_str).collect();
    assert_eq!(
        protected,
        [
            "argo-rollouts",
            "kube-node-lease",
            "kube-public",
            "kube-system"
        ]
    );
    let target = &policy.targets["options-api"];
    let minutes = |time: std::time::Duration| time.as_secs() / 60;
    let times = [
        target.change_window,
        target.min_soak,
        target.settle,
        target.start_within,
        target.give_up,
    ];
    assert_eq!(times.map(minutes), [60, 10, 5, 2, 15]);
    assert_eq!(target.health.as_ref().unwrap().timeout.as_secs(), 2);
    let does: Vec<_> = policy
        .severities
        .iter()
        .map(|(s, p)| (s.as_str(), p.as_str()))
        .collect();
    assert_eq!(
        does,
        [("P0", "revert-and-prove"), ("P1", "revert-and-prove")]
    );
    assert_eq!(
        policy.procedures.keys().collect::<Vec<_>>(),
        ["revert-and-prove"]
    );
}

#[test]
fn a_target_overrides_the_defaults_and_a_severity_its_procedure() {
    let policy = compiled(&format!(
        "{TARGET}    settle: 7m
    known_good: {{ hash: 676b9bd6fc }}
    on_call: ['@U012AB3CD', here]
defaults: {{ settle: 6m, give_up: 20m }}
protected_namespaces: [ripcord]
severities: {{ P1: note, P3: {{ procedure: slow }} }}
procedures: {{ slow: {{ budget: 5m, steps: [revert: {{}}] }} }}
"
    ));
    let target = &policy.targets["options-api"];
    assert_eq!(
        (target.settle.as_secs(), target.give_up.as_secs()),
        (420, 1200)
    );
    assert_eq!(
        target.known_good,
        Some(crate::target::Pin::Hash("676b9bd6fc".to_owned()))
    );
    assert_eq!(target.audience.on_call, ["@U012AB3CD", "here"]);
    assert!(policy.protected.contains("ripcord"));
    let does: Vec<_> = policy
        .severities
        .iter()
        .map(|(s, p)| (s.as_str(), p.as_str()))
        .collect();
    assert_eq!(does, [("P0", "revert-and-prove"), ("P3", "slow")]);
}

#[test]
fn texts_stay_as_they_are_written() {
    let policy = compiled(&format!(
        "{}
triggers:
  - name: any
    match: [a=b]
    target: options-api
    severity_from: {{ label: s, map: {{ 012: P0, off: P1, 1.10: P2, 'null': P3 }} }}
    mode: act
",
        TARGET.replace("equals: healthy", "equals: 012")
    ));
    let health = policy.targets["options-api"].health.as_ref().unwrap();
    assert_eq!(health.equals.as_deref(), Some("012"));
    for (value, severity) in [
        ("012", Some(Severity::P0)),
        ("off", Some(Severity::P1)),
        ("1.10", Some(Severity::P2)),
        ("null", Some(Severity::P3)),
        ("12", None),
        ("false", None),
        ("1.1", None),
    ] {
        let labels: Labels = [("a", "b"), ("s", value)].into_iter().collect();
        let ask = policy.ask_of(&policy.triggers[0], &labels);
        assert_eq!(ask.ok().map(|ask| ask.severity), severity, "{value}");
    }
}

#[test]
fn several_files_are_one_policy_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let trigger = |name: &str| {
        format!(
            "triggers: [{{ name: {name}, match: [a={name}], target: options-api, severity: P0, mode: act }}]"
        )
    };
    put("20-more.yaml", &trigger("second"));
    put("10-base.yaml", &format!("{TARGET}\n{}", trigger("first")));
    put("..data.yaml", "not: read");
    put("notes.txt", "not: read");
    let policy = load_policy(folder.path()).unwrap().policy;
    let names: Vec<_> = policy
        .triggers
        .iter()
        .map(|trigger| trigger.name.as_str())
        .collect();
    assert_eq!(names, ["first", "second"]);
    let place = format!("{}:1", folder.path().join("20-more.yaml").display());
    assert_eq!(policy.triggers[1].place, place);
    assert_eq!(policy.triggers[1].mode, Mode::Act);

    put(
        "30-again.yaml",
        &format!("{TARGET}\ncluster: {{ label: c, name: x }}"),
    );
    put("40-again.yaml", "cluster: { label: c, name: y }");
    let wrong = load_policy(folder.path()).unwrap_err();
    let titles: Vec<_> = wrong.iter().map(|one| one.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "target `options-api` is defined twice",
            "`cluster` stands in two files"
        ]
    );
    let drawn = wrong[0].render(false);
    assert!(
        drawn.contains("30-again.yaml:3:3") && drawn.contains("10-base.yaml:3:3"),
        "{drawn}"
    );
}

#[test]
fn a_folder_without_policy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = load_policy(folder.path()).unwrap_err();
    assert!(
        wrong[0].title.ends_with("holds no *.yaml or *.yml file"),
        "{}",
        wrong[0].title
    );
}

#[test]
fn the_digest_tells_texts_apart() {
    let one = compiled(TARGET).digest;
    assert_eq!(one, compiled(TARGET).digest);
    assert_ne!(one, compiled(&format!("{TARGET}# a word")).digest);
    assert!(
        one.len() == 12 && one.bytes().all(|b| b.is_ascii_hexdigit()),
        "{one}"
    );
}

#[test]
fn a_diagnostic_fits_in_one_line() {
    let reading = read(&fs::read_to_string(format!("{FAULTS}/dangling-target.yaml")).unwrap());
    assert_eq!(
        reading.diagnostics[0].one_line(),
        "rollbacks.yaml:8:13: error: trigger `latency` names a target that does not exist: did you mean `options-api`?"
    );
}

#[test]
fn the_shipped_policies_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = load_policy(&root.join("config/rollbacks.yaml")).unwrap();
    assert!(
        example
            .policy
            .triggers
            .iter()
            .any(|trigger| trigger.mode == Mode::Act)
    );
    let deployed = load_policy(&root.join("deploy/config/rollbacks.yaml")).unwrap();
    assert!(
        deployed
            .policy
            .triggers
            .iter()
            .all(|trigger| trigger.mode == Mode::Shadow)
    );
    assert!(
        deployed
            .warnings
            .iter()
            .all(|one| one.title.ends_with("is in shadow mode"))
    );
}

#[test]
fn a_policy_in_which_nothing_is_ever_done_is_none() {
    let titles = |text: &str| -> Vec<String> {
        let reading = read(text);
        assert!(reading.policy.is_none(), "{text}");
        let all = reading.diagnostics.into_iter();
        all.filter(|one| one.level == Level::Error)
            .map(|one| one.title)
            .collect()
    };
    let both = ["the policy has no target", "the policy has no trigger"];
    for empty in ["", "# cut off\n", "targets:\ntriggers: []\n"] {
        assert_eq!(titles(empty), both, "{empty}");
    }
    assert_eq!(titles(TARGET), both[1..]);
}

#[test]
fn both_endings_of_yaml_are_read_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.yml", "a.yaml", "c.txt", ".d.yml"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let read = files_in(folder.path()).unwrap();
    let names: Vec<_> = read.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["a.yaml", "b.yml"]);
}

#[test]
fn a_second_document_in_a_file_is_refused() {
    let reading = read(&format!("{TARGET}---\n{TARGET}"));
    assert_eq!(
        reading.diagnostics[0].title,
        "a second YAML document begins here"
    );
}
