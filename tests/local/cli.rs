//! The command line as people use it: the real binary, its two outputs and its exit code.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const NOTIFICATION: &str = "tests/data/notification-0.25.json";

/// How a run of the command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ripcord(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("RIPCORD") || name.starts_with("CLICOLOR") || name == "NO_COLOR" {
            command.env_remove(&*name);
        }
    }
    command
}

fn end(command: &mut Command, input: &str) -> Ended {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(words: &[&str]) -> Ended {
    end(&mut ripcord(words), "")
}

fn parsed(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).expect("the output is JSON")
}

#[test]
fn check_accepts_what_is_shipped() {
    let ended = run(&["check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(
        ended.out,
        "config/ripcord.yaml: ok\nconfig/rollbacks.yaml: ok, 3 warnings · 10 triggers, 1 target read\nno token is asked for: only this machine can connect\n"
    );
    assert!(
        ended
            .err
            .starts_with("warning: trigger `fallback` is in shadow mode\n"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains('\u{1b}'), "a pipe gets no colours");
}

#[test]
fn check_draws_what_is_wrong_and_ends_with_two() {
    let ended = run(&[
        "check",
        "--policy",
        "tests/data/policy/dangling-target.yaml",
    ]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .err
            .contains("--> tests/data/policy/dangling-target.yaml:8:13\n"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("^^^^^^^^^^ did you mean `options-api`?"),
        "{}",
        ended.err
    );
    let last = ended.out.lines().last().unwrap();
    assert_eq!(
        last,
        "tests/data/policy/dangling-target.yaml: 1 error · 1 trigger, 1 target read"
    );

    let ended = run(&[
        "check",
        "--format",
        "json",
        "--policy",
        "tests/data/policy/dangling-target.yaml",
    ]);
    assert_eq!(ended.code, Some(2));
    let report = parsed(&ended);
    assert_eq!(
        (&report["valid"], &report["errors"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        report["policy"]["diagnostics"],
        json!([{
            "level": "error",
            "title": "trigger `latency` names a target that does not exist",
            "file": "tests/data/policy/dangling-target.yaml",
            "line": 8,
            "column": 13,
            "label": "did you mean `options-api`?",
        }])
    );
}

#[test]
fn check_reads_the_environment_and_names_the_variable_at_fault() {
    let ended = end(ripcord(&["check"]).env("RIPCORD__ENGINE__TICK", "0s"), "");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.err.starts_with(
            "error: setting `engine.tick` (from variable RIPCORD__ENGINE__TICK) must be"
        ),
        "{}",
        ended.err
    );
    // What Kubernetes puts into pods, and where the files are, is no setting.
    let mut command = ripcord(&["check", "--no-files"]);
    command.env("RIPCORD_SERVICE_HOST", "10.0.0.1");
    command.env("RIPCORD_SETTINGS", "deploy/config/ripcord.yaml");
    command.env("RIPCORD_POLICY", "deploy/config/rollbacks.yaml");
    let ended = end(&mut command, "");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended
            .out
            .starts_with("deploy/config/ripcord.yaml: ok\ndeploy/config/rollbacks.yaml: ok, "),
        "{}",
        ended.out
    );
}

/// What `serve` would refuse to start with, `check` refuses too, in the same words and with the same exit code.
#[test]
fn check_and_serve_refuse_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let acting = folder.path().join("acting.yaml");
    let text = fs::read_to_string("deploy/config/rollbacks.yaml").unwrap();
    fs::write(&acting, text.replace("mode: shadow", "mode: act")).unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let acting = acting.to_str().unwrap();
    let empty = empty.to_str().unwrap();
    let here = folder.path().to_str().unwrap();
    let open = ("RIPCORD__INTAKE__LISTEN", "0.0.0.0:0");
    let tokens = "RIPCORD__INTAKE__BEARER_TOKEN_FILES";
    let slack = "RIPCORD__REPORT__SLACK__TOKEN_FILE";
    let filter = "RIPCORD__TELEMETRY__LOG__FILTER";
    for ((name, value), said) in [
        (open, "triggers are in act mode"),
        (
            (tokens, "/no/token"),
            "cannot read the file of tokens or passwords /no/token",
        ),
        ((tokens, empty), "it is empty"),
        (
            (tokens, here),
            "cannot read the file of tokens or passwords",
        ),
        (
            (slack, "/no/token"),
            "`report.slack.token_file`: cannot read /no/token",
        ),
        ((slack, empty), "empty is empty"),
        (
            ("RIPCORD__CLUSTER__KUBECONFIG", "/no/kubeconfig"),
            "`cluster.kubeconfig`",
        ),
        ((filter, "infoo"), "`infoo` is no level"),
        ((filter, ""), "it is empty"),
        ((filter, "bad filter!!"), "log filter `bad filter!!`"),
    ] {
        for command in ["check", "serve"] {
            let mut command = ripcord(&[command, "--policy", acting]);
            command.env("RIPCORD__INTAKE__LISTEN", "127.0.0.1:0");
            command.env(name, value);
            let ended = end(&mut command, "");
            assert_eq!(ended.code, Some(2), "{name}={value}: {}", ended.err);
            assert!(ended.err.contains(said), "{name}={value}: {}", ended.err);
        }
    }
    let mut mute = ripcord(&["check", "--policy", acting]);
    let ended = end(mute.env("RIPCORD__REPORT__SLACK__TOKEN", "xoxb-0"), "");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended
            .err
            .contains("warning: nobody is told in Slack about `options-api`"),
        "{}",
        ended.err
    );
    let mut elsewhere = ripcord(&["check", "--no-files", "--policy", acting]);
    let ended = end(elsewhere.env(tokens, "/no/token"), "");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

/// A password that a flush would miss once the traffic has moved is missed before anything starts.
#[test]
fn a_password_that_cannot_be_read_is_refused_by_check_and_serve() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty = file("empty", "\n");
    let there = file("there", "hunter2\n");
    let shipped = fs::read_to_string("config/rollbacks.yaml").unwrap();
    let naming = |key: &str, value: &str| {
        let line = "# password_file: /etc/ripcord-secrets/redis-password";
        let text = shipped.replace(line, &format!("{key}: {value}"));
        assert_ne!(text, shipped);
        file("rollbacks.yaml", &text)
    };
    let ran = |words: &[&str]| {
        let mut command = ripcord(words);
        command.env("RIPCORD__INTAKE__LISTEN", "127.0.0.1:0");
        end(&mut command, "")
    };
    for (key, value, said) in [
        (
            "password_file",
            "/no/password",
            "from the file /no/password: No such file",
        ),
        ("password_file", empty.as_str(), "it is empty"),
        (
            "password_env",
            "NO_SUCH_PASSWORD",
            "from the variable NO_SUCH_PASSWORD: it is not set",
        ),
    ] {
        let policy = naming(key, value);
        for command in ["check", "serve"] {
            let ended = ran(&[command, "--policy", &policy]);
            assert_eq!(ended.code, Some(2), "{command} {value}: {}", ended.err);
            for said in ["error: `redis` of target `options-api`: ", said] {
                assert!(ended.err.contains(said), "{command} {value}: {}", ended.err);
            }
        }
        let elsewhere = ran(&["check", "--no-files", "--policy", &policy]);
        assert_eq!(elsewhere.code, Some(0), "{value}: {}", elsewhere.err);
        let explained = ran(&["explain", NOTIFICATION, "--policy", &policy]);
        assert_eq!(explained.code, Some(0), "{value}: {}", explained.err);
    }
    let unsigned = format!("{there}\n      tls: {{ ca_file: /no/ca.crt }}");
    let ended = ran(&["check", "--policy", &naming("password_file", &unsigned)]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    let said = "the certificates in /no/ca.crt cannot be read: No such file";
    assert!(ended.err.contains(said), "{}", ended.err);
    let ended = ran(&["check", "--policy", &naming("password_file", &there)]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!format!("{}{}", ended.out, ended.err).contains("hunter2"));
}

#[test]
fn files_that_are_not_there_are_said() {
    let ended = run(&[
        "check",
        "--policy",
        "/no/policy",
        "--settings",
        "/no/settings",
    ]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .err
            .contains("error: cannot read /no/settings: No such file"),
        "{}",
        ended.err
    );
    assert!(
        ended
            .err
            .contains("error: cannot read /no/policy: No such file"),
        "{}",
        ended.err
    );
    let ended = run(&["explain", "/no/payload.json"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(66), ""));
}

#[test]
fn colours_are_for_those_who_ask() {
    let wrong = [
        "check",
        "--policy",
        "tests/data/policy/dangling-target.yaml",
    ];
    let forced = end(ripcord(&wrong).env("CLICOLOR_FORCE", "1"), "");
    assert!(forced.err.contains('\u{1b}'), "{}", forced.err);
    let refused = end(ripcord(&wrong).env("NO_COLOR", "1"), "");
    assert!(!refused.err.contains('\u{1b}'), "{}", refused.err);
}

#[test]
fn explain_says_what_a_real_notification_leads_to() {
    let ended = run(&["explain", NOTIFICATION]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("explain", ended.out);
    let payload = fs::read_to_string(NOTIFICATION).unwrap();
    let piped = end(&mut ripcord(&["explain", "-"]), &payload);
    assert_eq!(piped.out, ended.out);
}

#[test]
fn explain_gives_every_decision_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("rollbacks.yaml");
    fs::write(
        &policy,
        r"
cluster: { label: cluster, name: here }
targets:
  api:
    workload: { rollout: api, namespace: prod }
    health: { path: /health, port: 8000 }
triggers:
  - { name: acts, match: [alertname=Acts], target: api, severity: P0, mode: act }
  - { name: watches, match: [alertname=Watches], target: api, severity: P1 }
  - { name: notes, match: [alertname=Notes], target: api, severity: P2, mode: act }
  - name: maps
    match: [alertname=Maps]
    target_from: { namespace: namespace, workload: rollout }
    severity_from: { label: severity, map: { critical: P0 } }
    mode: act
",
    )
    .unwrap();
    let alert = |labels: Value, status: &str| json!({"status": status, "labels": labels, "startsAt": "2026-01-02T03:04:05Z", "endsAt": "0001-01-01T00:00:00Z"});
    let payload = json!({"version": "4", "truncatedAlerts": 3, "alerts": [
        alert(json!({"alertname": "Acts"}), "firing"),
        alert(json!({"alertname": "Acts"}), "resolved"),
        alert(json!({"alertname": "Acts", "cluster": "there"}), "firing"),
        alert(json!({"alertname": "Watches"}), "firing"),
        alert(json!({"alertname": "Notes"}), "firing"),
        alert(json!({"alertname": "Maps", "severity": "critical", "namespace": "prod", "rollout": "api"}), "firing"),
        alert(json!({"alertname": "Maps", "severity": "critical", "namespace": "prod", "rollout": "web"}), "firing"),
        alert(json!({"alertname": "Maps", "severity": "odd", "namespace": "prod", "rollout": "api"}), "firing"),
        alert(json!({"alertname": "Nothing"}), "firing"),
        alert(json!({"alertname": "Nothing \u{1b}[2J\u{202e}", "odd": "\u{9b}2J"}), "resolved"),
        alert(json!({"alertname": "Acts", "cluster": "there"}), "resolved"),
    ]});
    let policy = policy.to_str().unwrap();
    let ended = end(
        &mut ripcord(&["explain", "-", "--policy", policy, "--format", "json"]),
        &payload.to_string(),
    );
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let explained = parsed(&ended);
    let decisions = explained["alerts"].as_array().unwrap().iter();
    let decisions: Vec<_> = decisions
        .map(|one| {
            (
                one["decision"].as_str().unwrap(),
                one["reason"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        decisions,
        [
            ("start", ""),
            ("resolve", "resolved_recorded"),
            ("decline", "other_cluster"),
            ("shadow", "shadow"),
            ("note", "note_only"),
            ("start", ""),
            ("decline", "target_unknown"),
            ("decline", "severity_unknown"),
            ("decline", "no_trigger"),
            ("resolve", "resolved_recorded"),
            ("resolve", "resolved_recorded"),
        ]
    );
    let text = end(
        &mut ripcord(&["explain", "-", "--policy", policy]),
        &payload.to_string(),
    );
    assert!(!text.out.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    insta::assert_snapshot!(
        "explain_every_decision",
        text.out.replace(policy, "rollbacks.yaml")
    );
}

#[test]
fn a_payload_that_is_none_has_an_exit_code_of_its_own() {
    for payload in [
        "",
        "{",
        "[]",
        r#"{"version":"3"}"#,
        r#"{"version":"4","alerts":[{}]}"#,
    ] {
        let ended = end(&mut ripcord(&["explain", "-"]), payload);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(65), ""),
            "{payload}"
        );
        assert!(ended.err.starts_with("error: -: "), "{}", ended.err);
    }
    let ended = run(&[
        "explain",
        NOTIFICATION,
        "--policy",
        "tests/data/policy/bad-regex.yaml",
    ]);
    assert_eq!(ended.code, Some(2));
}

#[test]
fn a_command_line_that_is_none_ends_with_sixty_four() {
    for words in [
        &["no-such-command"][..],
        &["check", "--nope"],
        &[],
        &["crd", "pods"],
        &["crd", "--policy", "config/rollbacks.yaml"],
        &["--settings", "config/ripcord.yaml", "crd"],
        &["demo", "--policy", "config/rollbacks.yaml"],
    ] {
        let ended = run(words);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(64), ""),
            "{words:?}"
        );
        assert!(!ended.err.is_empty());
    }
    for words in [&["--help"][..], &["--version"], &["help", "check"]] {
        let ended = run(words);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{words:?}");
    }
}
