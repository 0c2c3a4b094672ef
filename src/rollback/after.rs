//! The looks at a release after the end of its rollback: which are due, and what they found.
//!
//! They follow from the status alone, so that they survive a change of the leader. They decide nothing about a rollback.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object::Rollback;
use super::phase::Phase;
use crate::reason::{Finding, Reason};

/// When a release is looked at: so many minutes after the end.
pub const MINUTES: [i64; 3] = [0, 5, 30];
/// For how long after its time a look is still that look.
pub const GRACE: SignedDuration = SignedDuration::from_mins(2);
/// How long after the end a look that was missed is still put on record.
const RECORDED: SignedDuration = SignedDuration::from_hours(24);

/// What was seen of the release after the end. Written by the leader.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(default)]
pub struct After {
    /// Raised by every write, and tested by it.
    pub seq: i64,
    /// The looks that were made, or left out, in order.
    pub checks: Vec<Check>,
}

/// One look.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// How many minutes after the end it was due.
    pub minutes: i64,
    /// When it was made, or left out.
    pub at: Timestamp,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Finding>,
    /// The numbers.
    #[serde(default)]
    pub numbers: Vec<Number>,
}

/// One number.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Number {
    /// What it is called.
    pub name: String,
    /// The number, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether it is good; where there was no number, it is not.
    pub good: bool,
    /// The number in words, or why there was none.
    pub said: String,
}

/// What is to be done about the looks at a rollback's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing any more.
    Nothing,
    /// The next look, at this time.
    At(Timestamp),
    /// This look, while it is not later than this.
    Now(i64, Timestamp),
    /// Nobody looked in time.
    Missed(i64),
}

impl Check {
    /// A look that was left out.
    #[must_use]
    pub fn skipped(minutes: i64, at: Timestamp, why: Finding) -> Self {
        Self {
            minutes,
            at,
            skipped: Some(why),
            numbers: Vec::new(),
        }
    }

    /// Whether everything that was asked for is good.
    #[must_use]
    pub fn good(&self) -> bool {
        self.skipped.is_none() && self.numbers.iter().all(|number| number.good)
    }

    /// Whether the release is no longer there to be looked at.
    #[must_use]
    pub fn is_last(&self) -> bool {
        let why = self.skipped.as_ref().map(|finding| finding.reason);
        matches!(why, Some(Reason::NewRelease | Reason::WorkloadGone))
    }
}

/// What is due now.
#[must_use]
pub fn due(rollback: &Rollback, now: Timestamp) -> Due {
    let state = rollback.state();
    let checks = &state.after.checks;
    let ended = state.run.finished.filter(|_| {
        state.phase == Phase::Succeeded
            && state.plan.is_some()
            && !checks.iter().any(Check::is_last)
    });
    let Some(ended) = ended else {
        return Due::Nothing;
    };
    let taken = |minutes: &i64| checks.iter().any(|check| check.minutes == *minutes);
    let Some(minutes) = MINUTES.into_iter().find(|minutes| !taken(minutes)) else {
        return Due::Nothing;
    };
    let last = SignedDuration::from_mins(MINUTES.into_iter().max().unwrap_or(0));
    let age = now.duration_since(ended);
    // What had ended before anybody asked for such looks is left alone.
    if age > RECORDED || (checks.is_empty() && age > last + GRACE) {
        return Due::Nothing;
    }
    let from = ended + SignedDuration::from_mins(minutes);
    if now < from {
        Due::At(from)
    } else if now <= from + GRACE {
        Due::Now(minutes, from + GRACE)
    } else {
        Due::Missed(minutes)
    }
}

#[cfg(test)]
mod tests;
