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
        omitted == 0 && !records.is_empty() && records.iter().all(|record| record.ended.is_some())
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
