//! Which layer wins, and what is said when one is wrong.

use std::time::Duration;

use super::*;

fn read(yaml: &str, variables: &[(&str, &str)]) -> Read {
    let file = Source {
        path: "ripcord.yaml".to_owned(),
        text: yaml.to_owned(),
    };
    let variables = variables.iter();
    Settings::read(
        Some(file),
        variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// What is wrong, each in one line with its help.
fn wrong(yaml: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let wrong = read(yaml, variables).expect_err("it should be refused");
    let lines = wrong.into_iter().map(|one| match &one.help {
        Some(help) => format!("{} | {help}", one.one_line()),
        None => one.one_line(),
    });
    lines.collect()
}

#[test]
fn nothing_given_is_the_defaults() {
    let settings = Settings::read(None, []).unwrap();
    assert_eq!(serde_json::to_value(settings).unwrap(), defaults());
    assert_eq!(
        serde_json::to_value(read("", &[]).unwrap()).unwrap(),
        defaults()
    );
    assert_eq!(
        serde_json::to_value(read("# nothing\n", &[]).unwrap()).unwrap(),
        defaults()
    );
}

#[test]
fn variables_win_over_the_file_and_the_file_over_the_defaults() {
    let yaml = "
intake: { listen: '0.0.0.0:1', max_body: 2MiB, bearer_token_files: [/a] }
engine: { tick: 1s, lease: { duration: 7s } }
telemetry: { log: { format: json } }
";
    let settings = read(
        yaml,
        &[
            ("RIPCORD__INTAKE__LISTEN", "[::1]:2"),
            ("RIPCORD__INTAKE__BEARER_TOKEN_FILES", "/b, /c"),
            ("RIPCORD__ENGINE__LEASE__RETRY", "500ms"),
            ("RIPCORD__REPORT__SLACK__TOKEN", "012"),
            // None of these is a setting.
            ("RIPCORD_SERVICE_HOST", "10.0.0.1"),
            ("RIPCORD_SETTINGS", "x"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(settings.intake.listen.to_string(), "[::1]:2");
    assert_eq!(settings.intake.max_body, 2 << 20);
    assert_eq!(
        settings.intake.bearer_token_files,
        [Path::new("/b"), Path::new("/c")]
    );
    assert_eq!(settings.intake.bytes_in_flight, 128 << 20);
    assert_eq!(settings.engine.tick, Duration::from_secs(1));
    assert_eq!(settings.engine.lease.duration, Duration::from_secs(7));
    assert_eq!(settings.engine.lease.retry, Duration::from_millis(500));
    let token = settings.report.slack.token.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&token), "012");
    assert_eq!(
        settings.telemetry.log.format,
        crate::telemetry::logs::Format::Json
    );
}

#[test]
fn every_unknown_key_is_said_with_its_source_and_what_is_allowed() {
    let said = wrong(
        "intake: { listn: 'x' }\ncolour: red\n",
        &[("RIPCORD__ENGINE__LEASE__DURATON", "5s")],
    );
    assert_eq!(
        said,
        [
            "error: setting `colour` (from ripcord.yaml) does not exist | known are `cluster`, `engine`, `intake`, `prometheus`, `report` and `telemetry`",
            "error: setting `engine.lease.duraton` (from variable RIPCORD__ENGINE__LEASE__DURATON) does not exist | did you mean `duration`? `engine.lease` has `drain`, `duration`, `renew_deadline` and `retry`",
            "error: setting `intake.listn` (from ripcord.yaml) does not exist | did you mean `listen`? `intake` has `basic_auth_files`, `bearer_token_files`, `body_timeout`, `bytes_in_flight`, `drain_delay`, `header_timeout`, `listen`, `max_body` and `shutdown_grace`",
        ]
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_said_with_key_source_and_what_was_expected() {
    for (yaml, key, expected) in [
        (
            "engine: { tick: soon }",
            "`engine.tick` (from ripcord.yaml)",
            "duration",
        ),
        (
            "engine: { tick: 5 }",
            "`engine.tick` (from ripcord.yaml)",
            "duration",
        ),
        (
            "intake: { listen: here }",
            "`intake.listen` (from ripcord.yaml)",
            "socket address",
        ),
        (
            "intake: { max_body: 1MB }",
            "`intake.max_body` (from ripcord.yaml)",
            "16MiB",
        ),
        ("intake: 5", "`intake` (from ripcord.yaml)", "integer `5`"),
        (
            "report: { slack: { on_call: ['@channel'] } }",
            "`report.slack.on_call[0]` (from ripcord.yaml)",
            "everybody",
        ),
        (
            "telemetry: { log: { format: xml } }",
            "`telemetry.log.format` (from ripcord.yaml)",
            "xml",
        ),
        (
            "engine: { retention: { keep_per_target: -1 } }",
            "`engine.retention.keep_per_target` (from ripcord.yaml)",
            "-1",
        ),
    ] {
        let said = wrong(yaml, &[]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains(key) && said[0].contains(expected),
            "{yaml}: {}",
            said[0]
        );
    }
}

#[test]
fn what_the_rooms_refuse_is_said_all_at_once_with_its_source() {
    let said = wrong(
        "intake: { bytes_in_flight: 1 }\nreport: { slack: { token_file: /t } }",
        &[
            ("RIPCORD__ENGINE__LEASE__RETRY", "9s"),
            ("RIPCORD__REPORT__SLACK__TOKEN", "xoxb-secret"),
        ],
    );
    assert_eq!(
        said,
        [
            "error: setting `intake.bytes_in_flight` (from ripcord.yaml) must be at least 8 times `max_body`, or the largest body could never be read",
            "error: setting `engine.lease` (from variable RIPCORD__ENGINE__LEASE__RETRY) `retry` must be shorter than `renew_deadline`, or no leader could renew in time",
            "error: setting `report.slack.token` (from variable RIPCORD__REPORT__SLACK__TOKEN) give `token` or `token_file`, not both",
        ]
    );
}

#[test]
fn a_secret_of_the_wrong_kind_is_not_repeated() {
    let said = wrong("report: { slack: { token: [xoxb-secret] } }", &[]);
    assert!(
        said[0].contains("`report.slack.token`") && !said[0].contains("secret"),
        "{said:?}"
    );
}

#[test]
fn a_file_that_is_no_yaml_is_said_with_line_and_column() {
    let said = wrong("intake:\n  listen: [\n", &[]);
    assert!(said[0].starts_with("ripcord.yaml:"), "{said:?}");
    let said = wrong("- a\n", &[]);
    assert!(said[0].starts_with("ripcord.yaml:1:1: error: "), "{said:?}");
    let missing = Settings::load(Some(Path::new("/no/such/file")), []).unwrap_err();
    assert!(missing[0].title.starts_with("cannot read /no/such/file: "));
}

#[test]
fn an_empty_section_is_its_defaults_and_what_stands_twice_is_said_plainly() {
    let settings = read("intake:\nengine:\n  lease:\n  tick: 1s\n", &[]).unwrap();
    assert_eq!(settings.engine.tick.as_secs(), 1);
    assert_eq!(
        wrong("intake:\n  max_body: 1MiB\n  max_body: 2MiB\n", &[]),
        ["ripcord.yaml:3:3: error: `max_body` stands twice: the second one"]
    );
    assert_eq!(
        wrong("intake: {}\nintake: {}\n", &[]),
        ["ripcord.yaml:2:1: error: `intake` stands twice: the second one"]
    );
    let said = wrong("intake: {}\n---\nengine: {}\n", &[]);
    assert!(
        said[0].contains("error: a second YAML document begins here: expected one in a file"),
        "{said:?}"
    );
}

#[test]
fn the_shipped_example_is_every_default() {
    let text = include_str!("../../../config/ripcord.yaml").to_owned();
    let written: Json = serde_saphyr::from_str(&text).unwrap();
    let source = Source {
        path: "config/ripcord.yaml".to_owned(),
        text,
    };
    let mut settings = Settings::read(Some(source), []).unwrap();
    // The one thing that the shipped policy needs.
    let url = settings.prometheus.url.take();
    assert_eq!(url.as_deref(), Some("http://prometheus.monitoring:9090"));
    assert_eq!(serde_json::to_value(settings).unwrap(), defaults());
    assert_eq!(
        keys(&written),
        keys(&defaults()),
        "a key is missing in config/ripcord.yaml"
    );
}

/// Every key, with its sections.
fn keys(tree: &Json) -> Vec<String> {
    let Json::Object(map) = tree else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in map {
        all.push(key.clone());
        all.extend(
            keys(value)
                .into_iter()
                .map(|inner| format!("{key}.{inner}")),
        );
    }
    all.sort();
    all
}

#[test]
fn the_deployed_settings_are_read() {
    let text = include_str!("../../../deploy/config/ripcord.yaml").to_owned();
    let source = Source {
        path: "deploy/config/ripcord.yaml".to_owned(),
        text,
    };
    let settings = Settings::read(Some(source), []).unwrap();
    assert_eq!(settings.intake.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(
        settings.intake.bearer_token_files,
        [Path::new("/etc/ripcord-secrets/webhook-token")]
    );
    assert!(settings.report.slack.channel.is_some() && settings.report.slack.token_file.is_some());
    assert!(settings.prometheus.url.is_some(), "the policy asks it");
}
