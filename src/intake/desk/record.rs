//! What is put on record: a claim, an alert that joins, an alert that ended. Pure.

use jiff::Timestamp;

use super::request::Request;
use crate::alert::{Alert, Severity};
use crate::reason::Finding;
use crate::rollback::Rollback;
use crate::rollback::object::{AlertRecord, Alerts, LISTED_ALERTS, Mode, RollbackSpec};
use crate::target::{Release, Target};
use crate::telemetry::TraceContext;

/// What stands for the target where there is none; no target has this name.
const NO_TARGET: &str = "-";

/// The object that claims a rollback for these requests.
pub(super) fn claim(
    target: &Target,
    name: &str,
    release: Option<Release>,
    parent: Option<String>,
    mode: Mode,
    requests: &[Request<'_>],
    trace: &TraceContext,
) -> Rollback {
    let records = requests.iter().map(|request| request.record.clone());
    let spec = RollbackSpec {
        target: target.name.clone(),
        release,
        mode,
        parent,
        ..asking(records.collect(), trace)
    };
    let mut rollback = Rollback::new(name, spec);
    rollback.metadata.namespace = Some(target.workload.namespace.clone());
    rollback
}

/// The object that tells people of alerts that lead to no workload, and why: in Ripcord's own namespace, for want of another.
pub(super) fn unplaced(
    namespace: &str,
    name: &str,
    finding: Finding,
    records: Vec<AlertRecord>,
    trace: &TraceContext,
) -> Rollback {
    let spec = RollbackSpec {
        target: NO_TARGET.to_owned(),
        procedure: None,
        unplaced: Some(finding),
        ..asking(records, trace)
    };
    let mut rollback = Rollback::new(name, spec);
    rollback.metadata.namespace = Some(namespace.to_owned());
    rollback
}

/// What these alerts ask for; the most severe decides.
fn asking(mut records: Vec<AlertRecord>, trace: &TraceContext) -> RollbackSpec {
    records.sort_by_key(|record| record.severity);
    let first = records.first();
    RollbackSpec {
        target: String::new(),
        release: None,
        procedure: first.map(|record| record.procedure.clone()),
        trigger: first.map(|record| record.trigger.clone()),
        severity: first.map_or(Severity::P1, |record| record.severity),
        mode: Mode::Act,
        alerts_omitted: i64::try_from(records.len().saturating_sub(LISTED_ALERTS))
            .unwrap_or(i64::MAX),
        received: first.map(|record| record.received),
        parent: None,
        rung: None,
        reason: None,
        requested_by: None,
        drill: false,
        unplaced: None,
        trace: Some(trace.traceparent()),
        cancel: None,
        approval: None,
        alerts: records.into_iter().take(LISTED_ALERTS).collect(),
    }
}

/// Adds an alert that joins; says whether that is news worth a write.
pub(super) fn join(alerts: &mut Alerts, record: &AlertRecord) -> bool {
    if alerts.items.len() < LISTED_ALERTS {
        alerts.items.push(record.clone());
        return true;
    }
    // Beyond the list only the first is counted durably at once; a more severe one takes the place of a lesser.
    if let Some(lesser) = alerts
        .items
        .iter_mut()
        .filter(|item| record.severity.is_more_severe_than(item.severity))
        .max_by_key(|item| item.severity)
    {
        *lesser = record.clone();
        alerts.omitted += 1;
        return true;
    }
    let first = alerts.omitted == 0;
    alerts.omitted += 1;
    first
}

/// Puts the ends of alerts on record; says whether any was new.
pub(super) fn end(
    rollback: &Rollback,
    kept: &mut Alerts,
    alerts: &[(usize, &Alert)],
    now: Timestamp,
) -> bool {
    let mut changed = false;
    for (_, alert) in alerts {
        let episode = alert.episode();
        let ended = Some(alert.ends_at.unwrap_or(now));
        if let Some(item) = kept.items.iter_mut().find(|item| item.episode() == episode) {
            if item.ended.is_none() {
                item.ended = ended;
                changed = true;
            }
        } else if let Some(first) = rollback
            .spec
            .alerts
            .iter()
            .find(|first| first.episode() == episode)
        {
            kept.items.push(AlertRecord {
                ended,
                ..first.clone()
            });
            changed = true;
        }
    }
    changed
}

/// Whether two rollbacks are about the same workload or target, so that one can answer for the other.
pub(super) fn akin(one: &Rollback, other: &Rollback) -> bool {
    let workload = |rollback: &Rollback| rollback.spec.release.as_ref().map(|it| it.uid.clone());
    let same = workload(one).is_some() && workload(one) == workload(other);
    same || one.spec.target == other.spec.target
}
