//! What is read from a rollback's object, whatever of it is there already.

use jiff::Timestamp;

use super::{AlertRecord, Rollback, RollbackStatus};
use crate::alert::Severity;
use crate::alert::payload::Episode;
use crate::rollback::Phase;
use crate::target::Release;

// === impl AlertRecord ===

impl AlertRecord {
    /// Which firing of which alert this is.
    #[must_use]
    pub fn episode(&self) -> Episode {
        Episode {
            fingerprint: self.fingerprint.clone(),
            starts_at: self.began,
        }
    }
}

// === impl Rollback ===

impl Rollback {
    /// The status, or the one that every rollback begins with.
    #[must_use]
    pub fn state(&self) -> std::borrow::Cow<'_, RollbackStatus> {
        self.status.as_ref().map_or_else(
            || std::borrow::Cow::Owned(RollbackStatus::default()),
            std::borrow::Cow::Borrowed,
        )
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.status
            .as_ref()
            .map_or(Phase::Pending, |status| status.phase)
    }

    /// Its name, or nothing for an object that was never stored.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `namespace/name`, as people write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// When its first alert was received.
    #[must_use]
    pub fn received(&self) -> Option<Timestamp> {
        self.spec
            .received
            .or_else(|| self.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// From when the time in which a start is allowed counts, and the budget: the receipt, or the approval where one was
    /// waited for.
    #[must_use]
    pub fn counts_from(&self) -> Option<Timestamp> {
        let asked = self.status.as_ref().and_then(|it| it.run.asked.as_ref());
        asked
            .and_then(|asked| asked.released)
            .or_else(|| self.received())
    }

    /// When it was answered whether it may run: as the API server noted the write, else as whoever answered says, and never
    /// later than `now`.
    #[must_use]
    pub fn answered(&self, now: Timestamp) -> Option<Timestamp> {
        let approval = self.spec.approval.as_ref()?;
        let writes = self.metadata.managed_fields.iter().flatten();
        let noted = writes
            .filter(|write| {
                let fields = write.fields_v1.as_ref();
                fields.is_some_and(|it| it.0.pointer("/f:spec/f:approval").is_some())
            })
            .filter_map(|write| write.time.as_ref().map(|time| time.0))
            .max();
        Some(noted.or(approval.at).unwrap_or(now).min(now))
    }

    /// The record of this firing, with its end where that is known.
    #[must_use]
    pub fn record(&self, episode: &Episode) -> Option<&AlertRecord> {
        let joined = self.status.iter().flat_map(|status| &status.alerts.items);
        joined
            .chain(&self.spec.alerts)
            .find(|record| record.episode() == *episode)
    }

    /// The end of this very firing, where it is on record.
    #[must_use]
    pub fn recorded_end(&self, episode: &Episode) -> Option<Timestamp> {
        self.record(episode)?.ended
    }

    /// Whether this firing may be one of those that were counted with the request and not listed: some were, it began
    /// before the request was received, and it is no more severe than what is listed.
    #[must_use]
    pub fn may_count(&self, alert: &AlertRecord) -> bool {
        self.spec.alerts_omitted > 0
            && self
                .received()
                .is_some_and(|received| alert.began <= received)
            && !alert.severity.is_more_severe_than(self.severity())
    }

    /// Every firing on record, each once, with its end where that is known.
    #[must_use]
    pub fn records(&self) -> Vec<&AlertRecord> {
        let joined: Vec<_> = self
            .status
            .iter()
            .flat_map(|status| &status.alerts.items)
            .collect();
        let first = self.spec.alerts.iter();
        let first: Vec<_> = first
            .filter(|record| {
                !joined
                    .iter()
                    .any(|other| other.episode() == record.episode())
            })
            .collect();
        first.into_iter().chain(joined).collect()
    }

    /// Whether every alert that asked for this rollback is known to have ended. One that was not listed counts as firing,
    /// and a rollback that no alert asked for never counts as ended.
    #[must_use]
    pub fn all_ended(&self) -> bool {
        let omitted = self.spec.alerts_omitted + self.state().alerts.omitted;
        let records = self.records();
        omitted == 0
            && !records.is_empty()
            && records.iter().all(|record| self.end_of(record).is_some())
    }

    /// When a firing ended, where that is known. One that came back must have ended before: Alertmanager says nothing of an
    /// end that lies between two of its notifications.
    #[must_use]
    pub fn end_of(&self, record: &AlertRecord) -> Option<Timestamp> {
        let records = self.records().into_iter();
        let again =
            records.filter(|it| it.fingerprint == record.fingerprint && it.began > record.began);
        record.ended.or_else(|| again.map(|it| it.began).min())
    }

    /// The severity of the most severe alert on record, or the request's own.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.most_severe()
            .map_or(self.spec.severity, |record| record.severity)
    }

    /// The most severe alert on record, the first of them; it decides severity and procedure.
    #[must_use]
    pub fn most_severe(&self) -> Option<&AlertRecord> {
        self.records()
            .into_iter()
            .min_by_key(|record| (record.severity, record.received))
    }

    /// The release to get away from, as far as it is known.
    #[must_use]
    pub fn from(&self) -> Option<&Release> {
        let planned = self
            .status
            .as_ref()
            .and_then(|status| status.plan.as_ref())
            .map(|plan| &plan.from);
        planned.or(self.spec.release.as_ref())
    }

    /// The release to return to, once it is planned.
    #[must_use]
    pub fn to(&self) -> Option<&Release> {
        self.status
            .as_ref()
            .and_then(|status| status.plan.as_ref())
            .map(|plan| &plan.to)
    }

    /// Whether it has not ended and may act.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.spec.mode.acts() && !self.phase().ended()
    }

    /// Whether it is open and may act, and no drill: what it asks for goes before any drill. What waits for a person keeps
    /// nobody waiting.
    #[must_use]
    pub fn goes_first(&self) -> bool {
        self.is_open() && !self.spec.drill && self.phase() != Phase::AwaitingApproval
    }

    /// Whether a change was made, or may have been made.
    #[must_use]
    pub fn touched(&self) -> bool {
        let state = self.state();
        state.run.first_mutation.is_some()
            || state.run.steps.iter().any(|entry| entry.intent.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollback::given;

    /// One of which these firings are on record: fingerprint, when it began, and when it ended.
    fn of(alerts: &[(&str, i64, Option<i64>)]) -> Rollback {
        let at = |second: i64| Timestamp::from_second(second).unwrap().to_string();
        let record = |(fingerprint, began, ended): &(&str, i64, Option<i64>)| {
            json!({
                "fingerprint": fingerprint, "name": "PinnHealthCheckFailing", "began": at(*began), "received": at(*began),
                "severity": "P1", "trigger": "health", "procedure": "blue-green", "ended": ended.map(at),
            })
        };
        let mut json = given::succeeded("api");
        json["spec"]["alerts"] = json!([record(&alerts[0])]);
        json["status"]["alerts"] =
            json!({ "seq": 1, "items": alerts[1..].iter().map(record).collect::<Vec<_>>() });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_firing_that_came_back_has_ended_before() {
        let back = of(&[("a", 10, None), ("a", 20, None), ("a", 30, Some(40))]);
        assert!(back.all_ended());
        let ends = back
            .records()
            .into_iter()
            .map(|it| back.end_of(it).unwrap());
        let ends: Vec<_> = ends.map(Timestamp::as_second).collect();
        assert_eq!(ends, [20, 30, 40]);
    }

    #[test]
    fn the_last_of_them_goes_on_until_its_end_is_told() {
        assert!(!of(&[("a", 10, Some(15)), ("a", 20, None)]).all_ended());
    }

    #[test]
    fn another_alert_ends_none() {
        assert!(!of(&[("a", 10, None), ("b", 20, Some(30))]).all_ended());
    }
}
