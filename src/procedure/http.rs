//! `http`: every destination pod has answered a request of the target's, such as its warm-up, as it should.
//!
//! Pods are asked by their own addresses, one after the other unless the policy says otherwise: all at once, with a cache
//! that was just emptied, would fall upon what stands behind it. A request may be sent twice: which pods had answered is
//! not on record, so that whoever goes on after a crash begins with all of them, and says so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step, is_over, there};
use crate::reason::{Finding, Reason};
use crate::target::snapshot::Pod;
use crate::target::{Call, Effect, Release, Sighting, Snapshot, Target, WarmUp};

/// How long after an answer that was not as it should be the pod is asked again.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Which of the target's requests is sent.
    pub request: Request,
    /// How many pods are asked at once.
    pub concurrency: u32,
    /// How long the step may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// Names a request of a target.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The one that warms a pod up.
    #[default]
    WarmUp,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    to: Release,
    operation: String,
    warm_up: WarmUp,
    concurrency: u32,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            request: Request::default(),
            concurrency: 1,
            within: Duration::from_secs(120),
        }
    }
}

impl Step for Http {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        let Request::WarmUp = self.request;
        let warm_up = target.warm_up.clone().ok_or_else(|| {
            Reason::NotApplicable.because(format!(
                "target {} declares no `warm_up`, which step `http` needs",
                target.name
            ))
        })?;
        Ok(Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            warm_up,
            concurrency: self.concurrency,
            within: self.within,
        })
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        target.warm_up.is_none().then(|| "warm_up".to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let (rollout, hash) = match there(at, &plan.to, &plan.operation) {
            Ok(there) => there,
            Err(next) => return next,
        };
        let last = |pod: &Pod| seen.iter().rev().find(|sighting| sighting.of == pod.name);
        let mut pods: Vec<&Pod> = at.pods_of(hash).collect();
        // Those that were not asked yet first, then those that were asked longest ago.
        pods.sort_by_key(|pod| (last(pod).map(|sighting| sighting.at), &pod.name));
        let cold: Vec<&Pod> = pods
            .iter()
            .copied()
            .filter(|pod| last(pod).is_none_or(|sighting| !sighting.good))
            .collect();
        let wanted = usize::try_from(rollout.replicas).unwrap_or(0);
        let warm = pods.len() - cold.len();
        let all = pods.len().max(wanted);
        if cold.is_empty() && pods.len() >= wanted {
            let answered = pods.first().and_then(|pod| last(pod));
            let answered = answered.map_or_else(String::new, |it| format!(" with {}", it.said));
            let said = format!("{warm} of {all} pods answered {}{answered}", plan.warm_up);
            return Next::Done(Reason::Warmed.because(format!("{said}{}", repeats(past, all))));
        }
        let bad = cold.iter().find_map(|pod| last(pod));
        let bad = bad.map_or_else(String::new, |it| format!("; {} answers {}", it.of, it.said));
        let said = format!("{warm} of {all} pods answered {}{bad}", plan.warm_up);
        if is_over(plan.within, past, now) {
            let said = format!("{said}, after {:?}", plan.within);
            return Next::Fail(Reason::WarmUpFailed.because(said));
        }
        let due = cold
            .into_iter()
            .filter(|pod| last(pod).is_none_or(|it| now.duration_since(it.at) >= AGAIN));
        let calls = due.filter_map(|pod| {
            Some(Call {
                of: pod.name.clone(),
                url: pod.url(plan.warm_up.port, &plan.warm_up.path)?,
                request: plan.warm_up.clone(),
            })
        });
        let at_once = usize::try_from(plan.concurrency).unwrap_or(1).max(1);
        let calls: Vec<_> = calls.take(at_once).collect();
        if calls.is_empty() {
            return Next::Wait(Reason::Warming.because(said));
        }
        Next::Do(Effect::Call(calls))
    }
}

/// That more was asked than there are pods, where it was.
fn repeats(past: &Entry, pods: usize) -> String {
    if usize::try_from(past.attempts).unwrap_or(0) <= pods {
        return String::new();
    }
    "; some were asked more than once, because an answer was lost or was not as it should be".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollback::history::tests::target;
    use crate::target::call::tests::warm_up;
    use crate::target::snapshot::tests::{promoted, restored};

    fn plan(concurrency: u32) -> Plan {
        Plan {
            to: Release {
                uid: "uid".into(),
                revision: 1,
                hash: "good".into(),
                images: vec![],
            },
            operation: "op".into(),
            warm_up: warm_up(),
            concurrency,
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
            said: if good { "HTTP 200" } else { "HTTP 503" }.into(),
            value: None,
        }
    }

    fn past() -> Entry {
        let mut past = Entry::pending("http");
        past.started = Some(second(0));
        past
    }

    fn next(at: &Snapshot, seen: &[Sighting], now: i64) -> Next {
        Http::next(&plan(1), at, seen, &past(), second(now))
    }

    /// Which pods are asked.
    fn asked(next: &Next) -> Vec<&str> {
        let Next::Do(Effect::Call(calls)) = next else {
            panic!("{next:?}")
        };
        calls.iter().map(|call| call.of.as_str()).collect()
    }

    #[test]
    fn pods_are_asked_one_after_the_other_and_each_once() {
        let mut seen = Vec::new();
        for pod in ["good-1", "good-2", "good-3"] {
            assert_eq!(asked(&next(&restored(), &seen, 1)), [pod]);
            seen.push(sighting(pod, 1, true));
        }
        let Next::Done(finding) = next(&restored(), &seen, 2) else {
            panic!()
        };
        assert_eq!(
            finding.said,
            "3 of 3 pods answered POST /warmup with HTTP 200"
        );
    }

    #[test]
    fn as_many_at_once_as_the_policy_says_and_no_more() {
        let next = Http::next(&plan(2), &restored(), &[], &past(), second(0));
        assert_eq!(asked(&next), ["good-1", "good-2"]);
    }

    #[test]
    fn one_bad_answer_is_asked_for_again_after_the_others_and_fails_the_step_in_its_time() {
        let mut seen = vec![sighting("good-1", 1, false)];
        assert_eq!(asked(&next(&restored(), &seen, 1)), ["good-2"]);
        seen.extend([sighting("good-2", 1, true), sighting("good-3", 1, true)]);
        assert!(matches!(next(&restored(), &seen, 1), Next::Wait(_)));
        assert_eq!(asked(&next(&restored(), &seen, 2)), ["good-1"]);
        let Next::Fail(finding) = next(&restored(), &seen, 60) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::WarmUpFailed);
        assert_eq!(
            finding.said,
            "2 of 3 pods answered POST /warmup; good-1 answers HTTP 503, after 60s"
        );
    }

    #[test]
    fn whoever_goes_on_after_a_crash_begins_with_all_and_says_so() {
        let mut past = past();
        past.attempts = 5;
        let Next::Do(_) = Http::next(&plan(1), &restored(), &[], &past, second(1)) else {
            panic!()
        };
        let seen = ["good-1", "good-2", "good-3"].map(|pod| sighting(pod, 1, true));
        let Next::Done(finding) = Http::next(&plan(1), &restored(), &seen, &past, second(1)) else {
            panic!()
        };
        assert!(finding.said.contains("more than once"), "{}", finding.said);
    }

    #[test]
    fn a_pod_that_is_missing_is_waited_for() {
        let mut at = restored();
        at.pods.pop();
        let seen = ["good-1", "good-2"].map(|pod| sighting(pod, 1, true));
        assert!(matches!(next(&at, &seen, 2), Next::Wait(_)));
        assert!(matches!(next(&promoted(), &[], 0), Next::Yield(_)));
    }

    #[test]
    fn a_target_without_a_warm_up_is_not_planned() {
        let journey = Journey {
            operation: "op".into(),
            from: plan(1).to,
            to: plan(1).to,
            served: true,
            owner: None,
        };
        let planned = Http::default().plan(&target(), &journey, &restored());
        assert_eq!(planned.unwrap_err().reason, Reason::NotApplicable);
    }
}
