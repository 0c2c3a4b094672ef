//! Puts severe alerts on record that a trigger matched and that lead to no workload, so that people are told of them.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::Registrar;
use super::record::unplaced;
use super::request::Unplaced;
use crate::cluster::claims::Claimed;
use crate::intake::Answered;
use crate::rollback::name;
use crate::telemetry::TraceContext;

/// How many records are made within a day: a label that takes any value must not fill the namespace, nor the channel.
const A_DAY: usize = 30;

impl Registrar {
    /// Records alerts that lead to no workload, one record a day for each trigger and reason, and names it in their answers.
    ///
    /// What cannot be recorded is declined all the same, and comes again: nobody waits for this.
    pub(super) async fn tell(
        &self,
        alerts: Vec<Unplaced>,
        answers: &mut [(usize, Answered)],
        trace: &TraceContext,
    ) {
        let mut named: BTreeMap<String, Vec<Unplaced>> = BTreeMap::new();
        let day = (self.clock)().strftime("%Y%m%d").to_string();
        for alert in alerts {
            let reason = alert.finding.to_string();
            let name = name::unplaced(&alert.record.trigger, &reason, &day);
            named.entry(name).or_default().push(alert);
        }
        for (name, alerts) in named {
            let Some(rollback) = self.on_record(&name, &alerts, trace).await else {
                continue;
            };
            for (index, answer) in answers.iter_mut() {
                if alerts.iter().any(|alert| alert.index == *index) {
                    answer.rollback = Some(rollback.clone());
                }
            }
        }
    }

    /// The record of this name, made where there is none.
    async fn on_record(
        &self,
        name: &str,
        alerts: &[Unplaced],
        trace: &TraceContext,
    ) -> Option<String> {
        let (namespace, _) = self.caches.hold_at();
        let full_name = format!("{namespace}/{name}");
        if self.caches.rollbacks.get(namespace, name).is_some() {
            return Some(full_name);
        }
        let first = alerts.first()?;
        if !self.caches.rollbacks.filled(namespace) || self.enough(namespace) {
            tracing::warn!(trigger = first.record.trigger, alert = first.record.name, finding = %first.finding, "an alert leads to no workload, and people are not told");
            return None;
        }
        let records = alerts.iter().map(|alert| alert.record.clone()).collect();
        let record = unplaced(namespace, name, first.finding.clone(), records, trace);
        match self.cluster.claim(&record).await {
            Ok(Claimed::New(found) | Claimed::Taken(found)) => {
                self.caches.rollbacks.offer(namespace, name, *found);
                Some(full_name)
            }
            Err(error) => {
                tracing::warn!(rollback = full_name, %error, "an alert that leads to no workload cannot be recorded");
                None
            }
        }
    }

    /// Whether as many records were made today as there may be.
    fn enough(&self, namespace: &str) -> bool {
        let now = (self.clock)();
        let today = |received| now.duration_since(received) < SignedDuration::from_hours(24);
        let made = self.caches.rollbacks.select(namespace, |rollback| {
            rollback.spec.unplaced.is_some() && rollback.received().is_some_and(today)
        });
        made.len() >= A_DAY
    }
}
