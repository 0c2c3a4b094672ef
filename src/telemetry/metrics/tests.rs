use std::collections::{BTreeMap, BTreeSet};

use super::*;

const BEFORE: &str =
    "<!-- The table is written by a test: UPDATE_DOCS=1 cargo test --lib metrics -->\n\n";
const AFTER: &str = "\n<!-- End of the table. -->";

/// Metrics with something in every one of them.
fn touched() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    metrics.notification(Received::Accepted);
    metrics.last_notification("2026-11-22T01:03:02.5Z".parse().unwrap());
    metrics.alert("decline", Reason::NoTrigger);
    metrics.intake(Duration::from_millis(20));
    metrics.claim(Duration::from_millis(7));
    metrics.bytes_in_flight(4096);
    metrics.bytes_in_flight(-1024);
    metrics.panicked();
    metrics.rollback("emergency-canary", Phase::Succeeded);
    metrics.first_mutation(Duration::from_millis(300));
    metrics.traffic_back(Duration::from_millis(1900));
    metrics.healthy(Duration::from_secs(4));
    metrics.pending(2);
    metrics.running(1);
    metrics.latched(3);
    metrics.procedure("cache-reset");
    metrics.target_held("options-api", true);
    metrics.target_held("gone", true);
    metrics.permissions_missing("options-api", 2);
    metrics.permissions_missing("gone", 1);
    metrics.target_gone("gone");
    metrics.journals_refused(2);
    metrics.journals_refused(-1);
    metrics.journal_refusal(Refused::Rejected);
    metrics.leader(true);
    metrics.lease_transition();
    metrics.hold(true);
    metrics.hold_unreadable(true);
    metrics.own_permissions_missing(3);
    metrics.report(Via::Slack, Delivery::Retried);
    metrics.reports_pending(Via::Slack, 5);
    metrics.policy("sha256:aa");
    metrics.policy("sha256:bb");
    metrics.policy_reload(Reload::Refused);
    metrics.export(Exported::Failed);
    metrics.spans(SpanFate::Dropped, 7);
    metrics
}

/// The value of each series.
fn series(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).collect()
}

#[test]
fn every_call_is_seen_in_its_series() {
    let text = touched().encode();
    let series = series(&text);
    for (name, value) in [
        (r#"ripcord_build_info{version="1.2.3"}"#, "1"),
        (r#"ripcord_notifications_total{result="accepted"}"#, "1"),
        (r#"ripcord_notifications_total{result="timeout"}"#, "0"),
        (
            "ripcord_last_notification_timestamp_seconds",
            "1795309382.5",
        ),
        (
            r#"ripcord_alerts_total{decision="decline",reason="no_trigger"}"#,
            "1",
        ),
        ("ripcord_intake_seconds_count", "1"),
        (r#"ripcord_claim_seconds_bucket{le="0.01"}"#, "1"),
        (r#"ripcord_claim_seconds_bucket{le="0.005"}"#, "0"),
        ("ripcord_bytes_in_flight", "3072"),
        ("ripcord_handler_panics_total", "1"),
        (
            r#"ripcord_rollbacks_total{procedure="emergency-canary",outcome="Succeeded"}"#,
            "1",
        ),
        (
            r#"ripcord_received_to_first_mutation_seconds_bucket{le="0.5"}"#,
            "1",
        ),
        (
            r#"ripcord_received_to_traffic_back_seconds_bucket{le="2.0"}"#,
            "1",
        ),
        ("ripcord_received_to_healthy_seconds_sum", "4.0"),
        ("ripcord_queue_pending", "2"),
        ("ripcord_rollbacks_running", "1"),
        ("ripcord_targets_latched", "3"),
        (
            r#"ripcord_rollbacks_total{procedure="cache-reset",outcome="Failed"}"#,
            "0",
        ),
        (r#"ripcord_target_held{target="options-api"}"#, "1"),
        (r#"ripcord_permissions_missing{target="options-api"}"#, "2"),
        ("ripcord_journals_refused", "1"),
        (r#"ripcord_journal_refusals_total{reason="rejected"}"#, "1"),
        ("ripcord_lease_leader", "1"),
        ("ripcord_lease_transitions_total", "1"),
        ("ripcord_hold", "1"),
        ("ripcord_hold_unreadable", "1"),
        ("ripcord_own_permissions_missing", "3"),
        (
            r#"ripcord_reports_total{reporter="slack",result="retried"}"#,
            "1",
        ),
        (
            r#"ripcord_reports_total{reporter="webhook",result="lost"}"#,
            "0",
        ),
        (r#"ripcord_reports_pending{reporter="slack"}"#, "5"),
        (r#"ripcord_policy_info{digest="sha256:bb"}"#, "1"),
        (r#"ripcord_policy_reload_total{result="refused"}"#, "1"),
        (r#"ripcord_otlp_requests_total{result="failed"}"#, "1"),
        (r#"ripcord_spans_total{result="dropped"}"#, "7"),
        (r#"ripcord_spans_total{result="exported"}"#, "0"),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name} in\n{text}");
    }
    assert!(!text.contains("sha256:aa"), "the policy before is gone");
    assert!(!text.contains("\"gone\""), "the target is gone");
    assert!(
        !text.contains(r#"procedure="cache-reset",outcome="Running""#),
        "no end"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn clones_count_together() {
    let metrics = Metrics::new("1");
    metrics.clone().panicked();
    assert!(metrics.encode().contains("ripcord_handler_panics_total 1"));
}

#[test]
fn names_from_the_policy_are_escaped() {
    let metrics = Metrics::new("1");
    metrics.rollback("a\"b\\c\nd", Phase::Failed);
    let wanted = r#"ripcord_rollbacks_total{procedure="a\"b\\c\nd",outcome="Failed"} 1"#;
    assert!(metrics.encode().contains(wanted), "{}", metrics.encode());
}

#[test]
fn what_is_described_is_what_is_exposed() {
    let metrics = touched();
    let text = metrics.encode();
    let table = metrics.table();
    let cells = table.lines().skip(2).map(|row| row.split(" | "));
    let described: BTreeSet<(String, &str)> = cells
        .map(|mut row| (row.next().unwrap(), row.next().unwrap()))
        .map(|(name, kind)| (name.replace(['|', '`', ' '], ""), kind))
        .collect();
    let exposed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: BTreeSet<(String, &str)> = exposed
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind),
            _ => (name.to_owned(), kind),
        })
        .collect();
    assert_eq!(described, exposed);
    // Tools that read the classic format know these and no others.
    let classic = ["counter", "gauge", "histogram"];
    assert!(exposed.iter().all(|(_, kind)| classic.contains(kind)));
}

#[test]
fn the_documented_table_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let table = Metrics::new("1").table();
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEFORE).expect("the table's start");
    let (found, tail) = rest.split_once(AFTER).expect("the table's end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEFORE}{table}{AFTER}{tail}")).unwrap();
    } else {
        assert_eq!(found, table, "run the test with UPDATE_DOCS=1");
    }
    for value in Received::ALL.iter().map(|result| result.as_str()) {
        assert!(text.contains(&format!("`{value}`")), "{value}");
    }
}
