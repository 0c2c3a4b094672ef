//! `metric`: a number of Prometheus is good N times in a row.
//!
//! No data is not good: a release without traffic, or one that nobody scrapes, has proved nothing. What the query selects is
//! the policy's; by the label of the pod-template hash it speaks of the destination alone, also where a restart gave that
//! another hash.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step, is_over, there};
use crate::reason::{Finding, Reason};
use crate::target::link::LinkError;
use crate::target::measure::{Bound, Measure, QueryFacts};
use crate::target::{Probe, Release, Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What the number is called, for people.
    pub name: String,
    /// The PromQL expression, as a template.
    pub query: String,
    /// The unit that is said behind the number.
    #[serde(default)]
    pub unit: Option<String>,
    /// It is good below this; either this or `good_above`.
    #[serde(default)]
    pub good_below: Option<f64>,
    /// It is good above this.
    #[serde(default)]
    pub good_above: Option<f64>,
    /// How many good samples in a row there must be.
    #[serde(default = "Metric::default_consecutive")]
    pub consecutive: u32,
    /// How long between two samples.
    #[serde(default = "Metric::default_every", with = "humantime_serde")]
    pub every: Duration,
    /// How long the step may take.
    #[serde(default = "Metric::default_within", with = "humantime_serde")]
    pub within: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    to: Release,
    /// The id that goes with this rollback's changes, by which a restarted destination is known.
    operation: String,
    namespace: String,
    workload: String,
    measure: Measure,
    consecutive: u32,
    #[serde(with = "humantime_serde")]
    every: Duration,
    #[serde(with = "humantime_serde")]
    within: Duration,
}

impl Metric {
    fn default_consecutive() -> u32 {
        3
    }

    fn default_every() -> Duration {
        Duration::from_secs(15)
    }

    fn default_within() -> Duration {
        Duration::from_secs(300)
    }
}

impl Step for Metric {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        let cannot = |said: String| {
            Reason::NotApplicable.because(format!("step `metric` ({}): {said}", self.name))
        };
        let good = Bound::of(self.good_below, self.good_above)
            .ok_or_else(|| cannot("it has no `good_below` or `good_above`".to_owned()))?;
        let measure = Measure {
            name: self.name.clone(),
            query: self.query.clone(),
            unit: self.unit.clone(),
            good,
        };
        let plan = Plan {
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            namespace: target.workload.namespace.clone(),
            workload: target.workload.name.clone(),
            measure,
            consecutive: self.consecutive,
            every: self.every,
            within: self.within,
        };
        // What is to be made has no hash yet: any stands for it.
        let known = !plan.to.is_to_be_made();
        let hash = if known { plan.to.hash.as_str() } else { "0" };
        plan.query(hash)
            .map_err(|error| cannot(error.to_string()))?;
        Ok(plan)
    }

    fn probes(plan: &Plan, at: &Snapshot, seen: &[Sighting], now: Timestamp) -> Vec<Probe> {
        let every = SignedDuration::try_from(plan.every).unwrap_or(SignedDuration::MAX);
        let due = seen
            .last()
            .is_none_or(|last| now.duration_since(last.at) >= every);
        if !due {
            return Vec::new();
        }
        let arrived = at.arrived(&plan.to, &plan.operation);
        let planned = (!plan.to.is_to_be_made()).then_some(plan.to.hash.as_str());
        // It was tried when the rollback was planned, and another hash fits as well.
        let query = arrived.or(planned).and_then(|hash| plan.query(hash).ok());
        let probe = query.map(|query| Probe::Metric {
            of: plan.measure.name.clone(),
            query,
        });
        probe.into_iter().collect()
    }

    fn looks_back(plan: &Plan) -> usize {
        usize::try_from(plan.consecutive).unwrap_or(usize::MAX)
    }

    fn next(plan: &Plan, at: &Snapshot, seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        if let Err(next) = there(at, &plan.to, &plan.operation) {
            return next;
        }
        let good = |sighting: &&Sighting| {
            let value = sighting.value;
            value.is_some_and(|value| plan.measure.good.holds(value))
        };
        let streak = seen.iter().rev().take_while(good).count();
        let streak = u32::try_from(streak).unwrap_or(u32::MAX);
        let last = seen.last();
        let said = match last {
            Some(Sighting {
                value: Some(value), ..
            }) => plan.measure.says(*value),
            Some(unknown) => format!("{}: {}", plan.measure.name, unknown.said),
            None => format!("{} is being asked for", plan.measure.name),
        };
        let counted = format!(
            "{said}, good {streak} of {} times in a row",
            plan.consecutive
        );
        if streak >= plan.consecutive {
            return Next::Done(Reason::MetricGood.because(counted));
        }
        let finding = match last {
            Some(last) if last.value.is_none() => Reason::MetricUnknown.because(said),
            Some(last) if !good(&last) => Reason::MetricBad.because(said),
            _ => Reason::Sampling.because(counted),
        };
        if is_over(plan.within, past, now) {
            return Next::Fail(finding);
        }
        Next::Wait(finding)
    }
}

impl Plan {
    /// The query about a destination that has this hash.
    fn query(&self, hash: &str) -> Result<String, LinkError> {
        let facts = QueryFacts {
            namespace: self.namespace.clone(),
            workload: self.workload.clone(),
            hash: hash.to_owned(),
        };
        self.measure.filled(&facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::snapshot::tests::{in_flight, restored};

    fn plan() -> Plan {
        Plan {
            to: Release {
                uid: "uid".into(),
                revision: 1,
                hash: "good".into(),
                images: vec![],
            },
            operation: "op".into(),
            namespace: "prod".into(),
            workload: "x".into(),
            measure: Measure {
                name: "p95".into(),
                query: "p95{ns=\"{{ namespace }}\",hash=\"{{ hash }}\"}".into(),
                unit: Some("ms".into()),
                good: Bound::Below(260.0),
            },
            consecutive: 3,
            every: Duration::from_secs(15),
            within: Duration::from_secs(120),
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn seen(values: &[Option<f64>]) -> Vec<Sighting> {
        let all = values.iter().zip(1..);
        all.map(|(value, at)| Sighting {
            of: "p95".into(),
            at: second(at),
            good: value.is_some(),
            said: "no series".into(),
            value: *value,
        })
        .collect()
    }

    fn next(values: &[Option<f64>], now: i64) -> Next {
        let mut past = Entry::pending("metric");
        past.started = Some(second(0));
        Metric::next(&plan(), &restored(), &seen(values), &past, second(now))
    }

    fn waits(values: &[Option<f64>]) -> Finding {
        match next(values, 100) {
            Next::Wait(finding) => finding,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_still_to_be_made_is_asked_for_once_it_has_a_hash() {
        let mut plan = plan();
        plan.to.hash = "sha256:0f".into();
        let none = Metric::probes(&plan, &in_flight(), &[], second(1));
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn enough_good_samples_in_a_row_are_needed() {
        let good = Some(212.0);
        assert_eq!(waits(&[]).reason, Reason::Sampling);
        assert_eq!(waits(&[good, good]).reason, Reason::Sampling);
        let Next::Done(finding) = next(&[good, good, good], 100) else {
            panic!()
        };
        assert_eq!(
            finding.said,
            "p95 212 ms (good below 260 ms), good 3 of 3 times in a row"
        );
        let bad = waits(&[good, good, Some(260.0)]);
        assert_eq!(bad.reason, Reason::MetricBad);
        assert_eq!(bad.said, "p95 260 ms (good below 260 ms)");
        assert_eq!(waits(&[Some(300.0), good, good]).reason, Reason::Sampling);
    }

    #[test]
    fn no_data_is_not_good() {
        let good = Some(212.0);
        let unknown = waits(&[good, good, None]);
        assert_eq!(unknown.reason, Reason::MetricUnknown);
        assert_eq!(unknown.said, "p95: no series");
        assert_eq!(waits(&[None, good, good]).reason, Reason::Sampling);
        let Next::Fail(finding) = next(&[None], 120) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::MetricUnknown);
    }

    #[test]
    fn a_time_in_which_nobody_could_look_is_not_held_against_it() {
        let mut past = Entry::pending("metric");
        past.started = Some(second(0));
        past.watched = Some(second(100));
        let next = |now| Metric::next(&plan(), &restored(), &[], &past, second(now));
        assert!(matches!(next(219), Next::Wait(_)));
        assert!(matches!(next(220), Next::Fail(_)));
    }

    #[test]
    fn a_new_release_is_not_judged() {
        let past = Entry::pending("metric");
        let next = Metric::next(&plan(), &in_flight(), &[], &past, second(0));
        assert!(matches!(next, Next::Yield(_)));
    }

    #[test]
    fn a_restarted_destination_is_asked_for_by_its_new_hash() {
        let at = crate::target::restart::tests::restarted_deployment();
        let asked = Metric::probes(&plan(), &at, &[], second(0));
        let query = "p95{ns=\"prod\",hash=\"again\"}".to_owned();
        let of = "p95".to_owned();
        assert_eq!(asked, [Probe::Metric { of, query }]);
        let past = Entry::pending("metric");
        let next = |plan: &Plan| Metric::next(plan, &at, &seen(&[Some(1.0)]), &past, second(1));
        assert!(matches!(next(&plan()), Next::Wait(_)));
        let somebody_elses = Plan {
            operation: "another".into(),
            ..plan()
        };
        assert!(matches!(next(&somebody_elses), Next::Yield(_)));
    }

    #[test]
    fn it_is_asked_for_when_it_is_due() {
        let ask =
            |seen: &[Sighting], now| Metric::probes(&plan(), &restored(), seen, second(now)).len();
        assert_eq!(ask(&[], 0), 1);
        assert_eq!(ask(&seen(&[None]), 15), 0);
        assert_eq!(ask(&seen(&[None]), 16), 1);
    }

    #[test]
    fn the_query_is_made_for_the_destination_once() {
        let step = Metric {
            name: "p95".into(),
            query: "p95{ns=\"{{ namespace }}\",hash=\"{{ hash }}\"}".into(),
            unit: None,
            good_below: Some(260.0),
            good_above: None,
            consecutive: 3,
            every: Duration::from_secs(1),
            within: Duration::from_secs(60),
        };
        let target = crate::rollback::history::tests::target();
        let mut journey = Journey {
            operation: "op".into(),
            from: plan().to,
            to: plan().to,
            served: true,
            owner: None,
        };
        let made = step.plan(&target, &journey, &restored()).unwrap();
        let asked = Metric::probes(&made, &restored(), &[], second(0));
        let of = "p95".to_owned();
        let query = "p95{ns=\"prod\",hash=\"good\"}".to_owned();
        assert_eq!(asked, [Probe::Metric { of, query }]);
        journey.to.hash = "x\"}".into();
        let refused = step.plan(&target, &journey, &restored()).unwrap_err();
        assert_eq!(refused.reason, Reason::NotApplicable);
    }
}
