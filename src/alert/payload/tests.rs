use std::fmt::Write as _;

use super::*;

/// A group as Alertmanager 0.25 writes it: one alert over, one still firing.
const SENT: &str = include_str!("../../../tests/data/notification-0.25.json");
/// The same group as Alertmanager 0.34 writes it, cut by `max_alerts: 1`.
const TRUNCATED: &str = include_str!("../../../tests/data/notification-0.34-truncated.json");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A body with one alert, as small as it may be.
fn small(alert: &str) -> String {
    format!(r#"{{"version":"4","alerts":[{alert}]}}"#)
}

fn many(count: usize) -> String {
    let mut alerts = String::new();
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        write!(
            alerts,
            r#"{comma}{{"status":"firing","labels":{{"alertname":"A","pod":"pod-{index}"}},"startsAt":"2026-11-22T01:03:02Z"}}"#
        )
        .unwrap();
    }
    small(&alerts)
}

fn error(body: &str) -> String {
    decode(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_alertmanager_sends_is_read() {
    let notification = decode(SENT.as_bytes()).unwrap();
    assert_eq!(notification.receiver, r"pinn\.rollback-ok");
    assert_eq!(notification.receiver_name(), "pinn.rollback-ok");
    assert_eq!(notification.status, Some(Status::Firing));
    assert_eq!(
        notification.group_key,
        r#"{}/{t="ok"}:{alertname="PinnLatencyP95High"}"#
    );
    assert_eq!(notification.external_url, "http://am-1.example:9093");
    assert_eq!(
        notification.group_labels.to_string(),
        r#"{alertname="PinnLatencyP95High"}"#
    );
    assert_eq!(notification.common_labels.get("severity"), Some("critical"));
    assert_eq!(
        notification.common_annotations["runbook_url"],
        "https://rb/x"
    );
    assert_eq!(
        (
            notification.notification_reason.as_deref(),
            &notification.route_labels
        ),
        (None, &None)
    );
    assert!(!notification.is_truncated());

    let [over, firing] = notification.alerts.as_slice() else {
        panic!("two alerts")
    };
    assert_eq!((over.status, over.is_firing()), (Status::Resolved, false));
    assert_eq!(over.starts_at, at("2026-11-22T01:03:02.953878Z"));
    assert_eq!(over.ends_at, Some(at("2026-11-22T01:04:02.953878Z")));
    assert_eq!(over.annotations["summary"], "P95 latency > 260ms & rising");
    assert_eq!(
        over.generator_url,
        "http://prom:9090/graph?g0.expr=a%3E1&g0.tab=1"
    );
    assert!(firing.is_firing());
    assert_eq!(firing.ends_at, None);
    assert_eq!(firing.labels.name(), Some("PinnLatencyP95High"));
    let episode = Episode {
        fingerprint: "75e4b9ebd94d4f4d".to_owned(),
        starts_at: over.starts_at,
    };
    assert_eq!(firing.episode(), episode);
    for alert in &notification.alerts {
        assert_eq!(alert.fingerprint, alert.labels.fingerprint());
    }
}

#[test]
fn what_newer_versions_add_is_read() {
    let notification = decode(TRUNCATED.as_bytes()).unwrap();
    assert_eq!(
        notification.notification_reason.as_deref(),
        Some("first notification")
    );
    assert_eq!(
        notification.route_labels,
        Some(Labels::from_iter([("team", "pinn")]))
    );
    assert_eq!(notification.truncated_alerts, 1);
    assert!(notification.is_truncated());
    assert_eq!(notification.status, Some(Status::Resolved));
}

#[test]
fn writing_gives_the_bytes_that_alertmanager_sends() {
    for sent in [SENT, TRUNCATED] {
        let written = serde_json::to_string(&decode(sent.as_bytes()).unwrap()).unwrap();
        // Go escapes these three for HTML.
        let written = written
            .replace('<', r"\u003c")
            .replace('>', r"\u003e")
            .replace('&', r"\u0026");
        assert_eq!(written, sent.trim_end());
    }
}

#[test]
fn receiver_names_are_unquoted_exactly() {
    let cases = [
        ("plain-name_1", "plain-name_1"),
        (r"a\.b", "a.b"),
        (r"\\\.\+\*\?\(\)\|\[\]\{\}\^\$", r"\.+*?()|[]{}^$"),
        (r"team/a b", "team/a b"),
        (r"ü\.ü", "ü.ü"),
        // Not from QuoteMeta: left as it is.
        (r"a\d", r"a\d"),
        (r"end\", r"end\"),
        ("a.b", "a.b"),
    ];
    for (raw, name) in cases {
        let body = serde_json::json!({ "version": "4", "alerts": [], "receiver": raw }).to_string();
        assert_eq!(
            decode(body.as_bytes()).unwrap().receiver_name(),
            name,
            "{raw}"
        );
    }
}

#[test]
fn little_is_required() {
    let notification = decode(br#"{"alerts":[],"version":"4"}"#).unwrap();
    assert_eq!(
        (notification.status, notification.receiver.as_str()),
        (None, "")
    );
    let nulls = r#"{"version":"4","alerts":null,"receiver":null,"status":null,"groupLabels":null,
        "commonLabels":null,"commonAnnotations":null,"externalURL":null,"groupKey":null,"truncatedAlerts":null,
        "notification_reason":null,"routeLabels":null}"#;
    assert_eq!(decode(nulls.as_bytes()).unwrap(), notification);

    let body = small(
        r#"{"status":"firing","labels":null,"annotations":null,"startsAt":"2026-11-22T02:03:02+01:00","endsAt":null,
            "generatorURL":null,"fingerprint":null,"silencedBy":{"any":["thing"]}}"#,
    );
    let alert = decode(body.as_bytes()).unwrap().alerts.remove(0);
    assert_eq!(alert.starts_at, at("2026-11-22T01:03:02Z"));
    assert_eq!(
        (alert.ends_at, alert.labels.len(), alert.annotations.len()),
        (None, 0, 0)
    );
    assert_eq!(alert.fingerprint, "cbf29ce484222325");
}

#[test]
fn a_missing_fingerprint_is_computed_and_a_sent_one_kept() {
    for (sent, kept) in [
        ("", "9bd61e0bb2b54c7c"),
        ("feedfacefeedface", "feedfacefeedface"),
        ("feedfacefeedfac", "9bd61e0bb2b54c7c"),
        ("FEEDFACEFEEDFACE", "9bd61e0bb2b54c7c"),
        ("feedface\\nfeedfac", "9bd61e0bb2b54c7c"),
    ] {
        let body = SENT.replace("9bd61e0bb2b54c7c", sent);
        assert_eq!(decode(body.as_bytes()).unwrap().alerts[0].fingerprint, kept);
    }
    let body = SENT.replace(r#","fingerprint":"9bd61e0bb2b54c7c""#, "");
    assert_eq!(
        decode(body.as_bytes()).unwrap().alerts[0].fingerprint,
        "9bd61e0bb2b54c7c"
    );
}

#[test]
fn a_time_is_rfc_3339_and_nothing_wider() {
    let decoded = |text: &str| {
        let start = r#""startsAt":""#;
        let from = SENT.find(start).unwrap() + start.len();
        let to = from + SENT[from..].find('"').unwrap();
        decode(format!("{}{text}{}", &SENT[..from], &SENT[to..]).as_bytes())
    };
    for good in [
        "2026-11-22T03:12:40Z",
        "2026-11-22T03:12:40.123456789Z",
        "2026-11-22T03:12:40.5+01:00",
        "0001-01-01T00:00:00Z",
        "9999-12-30T00:00:00-05:30",
    ] {
        assert!(decoded(good).is_ok(), "{good}");
    }
    for bad in [
        "-000001-01-01T00:00:00Z",
        "+002026-11-22T03:12:40Z",
        "0000-01-01T00:00:00Z",
        "2026-11-22T03:12:40Z[UTC]",
        "2026-11-22T03:12:40+01:00[Europe/Paris]",
        "2026-11-22T03:12:40.Z",
        "2026-11-22T03:12Z",
        "2026-11-22T03:12:40",
        "20261122T031240Z",
        "2026-13-22T03:12:40Z",
    ] {
        let said = decoded(bad).unwrap_err().to_string();
        assert!(said.contains("is no RFC 3339 time"), "{bad}: {said}");
    }
}

#[test]
fn only_the_year_one_is_no_end() {
    let cases = [
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T01:00:00+01:00", None),
        (
            "0001-01-01T00:00:00.000000001Z",
            Some("0001-01-01T00:00:00.000000001Z"),
        ),
        ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
    ];
    for (sent, end) in cases {
        let body = small(&format!(
            r#"{{"status":"firing","labels":{{}},"startsAt":"2026-11-22T01:03:02Z","endsAt":"{sent}"}}"#
        ));
        assert_eq!(
            decode(body.as_bytes()).unwrap().alerts[0].ends_at,
            end.map(at),
            "{sent}"
        );
    }
}

#[test]
fn many_alerts_are_read_and_repetitions_kept() {
    let notification = decode(many(1_000).as_bytes()).unwrap();
    assert_eq!(notification.alerts.len(), 1_000);
    assert_eq!(notification.alerts[999].labels.get("pod"), Some("pod-999"));
    assert_eq!(
        decode(many(20_000).as_bytes()).unwrap().alerts.len(),
        20_000
    );

    let one = r#"{"status":"firing","labels":{"a":"b"},"startsAt":"2026-11-22T01:03:02Z"}"#;
    let twice = decode(small(&format!("{one},{one}")).as_bytes()).unwrap();
    assert_eq!(twice.alerts.len(), 2);
    assert_eq!(twice.alerts[0], twice.alerts[1]);
}

#[test]
fn what_is_no_json_is_told() {
    let cases = [
        ("", "not JSON: the body is empty at line 1, column 1"),
        (" \n", "not JSON: the body is empty at line 1, column 1"),
        ("payload=1", "not JSON: expected value at line 1, column 1"),
        (
            r#"{"version":"4","alerts":[}"#,
            "not JSON: expected value at line 1, column 26",
        ),
        (
            "{\"version\":\"4\",\n\"alerts\":[",
            "not JSON: EOF while parsing a list at line 2, column 10",
        ),
        (
            r#"{"version":"4","alerts":[]} x"#,
            "not JSON: trailing characters at line 1, column 29",
        ),
        // An early wrong type does not hide that the rest is cut off.
        (
            r#"{"version":"4","alerts":[7"#,
            "not JSON: EOF while parsing a list at line 1, column 26",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(error(body), message, "{body}");
    }
    let broken = decode(b"{\"version\":\"4\",\"receiver\":\"\xff\"}")
        .unwrap_err()
        .to_string();
    assert_eq!(
        broken,
        "not JSON: invalid unicode code point at line 1, column 28"
    );
    let deep = error(&format!(r#"{{"version":{}"#, "[".repeat(100_000)));
    assert_eq!(
        deep,
        "not JSON: recursion limit exceeded at line 1, column 138"
    );
}

#[test]
fn what_is_no_version_4_is_told() {
    let not = |what: &str| format!("not an Alertmanager notification of version 4: {what}");
    let cases = [
        ("{}", "it has no `version`"),
        (r#"{"version":null,"alerts":[]}"#, "it has no `version`"),
        (r#"{"text":"a custom payload"}"#, "it has no `version`"),
        (
            r#"{"version":"3","alerts":[]}"#,
            r#"its `version` is "3", not "4""#,
        ),
        (
            r#"{"version":4,"alerts":[]}"#,
            r#"its `version` is 4, not "4""#,
        ),
        (
            r#"{"alerts":"odd","version":"5"}"#,
            r#"its `version` is "5", not "4""#,
        ),
        ("[]", "the body is no JSON object"),
        (
            r#"["r","firing",[],null,{},{},{},{},"","4","",0]"#,
            "the body is no JSON object",
        ),
        (r#" "text""#, "the body is no JSON object"),
        ("null", "the body is no JSON object"),
    ];
    for (body, what) in cases {
        assert_eq!(error(body), not(what), "{body}");
    }
}

#[test]
fn what_is_wrong_within_is_told_with_its_path() {
    let alert = r#"{"status":"firing","labels":{"a":"b"},"startsAt":"2026-11-22T01:03:02Z"}"#;
    let fourth = |broken: &str| small(&format!("{alert},{alert},{alert},{broken}"));
    let cases = [
        (
            r#"{"version":"4"}"#.to_owned(),
            "alerts: missing, in the object that ends at line 1, column 15",
        ),
        (
            r#"{"version":"4","alerts":{}}"#.to_owned(),
            "alerts: invalid type: map, expected a sequence at line 1, column 24",
        ),
        (
            fourth(&alert.replace("2026-11-22T01:03:02Z", "yesterday")),
            r#"alerts[3].startsAt: "yesterday" is no RFC 3339 time at line 1, column 304"#,
        ),
        (
            fourth(&alert.replace(r#""2026-11-22T01:03:02Z""#, "7")),
            "alerts[3].startsAt: invalid type: integer `7`, expected an RFC 3339 time at line 1, column 294",
        ),
        (
            small(&alert.replace(",\"startsAt\":\"2026-11-22T01:03:02Z\"", "")),
            "alerts[0].startsAt: missing, in the object that ends at line 1, column 63",
        ),
        (
            small(&alert.replace(r#""labels":{"a":"b"},"#, "")),
            "alerts[0].labels: missing, in the object that ends at line 1, column 78",
        ),
        (
            small(&alert.replace("firing", "pending")),
            r#"alerts[0].status: "pending" is neither "firing" nor "resolved" at line 1, column 44"#,
        ),
        (
            small(&alert.replace(r#""b""#, "[]")),
            "alerts[0].labels.a: invalid type: sequence, expected a string at line 1, column 58",
        ),
        (
            small("7"),
            "alerts[0]: invalid type: integer `7`, expected an alert at line 1, column 26",
        ),
        (
            r#"{"version":"4","alerts":[],"truncatedAlerts":-1}"#.to_owned(),
            "truncatedAlerts: invalid value: integer `-1`, expected u64 at line 1, column 47",
        ),
        (
            r#"{"version":"4","alerts":[],"version":"4"}"#.to_owned(),
            "the body: duplicate field `version` at line 1, column 36",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(error(&body), message, "{body}");
    }
}

#[test]
fn errors_are_short_and_quote_little() {
    let secret = format!("\u{1b}[2J\n{}HIDDEN", "x".repeat(5_000));
    let text = serde_json::to_string(&secret).unwrap();
    let bodies = [
        format!(r#"{{"version":{text}}}"#),
        format!(r#"{{"version":[{text}]}}"#),
        format!(r#"{{"version":"4","alerts":{text}}}"#),
        format!(r#"{{"version":"4","alerts":[],"status":{text}}}"#),
        format!(r#"{{"version":"4","alerts":[],"groupLabels":{{{text}:1}}}}"#),
        small(&format!(
            r#"{{"status":"firing","labels":{{}},"startsAt":{text}}}"#
        )),
        small(&format!(
            r#"{{"status":"firing","labels":{text},"startsAt":""}}"#
        )),
    ];
    for body in bodies {
        let message = error(&body);
        assert!(message.len() < 260, "{message}");
        assert!(!message.contains("HIDDEN"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}
