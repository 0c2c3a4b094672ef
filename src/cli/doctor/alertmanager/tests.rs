use std::path::Path;

use super::*;
use crate::cli::doctor::check::Verdict;
use crate::config::load_policy;

const SHIPPED: &str = include_str!("../../../../deploy/alertmanager/alertmanager.yml");

/// The alerts that the shipped policy is about.
fn shipped() -> Vec<Sample> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config/rollbacks.yaml");
    let policy = load_policy(Path::new(path)).unwrap().policy;
    let targets: Vec<_> = policy.targets.values().collect();
    routes::samples(&policy, &targets)
}

fn judged(config: &str) -> Vec<(Verdict, String)> {
    let config = serde_saphyr::from_str(config).unwrap();
    let all = judge(
        "http://am",
        "ripcord",
        Ok(("0.28.1".into(), config)),
        &shipped(),
    );
    all.into_iter().map(|it| (it.verdict, it.found)).collect()
}

fn worst(config: &str) -> (Verdict, String) {
    judged(config)
        .into_iter()
        .find(|(verdict, _)| *verdict != Verdict::Ok)
        .unwrap_or_else(|| (Verdict::Ok, String::new()))
}

#[test]
fn what_is_shipped_is_well() {
    assert_eq!(worst(SHIPPED).0, Verdict::Ok, "{:?}", judged(SHIPPED));
    let generated = SHIPPED.replace(": ripcord\n", ": prod/ripcord/ripcord\n");
    assert_ne!(generated, SHIPPED);
    assert_eq!(worst(&generated).0, Verdict::Ok, "{:?}", judged(&generated));
}

#[test]
fn a_configuration_that_would_not_tell_ripcord_is_found_out() {
    for (from, to, verdict, said) in [
        (
            "name: ripcord",
            "name: rip",
            Verdict::Failed,
            "no receiver ripcord",
        ),
        (
            "webhook_configs:\n      - url: http://ripcord",
            "x:\n      - url: http://ripcord",
            Verdict::Failed,
            "no webhook",
        ),
        (
            "receiver: ripcord",
            "receiver: pager",
            Verdict::Failed,
            "PinnLatencyP95High in options-production comes out at pager, and not at ripcord",
        ),
        // The heartbeat's route alone is none for the alerts.
        (
            "options-production\"\n",
            "payments\"\n",
            Verdict::Failed,
            "comes out at pager, and not at ripcord",
        ),
        (
            "alertname!~\"Ripcord.+\"",
            "alertname!~\"Pinn.*Down\"",
            Verdict::Failed,
            "PinnDown in options-production comes out at pager",
        ),
        (
            "alertname!~\"Ripcord.+\"",
            "team=\"pricing\"",
            Verdict::Warning,
            "not checked: whether PinnLatencyP95High in options-production comes out there depends on labels",
        ),
        (
            "alertname!~\"Ripcord.+\"",
            "=\"pricing\"",
            Verdict::Warning,
            "cannot be read",
        ),
        (
            "send_resolved: true",
            "send_resolved: false",
            Verdict::Warning,
            "is over",
        ),
        (
            "max_alerts: 0",
            "max_alerts: 3",
            Verdict::Warning,
            "cuts groups off",
        ),
        (
            "group_wait: 0s",
            "group_wait: 1m",
            Verdict::Warning,
            "held back for 1m",
        ),
        (
            "group_interval: 10s",
            "group_interval: 31s",
            Verdict::Warning,
            "waits for up to 31s (group_interval)",
        ),
        // What nobody says is five minutes.
        (
            "      group_interval: 10s\n",
            "",
            Verdict::Warning,
            "waits for up to 5m (group_interval)",
        ),
        // A repeat waits for the next look at the group, too.
        (
            "group_interval: 10s",
            "group_interval: 10m",
            Verdict::Warning,
            "asked again after 10m only (group_interval)",
        ),
        (
            "      repeat_interval: 1m\n",
            "",
            Verdict::Warning,
            "after 4h only",
        ),
    ] {
        // The first route alone.
        let bent = SHIPPED.replacen(from, to, 1);
        assert_ne!(bent, SHIPPED, "{from}");
        let (found, why) = worst(&bent);
        assert_eq!(found, verdict, "{to}: {why}");
        assert!(why.contains(said), "{to}: {why}");
    }
}

#[test]
fn what_does_not_answer_or_cannot_be_asked_is_not_well() {
    let silent = judge(
        "http://am",
        "ripcord",
        Err("connection refused".into()),
        &[],
    );
    assert_eq!(silent[0].verdict, Verdict::Failed);
    let config = serde_saphyr::from_str(SHIPPED).unwrap();
    let nothing = judge("http://am", "ripcord", Ok(("0.28.1".into(), config)), &[]);
    assert_eq!(nothing[2].verdict, Verdict::Warning, "{nothing:?}");
}

#[test]
fn what_is_slow_is_said_at_once_with_what_to_say_instead() {
    let times = |wait, tick, again| Times {
        wait: Duration::from_secs(wait),
        tick: Duration::from_secs(tick),
        again: Duration::from_secs(again),
    };
    let better = |times| -> Vec<_> { slow(times).into_iter().map(|(_, it)| it).collect() };
    let (wait, tick, again) = (
        "`group_wait: 0s`",
        "`group_interval: 10s`",
        "`repeat_interval: 1m`",
    );
    assert_eq!(better(times(5, 30, 300)), [""; 0]);
    assert_eq!(better(times(6, 31, 301)), [wait, tick, again]);
    assert_eq!(better(times(0, 301, 60)), [tick, tick]);

    let bent = SHIPPED.replacen("group_interval: 10s", "group_interval: 10m", 1);
    let config = serde_saphyr::from_str(&bent).unwrap();
    let all = judge(
        "http://am",
        "ripcord",
        Ok((String::new(), config)),
        &shipped(),
    );
    let help = all.iter().find_map(|it| it.help.as_deref()).unwrap();
    assert!(
        help.starts_with("say `group_interval: 10s` in the route; see "),
        "{help}"
    );
}

#[test]
fn every_trigger_that_can_do_something_has_an_alert() {
    let said: Vec<_> = shipped().into_iter().map(|it| it.said).collect();
    let names = [
        "PinnLatencyP95High",
        "PinnErrorRateHigh",
        "PinnHealthCheckFailing",
        "PinnFallbackRateHigh",
        "PinnMemoryHigh",
        "PinnDown",
    ];
    assert_eq!(said, names.map(|it| format!("{it} in options-production")));
}
