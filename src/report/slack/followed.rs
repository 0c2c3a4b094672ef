//! In whose thread a rollback is told: what follows another one is told in that one's, purely.

use std::time::Duration;

use jiff::SignedDuration;

use super::Ts;
use crate::report::reporter::Telling;
use crate::rollback::object::SlackReport;

/// How long what follows a rollback waits for that one to be told first.
const FIRST_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// How soon it is looked at again meanwhile.
const SOON: Duration = Duration::from_millis(500);

/// What was told of the rollback that this one follows, where this one is not told yet.
///
/// # Errors
/// In how long to look again: that one may be told a moment later.
pub(super) fn first(
    record: &SlackReport,
    telling: &Telling<'_>,
) -> Result<Option<SlackReport>, Duration> {
    let Some(followed) = telling.followed.filter(|_| record.ts.is_none()) else {
        return Ok(None);
    };
    let first = followed.state().report.slack.clone();
    if first.ts.is_some() {
        return Ok(Some(first));
    }
    let received = telling.rollback.received();
    let waits = received.is_some_and(|at| telling.now.duration_since(at) < FIRST_WITHIN);
    if waits && first.refused.is_none() {
        return Err(SOON);
    }
    Ok(None)
}

/// The first message of the thread that the next one goes into.
pub(super) fn root(record: &SlackReport, first: Option<&SlackReport>) -> Option<Ts> {
    let of = first.unwrap_or(record);
    let ts = of.thread.as_ref().or(of.ts.as_ref())?;
    Some(Ts::from(ts.clone()))
}
