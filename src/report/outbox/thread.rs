//! In whose thread a rollback is told: what follows another one is told in that one's, purely.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Subject;
use crate::report::slack::Ts;
use crate::rollback::Rollback;
use crate::rollback::object::SlackReport;

/// How long what follows a rollback waits for that one to be told first.
const FIRST_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// How soon it is looked at again meanwhile.
const SOON: Duration = Duration::from_millis(500);

/// The rollback that this one follows, where it is a rung of the ladder.
pub(super) fn followed<'a>(rollback: &Rollback, subjects: &'a [Subject]) -> Option<&'a Rollback> {
    let parent = rollback.spec.rung.and(rollback.spec.parent.as_deref())?;
    let mut all = subjects.iter().map(|(it, _)| it);
    let found = all.find(|it| it.name() == parent && it.namespace() == rollback.namespace())?;
    Some(found.as_ref())
}

/// What was told of the rollback that this one follows, where this one is not told yet.
///
/// # Errors
/// In how long to look again: that one may be told a moment later.
pub(super) fn first(
    rollback: &Rollback,
    followed: Option<&Rollback>,
    report: &SlackReport,
    now: Timestamp,
) -> Result<Option<SlackReport>, Option<Duration>> {
    let Some(followed) = followed.filter(|_| report.ts.is_none()) else {
        return Ok(None);
    };
    let first = followed.state().report.slack.clone();
    if first.ts.is_some() {
        return Ok(Some(first));
    }
    let received = rollback.received();
    let waits = received.is_some_and(|at| now.duration_since(at) < FIRST_WITHIN);
    if waits && first.refused.is_none() {
        return Err(Some(SOON));
    }
    Ok(None)
}

/// The first message of the thread that the next one goes into.
pub(super) fn root(report: &SlackReport, first: Option<&SlackReport>) -> Option<Ts> {
    let of = first.unwrap_or(report);
    let ts = of.thread.as_ref().or(of.ts.as_ref())?;
    Some(Ts::from(ts.clone()))
}
