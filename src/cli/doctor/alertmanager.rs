//! Alertmanager, as it tells of its own configuration: whether a route leads to Ripcord's receiver, and how soon.
//!
//! Its API withholds addresses of receivers, so the receiver is known by its name.

use std::time::Duration;

use serde_json::Value;

use super::check::{Check, expect};
use super::health::REACH;
use crate::cluster::http::Prober;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of the answer is read: a generated configuration can be long.
const READ: usize = 8 * 1024 * 1024;
/// Where it tells of itself.
const STATUS: &str = "/api/v2/status";
/// The longest pause after which a declined alert should be asked again.
const AGAIN: Duration = Duration::from_secs(300);
/// The longest wait before an alert is sent at all.
const WAIT: Duration = Duration::from_secs(5);
/// What Alertmanager does where a route says nothing.
const DEFAULTS: Times = Times {
    wait: Duration::from_secs(30),
    again: Duration::from_secs(4 * 3600),
};

/// What a route says of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Times {
    wait: Duration,
    again: Duration,
}

/// The version and the configuration of the Alertmanager at an address.
pub(super) async fn status(prober: &Prober, url: &str) -> Result<(String, Value), String> {
    let url = format!("{}{STATUS}", url.trim_end_matches('/'));
    let (status, body) = prober.get(&url, PATIENCE, READ).await?;
    if status != 200 {
        return Err(format!("{STATUS} answers HTTP {status}"));
    }
    let unknown = |_| format!("what {STATUS} answers is not Alertmanager's");
    let body: Value = serde_json::from_slice(&body).map_err(unknown)?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let version = text("/versionInfo/version").unwrap_or("of an unknown version");
    let original = text("/config/original").unwrap_or_default();
    let config = serde_saphyr::from_str(original);
    let config = config.map_err(|error| format!("its configuration cannot be read: {error}"))?;
    Ok((version.to_owned(), config))
}

/// Judges what it told: whether it answers, has the receiver, and leads alerts there in time.
pub(super) fn judge(url: &str, name: &str, status: Result<(String, Value), String>) -> Vec<Check> {
    let asked = expect("Alertmanager", format!("{url} answers"));
    let (version, config) = match status {
        Ok(known) => known,
        Err(why) => return vec![asked.failed(why, REACH)],
    };
    let mut checks = vec![asked.ok(format!("version {version}"))];
    let asked = expect(
        "receiver",
        format!("it has a receiver {name} with a webhook"),
    );
    let help = "see deploy/alertmanager/alertmanager.yml; --receiver names another one";
    let receivers = config["receivers"].as_array().into_iter().flatten();
    let ours: Vec<&Value> = receivers.filter(|it| is_named(&it["name"], name)).collect();
    let hooks = ours
        .iter()
        .filter_map(|it| it["webhook_configs"].as_array());
    let hooks: Vec<&Value> = hooks.flatten().collect();
    if hooks.is_empty() {
        let what = if ours.is_empty() {
            "receiver"
        } else {
            "webhook in the receiver"
        };
        checks.push(asked.failed(format!("there is no {what} {name}"), help));
        return checks;
    }
    checks.push(webhook(asked, &hooks));
    let mut found = Vec::new();
    routes(&config["route"], DEFAULTS, name, &mut found);
    checks.push(route(name, &found));
    checks
}

/// A name as it is written, or as the Prometheus operator makes it: `namespace/object/name`.
fn is_named(found: &Value, name: &str) -> bool {
    let found = found.as_str().unwrap_or_default();
    found == name || found.strip_suffix(name).is_some_and(|it| it.ends_with('/'))
}

fn webhook(asked: super::check::Expected, hooks: &[&Value]) -> Check {
    if hooks.iter().any(|it| it["send_resolved"] == false) {
        return asked.warning(
            "it does not send that an alert is over",
            "say `send_resolved: true`",
        );
    }
    let cut = |it: &&&Value| it["max_alerts"].as_u64().is_some_and(|most| most > 0);
    if hooks.iter().any(|it| cut(&it)) {
        return asked.warning("it cuts groups off (max_alerts)", "say `max_alerts: 0`");
    }
    asked.ok("it has a webhook, which is told the end of an alert, too")
}

/// Collects the times of all routes to the receiver; what a route does not say, its parent says.
fn routes(route: &Value, before: Times, name: &str, found: &mut Vec<Times>) {
    let time = |key: &str| humantime::parse_duration(route[key].as_str()?).ok();
    let times = Times {
        wait: time("group_wait").unwrap_or(before.wait),
        again: time("repeat_interval").unwrap_or(before.again),
    };
    if is_named(&route["receiver"], name) {
        found.push(times);
    }
    for child in route["routes"].as_array().into_iter().flatten() {
        routes(child, times, name, found);
    }
}

fn route(name: &str, found: &[Times]) -> Check {
    let asked = expect(
        "route",
        format!("a route leads to {name}, without a wait, and repeats every minute"),
    );
    let help = "see the routes in deploy/alertmanager/alertmanager.yml";
    let Some(slowest) = found.iter().max_by_key(|it| it.wait.max(it.again)) else {
        return asked.failed(format!("no route leads to {name}"), help);
    };
    let said = |time: Duration| humantime::format_duration(time).to_string();
    if slowest.wait > WAIT {
        let found = format!(
            "an alert is held back for {} (group_wait)",
            said(slowest.wait)
        );
        return asked.warning(found, help);
    }
    if slowest.again > AGAIN {
        let found = format!(
            "what was declined is asked again after {} only (repeat_interval)",
            said(slowest.again)
        );
        return asked.warning(found, help);
    }
    let s = if found.len() == 1 { "" } else { "s" };
    asked.ok(format!("{} route{s}", found.len()))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    const SHIPPED: &str = include_str!("../../../deploy/alertmanager/alertmanager.yml");

    fn judged(config: &str) -> Vec<(Verdict, String)> {
        let config = serde_saphyr::from_str(config).unwrap();
        let all = judge("http://am", "ripcord", Ok(("0.28.1".into(), config)));
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
                "no route leads",
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
                "      repeat_interval: 1m\n",
                "",
                Verdict::Warning,
                "after 4h only",
            ),
        ] {
            let bent = SHIPPED.replace(from, to);
            assert_ne!(bent, SHIPPED, "{from}");
            let (found, why) = worst(&bent);
            assert_eq!(found, verdict, "{to}: {why}");
            assert!(why.contains(said), "{to}: {why}");
        }
        let silent = judge("http://am", "ripcord", Err("connection refused".into()));
        assert_eq!(silent[0].verdict, Verdict::Failed);
    }
}
