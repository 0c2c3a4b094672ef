//! Alertmanager's routing tree, and the alerts that are led through it to see where they come out.
//!
//! It decides as Alertmanager does: an alert goes to the first child that takes it, and on to the next where that says
//! `continue`; to the route itself where no child takes it. What nobody says, the parent says. It refuses to guess labels: what
//! depends on one that the policy does not name is left open.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::alert::matcher::parse_all;
use crate::alert::{Labels, Matcher, Op};
use crate::policy::Policy;
use crate::policy::trigger::{SeverityChoice, TargetChoice, Trigger};
use crate::target::Target;

/// What Alertmanager does where a route says nothing.
const DEFAULTS: Times = Times {
    wait: Duration::from_secs(30),
    tick: Duration::from_secs(300),
    again: Duration::from_secs(4 * 3600),
};

/// What a route says of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Times {
    /// How long a new group is held back.
    pub(super) wait: Duration,
    /// How often a group that was sent is looked at: what joins it waits for that, and so does a repeat.
    pub(super) tick: Duration,
    /// After how long it is sent again.
    pub(super) again: Duration,
}

/// An alert that a trigger is about, for one target.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// What it is, for people.
    pub(super) said: String,
    pub(super) labels: Labels,
}

/// Where an alert comes out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// At the receiver; of the routes to it, the slowest in each.
    There(Times),
    /// At the receiver where labels that the policy does not name are so.
    Perhaps,
    /// At these receivers alone.
    Elsewhere(Vec<String>),
}

/// A route on the way, with what it has from its parents.
#[derive(Clone, Copy)]
struct Leg<'a> {
    receiver: &'a str,
    times: Times,
}

/// How sure it is that a route takes an alert.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Takes {
    Yes,
    /// Where labels that the alert lacks here are so.
    Perhaps,
    No,
}

/// One walk of one alert.
struct Walk<'a> {
    labels: &'a Labels,
    /// Whether a label that is not known here may be as a route wants it.
    lenient: bool,
}

/// An alert for each of these targets and each trigger that can do something for it.
pub(super) fn samples(policy: &Policy, targets: &[&Target]) -> Vec<Sample> {
    let triggers = policy.triggers.iter().filter(|it| !it.is_note());
    let pairs = triggers.flat_map(|trigger| {
        let of = targets.iter().filter(|it| trigger.may_lead_to(it));
        of.map(move |target| (trigger, *target))
    });
    pairs
        .filter_map(|(trigger, target)| sample(trigger, target))
        .collect()
}

/// The simplest alert that a trigger matches; none where its matchers leave open what that is.
fn sample(trigger: &Trigger, target: &Target) -> Option<Sample> {
    let workload = &target.workload;
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let mut says = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    says("namespace", &workload.namespace);
    says("rollout", &workload.name);
    match &trigger.severity {
        SeverityChoice::Fixed(severity) => says("severity", severity.as_str()),
        SeverityChoice::FromLabel { label, map } => says(label, map.keys().next()?),
    };
    if let TargetChoice::FromLabels {
        namespace,
        workload: name,
    } = &trigger.target
    {
        says(namespace, &workload.namespace);
        says(name, &workload.name);
    }
    for matcher in &trigger.matchers {
        let value = match matcher.op() {
            Op::Equal => Some(matcher.value()),
            // The first of several names.
            Op::Match => matcher
                .value()
                .split('|')
                .find(|it| is_name(it) && matcher.matches_value(it)),
            Op::NotEqual | Op::NotMatch => None,
        };
        let known = labels.get(matcher.name()).map_or("", String::as_str);
        if let Some(value) = value.filter(|_| !matcher.matches_value(known)) {
            labels.insert(matcher.name().to_owned(), value.to_owned());
        }
    }
    let name = labels.get("alertname")?;
    let said = format!("{name} in {}", workload.namespace);
    let labels: Labels = labels.into_iter().collect();
    trigger
        .matchers
        .matches(&labels)
        .then_some(Sample { said, labels })
}

/// Whether a part of an expression stands for itself.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '/' | ' ');
    text.chars().all(plain)
}

/// Leads an alert through the tree.
///
/// # Errors
/// What cannot be read of a route on its way.
pub(super) fn way(
    root: &Value,
    sample: &Sample,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Way, String> {
    let before = Leg {
        receiver: "",
        times: DEFAULTS,
    };
    let through = |lenient: bool| {
        let labels = &sample.labels;
        let mut found = Vec::new();
        Walk { labels, lenient }.route(root, before, &mut found)?;
        Ok::<_, String>(found)
    };
    let found = through(false)?;
    let ours = found.iter().filter(|leg| is_ours(leg.receiver));
    if let Some(times) = ours.map(|leg| leg.times).reduce(Times::slower) {
        return Ok(Way::There(times));
    }
    if through(true)?.iter().any(|leg| is_ours(leg.receiver)) {
        return Ok(Way::Perhaps);
    }
    let mut names: Vec<_> = found.iter().map(|leg| leg.receiver.to_owned()).collect();
    names.dedup();
    Ok(Way::Elsewhere(names))
}

// === impl Times ===

impl Times {
    /// The slower of both, in each.
    pub(super) fn slower(self, other: Self) -> Self {
        Self {
            wait: self.wait.max(other.wait),
            tick: self.tick.max(other.tick),
            again: self.again.max(other.again),
        }
    }
}

// === impl Leg ===

impl<'a> Leg<'a> {
    fn then(self, route: &'a Value) -> Self {
        let time = |key: &str| humantime::parse_duration(route[key].as_str()?).ok();
        Self {
            receiver: route["receiver"].as_str().unwrap_or(self.receiver),
            times: Times {
                wait: time("group_wait").unwrap_or(self.times.wait),
                tick: time("group_interval").unwrap_or(self.times.tick),
                again: time("repeat_interval").unwrap_or(self.times.again),
            },
        }
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn route<'v>(
        &self,
        route: &'v Value,
        before: Leg<'v>,
        found: &mut Vec<Leg<'v>>,
    ) -> Result<Takes, String> {
        let takes = self.takes(route)?;
        if takes == Takes::No {
            return Ok(takes);
        }
        let leg = before.then(route);
        let known = found.len();
        for child in route["routes"].as_array().into_iter().flatten() {
            let takes = self.route(child, leg, found)?;
            // What is taken perhaps may go on as well.
            if takes == Takes::Yes && child["continue"] != true {
                break;
            }
        }
        if found.len() == known {
            found.push(leg);
        }
        Ok(takes)
    }

    fn takes(&self, route: &Value) -> Result<Takes, String> {
        let mut takes = Takes::Yes;
        for matcher in matchers(route)? {
            if matcher.matches(self.labels) {
                continue;
            }
            if !self.lenient || self.labels.get(matcher.name()).is_some() {
                return Ok(Takes::No);
            }
            takes = Takes::Perhaps;
        }
        Ok(takes)
    }
}

/// All matchers of a route, in the three ways in which they are written.
fn matchers(route: &Value) -> Result<Vec<Matcher>, String> {
    let mut all = Vec::new();
    for text in route["matchers"].as_array().into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        let read = parse_all(text);
        let read = read.map_err(|error| format!("the matcher `{text}` cannot be read: {error}"))?;
        all.extend(read.iter().cloned());
    }
    for (key, op) in [("match", Op::Equal), ("match_re", Op::Match)] {
        for (name, value) in route[key].as_object().into_iter().flatten() {
            let value = match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            };
            let read = Matcher::new(name, op, &value);
            all.push(read.map_err(|error| format!("`{key}` of {name} cannot be read: {error}"))?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[(&str, &str)]) -> Sample {
        Sample {
            said: "it".to_owned(),
            labels: labels.iter().copied().collect(),
        }
    }

    fn out(tree: &str, labels: &[(&str, &str)]) -> Way {
        let tree = serde_saphyr::from_str(tree).unwrap();
        way(&tree, &sample(labels), |name| name == "ripcord").unwrap()
    }

    fn there(wait: u64, tick: u64, again: u64) -> Way {
        Way::There(Times {
            wait: Duration::from_secs(wait),
            tick: Duration::from_secs(tick),
            again: Duration::from_secs(again),
        })
    }

    fn at(name: &str) -> Way {
        Way::Elsewhere(vec![name.to_owned()])
    }

    #[test]
    fn an_alert_goes_as_alertmanager_leads_it() {
        let shop = [("namespace", "shop"), ("alertname", "Slow")];
        for (routes, way) in [
            ("", at("pager")),
            ("routes: [{ receiver: ripcord }]", there(30, 300, 14_400)),
            // The first that takes it, and no other.
            (
                "routes: [{ receiver: mail }, { receiver: ripcord }]",
                at("mail"),
            ),
            (
                "routes: [{ receiver: mail, continue: true }, { receiver: ripcord, group_wait: 0s }]",
                there(0, 300, 14_400),
            ),
            // What a child does not say, its parent says; a child that takes it takes it from the parent.
            (
                "routes: [{ receiver: ripcord, group_interval: 10s, repeat_interval: 1m, routes: [{ group_wait: 1s }] }]",
                there(1, 10, 60),
            ),
            (
                "group_interval: 1m\nroutes: [{ receiver: ripcord, routes: [{ group_interval: 2s }] }]",
                there(30, 2, 14_400),
            ),
            // Two routes to it: the slowest in each.
            (
                "routes: [{ receiver: ripcord, continue: true, group_wait: 2m, group_interval: 1s, repeat_interval: 1m }, { receiver: ripcord, group_wait: 0s, group_interval: 10s, repeat_interval: 3m }]",
                there(120, 10, 180),
            ),
            (
                "routes: [{ receiver: ripcord, routes: [{ receiver: mail }] }]",
                at("mail"),
            ),
            // All three ways to write a matcher; each must hold, for the whole value.
            (
                "routes: [{ receiver: ripcord, matchers: ['namespace=~\"shop|pay\"'], match: { alertname: Slow }, match_re: { namespace: 'sh.p' } }]",
                there(30, 300, 14_400),
            ),
            (
                "routes: [{ receiver: ripcord, matchers: ['namespace=~\"sho\"'] }]",
                at("pager"),
            ),
            (
                "routes: [{ receiver: ripcord, matchers: ['namespace=\"shop\", alertname!~\"S.*\"'] }]",
                at("pager"),
            ),
            (
                "routes: [{ receiver: ripcord, match: { namespace: pay } }]",
                at("pager"),
            ),
            (
                "routes: [{ receiver: ripcord, match_re: { namespace: sho } }]",
                at("pager"),
            ),
            // A label that nobody names here: it may be so.
            (
                "routes: [{ receiver: ripcord, matchers: ['team=\"a\"', 'namespace=\"shop\"'] }]",
                Way::Perhaps,
            ),
            (
                "routes: [{ receiver: ripcord, matchers: ['team=\"a\"', 'namespace=\"pay\"'] }]",
                at("pager"),
            ),
            (
                "routes: [{ receiver: mail, matchers: [team=b] }, { receiver: ripcord, matchers: [team=a] }]",
                Way::Perhaps,
            ),
        ] {
            let tree = format!("receiver: pager\n{routes}\n");
            assert_eq!(out(&tree, &shop), way, "{routes}");
        }
        let tree = serde_saphyr::from_str("routes: [{ matchers: ['=x'] }]").unwrap();
        let wrong = way(&tree, &sample(&shop), |_| true).unwrap_err();
        assert!(wrong.contains("`=x`"), "{wrong}");
    }
}
