//! `pause`: a fixed time has passed since the step began, for what cannot be observed. It looks at nothing and changes
//! nothing; where something can be waited for, another step is better.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::step::{Journey, Next, Step};
use crate::reason::{Finding, Reason};
use crate::target::{Sighting, Snapshot, Target};

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// How long.
    #[serde(rename = "for", with = "humantime_serde")]
    pub time: Duration,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    #[serde(rename = "for", with = "humantime_serde")]
    time: Duration,
}

impl Step for Pause {
    type Plan = Plan;

    fn plan(&self, _target: &Target, _journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        Ok(Plan { time: self.time })
    }

    fn next(plan: &Plan, _at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let time = SignedDuration::try_from(plan.time).unwrap_or(SignedDuration::MAX);
        let until = past.started.unwrap_or(now).checked_add(time);
        match until {
            // Whoever goes on after a crash waits for the rest alone.
            Ok(until) if now >= until => {
                Next::Done(Reason::PausedFor.because(format!("paused for {:?}", plan.time)))
            }
            Ok(until) => Next::Wait(Reason::Pausing.because(format!("pauses until {until:.0}"))),
            Err(_) => Next::Fail(Reason::StepTimeout.because("the pause ends at no time there is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::snapshot::tests::restored;

    #[test]
    fn it_lasts_from_the_beginning_on_record_whoever_waits() {
        let plan = Plan {
            time: Duration::from_secs(10),
        };
        let mut past = Entry::pending("pause");
        past.started = Some(Timestamp::from_second(100).unwrap());
        past.watched = Some(Timestamp::from_second(108).unwrap());
        let next = |now| {
            let now = Timestamp::from_second(now).unwrap();
            Pause::next(&plan, &restored(), &[], &past, now)
        };
        let said = "pauses until 1970-01-01T00:01:50Z";
        assert_eq!(next(109), Next::Wait(Reason::Pausing.because(said)));
        assert_eq!(
            next(110),
            Next::Done(Reason::PausedFor.because("paused for 10s"))
        );
    }
}
