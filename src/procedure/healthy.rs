//! `healthy`: every destination pod answers as healthy N times in a row, and so does the shared address if there is one.
//!
//! Pods are asked by their own addresses: a shared address may be answered by either version, and one good answer
//! proves one pod.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step, there};
use crate::reason::{Finding, Reason};
use crate::target::{Health, Probe, Release, Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Healthy {
    /// How many good answers in a row each pod must give.
    pub consecutive: u32,
    /// How long between two looks at one pod.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// How long the step may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    to: Release,
    /// The id that goes with this rollback's changes, by which a restarted destination is known.
    #[serde(default)]
    operation: String,
    health: Health,
    consecutive: u32,
    #[serde(with = "humantime_serde")]
    every: Duration,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Default for Healthy {
    fn default() -> Self {
        Self {
            consecutive: 3,
            every: Duration::from_secs(1),
            within: Duration::from_secs(120),
        }
    }
}

impl Step for Healthy {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        let health = target.health.clone().ok_or_else(|| {
            Reason::NotApplicable.because(format!(
                "target {} declares no `health`, which step `healthy` needs",
                target.name
            ))
        })?;
        Ok(Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            health,
            consecutive: self.consecutive,
            every: self.every,
            within: self.within,
        })
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        target.health.is_none().then(|| "health".to_owned())
    }

    fn probes(plan: &Plan, at: &Snapshot, seen: &[Sighting], now: Timestamp) -> Vec<Probe> {
        let every = SignedDuration::try_from(plan.every).unwrap_or(SignedDuration::MAX);
        let due = |of: &str| {
            let last = seen.iter().rev().find(|sighting| sighting.of == of);
            last.is_none_or(|last| now.duration_since(last.at) >= every)
        };
        let hash = at.arrived(&plan.to, &plan.operation);
        asked(plan, at, hash.unwrap_or(&plan.to.hash))
            .into_iter()
            .filter(|(of, _)| due(of))
            .filter_map(|(of, url)| {
                Some(Probe::Health {
                    of,
                    url: url?,
                    health: plan.health.clone(),
                })
            })
            .collect()
    }

    fn looks_back(plan: &Plan) -> usize {
        usize::try_from(plan.consecutive).unwrap_or(usize::MAX)
    }

    fn next(plan: &Plan, at: &Snapshot, seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let asked = asked(plan, at, hash);
        let pods = at.pods_of(hash).count();
        let streak = |of: &str| {
            let answers = seen.iter().rev().filter(|sighting| sighting.of == of);
            u32::try_from(answers.take_while(|sighting| sighting.good).count()).unwrap_or(u32::MAX)
        };
        let wanted = usize::try_from(rollout.replicas).unwrap_or(0).max(1);
        let good = asked
            .iter()
            .filter(|(of, _)| streak(of) >= plan.consecutive)
            .count();
        let bad = asked.iter().find_map(|(of, _)| {
            seen.iter()
                .rev()
                .find(|sighting| sighting.of == *of)
                .filter(|sighting| !sighting.good)
        });
        let summary = format!(
            "{good} of {} answered well {} times in a row",
            asked.len().max(wanted),
            plan.consecutive
        );
        if pods >= wanted && good == asked.len() {
            let last = seen
                .last()
                .map(|sighting| format!(", last {}", sighting.said))
                .unwrap_or_default();
            return Next::Done(Reason::Healthy.because(format!("{summary}{last}")));
        }
        let finding = match bad {
            Some(sighting) => Reason::Unhealthy.because(format!(
                "{summary}; {} answers {}",
                sighting.of, sighting.said
            )),
            None if pods < wanted => {
                Reason::PodsStarting.because(format!("{pods} of {wanted} destination pods exist"))
            }
            None => Reason::Sampling.because(summary),
        };
        let started = past.watched.or(past.started).unwrap_or(now);
        if now.duration_since(started)
            >= SignedDuration::try_from(plan.within).unwrap_or(SignedDuration::MAX)
        {
            return Next::Fail(finding);
        }
        Next::Wait(finding)
    }
}

/// Who must answer: every destination pod, by name, and the shared address. A pod without an address has no URL yet.
fn asked(plan: &Plan, at: &Snapshot, hash: &str) -> Vec<(String, Option<String>)> {
    let health = &plan.health;
    let pods = at.pods_of(hash).map(|pod| {
        let url = pod.url(health.port, &health.path);
        (pod.name.clone(), url)
    });
    let shared = plan
        .health
        .url
        .iter()
        .map(|url| (url.clone(), Some(url.clone())));
    pods.chain(shared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::snapshot::tests::{in_flight, pod, restored};

    fn plan() -> Plan {
        Plan {
            to: Release {
                uid: "uid".into(),
                revision: 1,
                hash: "good".into(),
                images: vec![],
            },
            operation: "op".into(),
            health: Health {
                path: "/health".into(),
                port: 8000,
                pointer: None,
                equals: None,
                url: None,
                timeout: Duration::from_secs(1),
            },
            consecutive: 2,
            every: Duration::from_secs(1),
            within: Duration::from_secs(60),
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn sighting(of: &str, at: i64, good: bool) -> Sighting {
        Sighting {
            of: of.into(),
            at: second(at),
            good,
            said: format!("status=\"{good}\""),
            value: None,
        }
    }

    fn next(seen: &[Sighting], now: i64) -> Next {
        let mut past = Entry::pending("healthy");
        past.started = Some(second(0));
        Healthy::next(&plan(), &restored(), seen, &past, second(now))
    }

    #[test]
    fn every_pod_must_answer_well_in_a_row() {
        let round = |at, good| {
            ["good-1", "good-2", "good-3"]
                .map(|p| sighting(p, at, good))
                .to_vec()
        };
        assert!(matches!(next(&[], 0), Next::Wait(_)));
        assert!(matches!(next(&round(1, true), 1), Next::Wait(_)));
        let mut seen = [round(1, true), round(2, true)].concat();
        assert!(matches!(next(&seen, 2), Next::Done(_)));
        seen.push(sighting("good-2", 3, false));
        let Next::Wait(finding) = next(&seen, 3) else {
            panic!("one bad answer starts the row again")
        };
        assert_eq!(
            finding.said,
            "2 of 3 answered well 2 times in a row; good-2 answers status=\"false\""
        );
    }

    #[test]
    fn a_missing_pod_is_not_healthy() {
        let mut at = restored();
        at.pods.pop();
        let seen: Vec<_> = (1..4)
            .flat_map(|n| ["good-1", "good-2"].map(|p| sighting(p, n, true)))
            .collect();
        let past = Entry::pending("healthy");
        let Next::Wait(finding) = Healthy::next(&plan(), &at, &seen, &past, second(4)) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::PodsStarting);
    }

    #[test]
    fn it_fails_in_its_time_with_what_was_seen_last() {
        let seen = [sighting("good-1", 59, false)];
        let Next::Fail(finding) = next(&seen, 60) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::Unhealthy);
        assert!(
            finding.said.contains("good-1 answers status=\"false\""),
            "{}",
            finding.said
        );
    }

    #[test]
    fn a_time_in_which_nobody_could_look_is_not_held_against_it() {
        let mut past = Entry::pending("healthy");
        past.started = Some(second(0));
        past.watched = Some(second(100));
        let seen = [sighting("good-1", 101, true)];
        let next = |now| Healthy::next(&plan(), &restored(), &seen, &past, second(now));
        assert!(matches!(next(101), Next::Wait(_)));
        assert!(matches!(next(160), Next::Fail(_)));
    }

    #[test]
    fn a_new_release_is_not_judged() {
        let past = Entry::pending("healthy");
        assert!(matches!(
            Healthy::next(&plan(), &in_flight(), &[], &past, second(0)),
            Next::Yield(_)
        ));
    }

    #[test]
    fn only_destination_pods_with_an_address_are_asked_and_only_when_due() {
        let mut at = restored();
        at.pods[0].ip = None;
        at.pods[1].ip = Some("fd00::1".into());
        at.pods.push(pod("bad-1", "bad"));
        let of = |seen: &[Sighting], now| {
            Healthy::probes(&plan(), &at, seen, second(now))
                .into_iter()
                .map(|p| match p {
                    Probe::Health { url, .. } => url,
                    Probe::Metric { .. } => panic!("{p:?}"),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(&[], 0),
            [
                "http://[fd00::1]:8000/health",
                "http://127.0.0.1:8000/health"
            ]
        );
        assert_eq!(
            of(
                &[sighting("good-2", 0, true), sighting("good-3", 0, true)],
                0
            ),
            [""; 0]
        );
        assert_eq!(
            of(
                &[sighting("good-2", 0, true), sighting("good-3", 0, true)],
                1
            )
            .len(),
            2
        );
    }
}
