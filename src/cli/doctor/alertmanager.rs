//! Alertmanager, as it tells of its own configuration: whether its routes lead the policy's alerts to Ripcord's receiver, and how
//! soon.
//!
//! Its API withholds addresses of receivers, so the receiver is known by its name.

use std::time::Duration;

use serde_json::Value;

use super::check::{Check, expect};
use super::health::REACH;
use super::routes::{self, Sample, Times, Way};
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
/// The longest wait of an alert that joins a group which was sent already.
const JOINS: Duration = Duration::from_secs(30);

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
pub(super) fn judge(
    url: &str,
    name: &str,
    status: Result<(String, Value), String>,
    samples: &[Sample],
) -> Vec<Check> {
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
    let ours: Vec<&Value> = receivers
        .filter(|it| is_named(it["name"].as_str().unwrap_or_default(), name))
        .collect();
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
    checks.push(route(name, &config["route"], samples));
    checks
}

/// A name as it is written, or as the Prometheus operator makes it: `namespace/object/name`.
fn is_named(found: &str, name: &str) -> bool {
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

/// Where the alerts come out that the policy is about: each must reach the receiver, and soon.
fn route(name: &str, root: &Value, samples: &[Sample]) -> Check {
    let asked = expect(
        "route",
        format!(
            "each alert that a trigger is about comes out at {name}, without a wait, and is repeated every minute"
        ),
    );
    let help = "see the routes in deploy/alertmanager/alertmanager.yml";
    let mut slowest: Option<Times> = None;
    let mut open = None;
    for sample in samples {
        let said = &sample.said;
        match routes::way(root, sample, |found| is_named(found, name)) {
            Ok(Way::There(times)) => {
                slowest = Some(slowest.map_or(times, |it| it.slower(times)));
            }
            Ok(Way::Perhaps) => {
                open.get_or_insert(format!(
                    "not checked: whether {said} comes out there depends on labels that the policy does not name"
                ));
            }
            Ok(Way::Elsewhere(receivers)) => {
                let found = format!(
                    "{said} comes out at {}, and not at {name}",
                    receivers.join(", ")
                );
                return asked.failed(found, help);
            }
            Err(why) => {
                open.get_or_insert(format!("not checked: {why}"));
            }
        }
    }
    if let Some(open) = open {
        return asked.warning(open, help);
    }
    let Some(slowest) = slowest else {
        let found = "not checked: no trigger names an alert";
        return asked.warning(found, "try one with amtool config routes test");
    };
    let (found, mut better): (Vec<_>, Vec<_>) = slow(slowest).into_iter().unzip();
    if !found.is_empty() {
        better.dedup();
        let help = format!("say {} in the route; {help}", better.join(" and "));
        return asked.warning(found.join("; "), help);
    }
    let first = samples.first().map_or("", |it| it.said.as_str());
    asked.ok(match samples.len() {
        1 => first.to_owned(),
        more => format!("{more} alerts, such as {first}"),
    })
}

/// What takes too long on a way, each with what to say in the route instead.
fn slow(times: Times) -> Vec<(String, &'static str)> {
    let said = humantime::format_duration;
    let mut all = Vec::new();
    if times.wait > WAIT {
        let found = format!(
            "an alert is held back for {} (group_wait)",
            said(times.wait)
        );
        all.push((found, "`group_wait: 0s`"));
    }
    let sooner = "`group_interval: 10s`";
    if times.tick > JOINS {
        let found = format!(
            "an alert that joins a group which was sent waits for up to {} (group_interval)",
            said(times.tick)
        );
        all.push((found, sooner));
    }
    // Whether to send a group again is asked at its ticks alone.
    let (again, key, better) = if times.tick > times.again {
        (times.tick, "group_interval", sooner)
    } else {
        (times.again, "repeat_interval", "`repeat_interval: 1m`")
    };
    if again > AGAIN {
        let found = format!(
            "what was declined is asked again after {} only ({key})",
            said(again)
        );
        all.push((found, better));
    }
    all
}

#[cfg(test)]
mod tests;
