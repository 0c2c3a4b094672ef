//! What the desk would decide on facts that somebody else read, for `ripcord explain --live`: its own code and its own
//! words. It records nothing and calls nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::record::claim;
use super::request::{Request, asked, group};
use crate::alert::Alert;
use crate::intake::Answered;
use crate::policy::{Decision, Facts, Policy};
use crate::rollback::Rollback;
use crate::rollback::object::Mode;
use crate::target::Target;
use crate::telemetry::TraceContext;

/// What the firing alerts of a notification ask for.
pub struct Rehearsal<'a> {
    /// Of each target that is asked for.
    pub wishes: Vec<Wishes<'a>>,
    /// The answers to those that ask for nothing, each with the alert's place.
    pub refused: Vec<(usize, Answered)>,
}

/// What alerts ask for one target.
pub struct Wishes<'a> {
    /// The target.
    pub target: &'a Target,
    requests: Vec<Request<'a>>,
}

/// One decision, and what would be put on record for it.
pub struct Foreseen {
    /// The places of the alerts that lead to it.
    pub alerts: Vec<usize>,
    /// The decision.
    pub decision: Decision,
    /// The object that would be made.
    pub claim: Option<Rollback>,
}

impl<'a> Rehearsal<'a> {
    /// Sorts the firing alerts of a notification that would be received at `received`.
    #[must_use]
    pub fn of(policy: &'a Policy, alerts: &[Alert], received: Timestamp) -> Self {
        let mut refused = Vec::new();
        let mut of_target: BTreeMap<&str, Wishes<'a>> = BTreeMap::new();
        let firing = alerts.iter().enumerate().filter(|(_, it)| it.is_firing());
        for (index, alert) in firing {
            match asked(policy, alert, index, received) {
                Ok(request) => {
                    let target = request.ask.target;
                    let wishes = of_target.entry(&target.name).or_insert_with(|| Wishes {
                        target,
                        requests: Vec::new(),
                    });
                    wishes.requests.push(request);
                }
                Err(no) => refused.push((index, no.answer)),
            }
        }
        Self {
            wishes: of_target.into_values().collect(),
            refused,
        }
    }
}

impl Wishes<'_> {
    /// What they lead to by these facts of the target.
    #[must_use]
    pub fn decide(self, facts: &Facts<'_>, trace: &TraceContext) -> Vec<Foreseen> {
        let target = self.target;
        let decided = self.requests.into_iter().map(|request| {
            let decision = facts.decide(&request.ask, &request.record);
            (decision, request)
        });
        let foreseen = group(decided.collect())
            .into_iter()
            .map(|(decision, requests)| {
                let made = match &decision {
                    Decision::Start {
                        name,
                        release,
                        parent,
                        ..
                    } => Some((name, release.clone(), parent.clone(), Mode::Act)),
                    Decision::Shadow { name, release } => {
                        Some((name, Some(release.clone()), None, Mode::Shadow))
                    }
                    _ => None,
                };
                let claim = made.map(|(name, release, parent, mode)| {
                    claim(target, name, release, parent, mode, &requests, trace)
                });
                Foreseen {
                    alerts: requests.iter().map(|request| request.index).collect(),
                    decision,
                    claim,
                }
            });
        foreseen.collect()
    }
}
