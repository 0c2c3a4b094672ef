//! Puts severe alerts on record that a trigger matched and that lead to no workload, so that people are told of them.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Registrar;
use super::record::unplaced;
use super::request::Unplaced;
use crate::alert::Severity;
use crate::cluster::claims::Claimed;
use crate::intake::Answered;
use crate::rollback::name;
use crate::telemetry::TraceContext;

/// How many records are made within a day for one trigger and severity: a label that takes any value must not fill the
/// namespace, nor ring for ever.
const A_DAY: usize = 10;
/// How long an answer waits for its records. What is not made by then is made when the alert comes again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is said at most that people are not told.
const MENTION: Duration = Duration::from_secs(60);
/// Whose turn it is; no target has this name.
const TURN: &str = "-";

impl Registrar {
    /// Records alerts that lead to no workload, one record a day for each trigger and reason, and names it in their answers.
    ///
    /// They are declined whatever becomes of their records. The answers are in the order of their indices.
    pub(super) async fn tell(
        &self,
        alerts: Vec<Unplaced>,
        answers: &mut [(usize, Answered)],
        trace: &TraceContext,
    ) {
        let day = (self.clock)().strftime("%Y%m%d").to_string();
        let mut named: BTreeMap<String, Vec<Unplaced>> = BTreeMap::new();
        for alert in alerts {
            let reason = alert.finding.to_string();
            let name = name::unplaced(&alert.record.trigger, &reason, &day);
            named.entry(name).or_default().push(alert);
        }
        let (namespace, _) = self.caches.hold_at();
        let unknown = |name: &&String| self.caches.rollbacks.get(namespace, name).is_none();
        if named.keys().any(|name| unknown(&name)) {
            let told = tokio::time::timeout(PATIENCE, self.put_on_record(&named, trace)).await;
            if let Err(why) = told.unwrap_or_else(|_| Err("it takes too long".to_owned())) {
                self.mention(&why, named.keys().filter(unknown).count());
            }
        }
        for (name, alerts) in named.iter().filter(|(name, _)| !unknown(name)) {
            for alert in alerts {
                let place = answers.binary_search_by_key(&alert.index, |(index, _)| *index);
                if let Some((_, answer)) = place.ok().and_then(|place| answers.get_mut(place)) {
                    answer.rollback = Some(format!("{namespace}/{name}"));
                }
            }
        }
    }

    /// Makes the records that do not exist yet, one notification at a time.
    ///
    /// # Errors
    /// Why one is missing.
    async fn put_on_record(
        &self,
        named: &BTreeMap<String, Vec<Unplaced>>,
        trace: &TraceContext,
    ) -> Result<(), String> {
        let (namespace, _) = self.caches.hold_at();
        let turn = self.turn(TURN);
        let _turn = turn.lock().await;
        if !self.caches.rollbacks.filled(namespace) {
            return Err("the rollbacks of Ripcord's own namespace are not listed".to_owned());
        }
        let mut enough = false;
        for (name, alerts) in named {
            let most_severe = alerts.iter().min_by_key(|alert| alert.record.severity);
            let Some(Unplaced {
                finding, record, ..
            }) = most_severe
            else {
                continue;
            };
            if self.caches.rollbacks.get(namespace, name).is_some() {
                continue;
            }
            if self.enough(namespace, &record.trigger, record.severity) {
                enough = true;
                continue;
            }
            let records = alerts.iter().map(|alert| alert.record.clone()).collect();
            let record = unplaced(namespace, name, finding.clone(), records, trace);
            let claimed = self.cluster.claim(&record).await;
            let (Claimed::New(found) | Claimed::Taken(found)) =
                claimed.map_err(|error| error.to_string())?;
            self.caches.rollbacks.offer(namespace, name, *found);
        }
        if enough {
            return Err(format!("{A_DAY} were told of one trigger within a day"));
        }
        Ok(())
    }

    /// Whether as many records were made for this trigger today as there may be.
    fn enough(&self, namespace: &str, trigger: &str, severity: Severity) -> bool {
        let now = (self.clock)();
        let today = |received| now.duration_since(received) < SignedDuration::from_hours(24);
        let made = self.caches.rollbacks.select(namespace, |rollback| {
            rollback.spec.trigger.as_deref() == Some(trigger)
                && rollback.spec.severity == severity
                && rollback.received().is_some_and(today)
        });
        made.len() >= A_DAY
    }

    /// Says now and then that people are not told.
    fn mention(&self, why: &str, records: usize) {
        let now = Instant::now();
        let mut mentioned = self
            .mentioned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if mentioned.is_none_or(|at| now.duration_since(at) >= MENTION) {
            *mentioned = Some(now);
            tracing::warn!(
                why,
                records,
                "alerts lead to no workload, and people are not told of all of them"
            );
        }
    }
}
