//! Decides what every alert of a notification leads to, and records it before anybody is told.
//!
//! Decisions are made from the caches; only a new claim, a first join, a first end, an end that nobody knows and a first "it
//! still fires" cost calls. Before a claim and before "it still fires", what they were decided on is read once more. One
//! notification is worked off target by target, and within a replica one at a time for each target.

mod basis;
mod close;
mod keep;
mod lists;
mod record;
pub mod rehearsal;
mod request;
mod unplaced;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use self::basis::Basis;
use self::lists::Lists;
use self::request::{Request, Unplaced, answers, asked, group};
use super::{Answered, Desk, Outcome};
use crate::alert::Notification;
use crate::cluster::{Caches, Clock, Cluster};
use crate::policy::{Decision, Facts, Policy};
use crate::reason::{Finding, Reason};
use crate::rollback::object::Mode;
use crate::target::{Release, Target, Workload};
use crate::telemetry::{Metrics, Spans, TraceContext};

/// How long a release without identity is waited for before the sender is asked to come back.
const IDENTITY: Duration = Duration::from_secs(1);
/// After so many alerts the thread is let go, so that a large notification keeps nothing else waiting: the lease above
/// all.
const BREATH: usize = 256;
/// How often a decision is made again after it lost a race.
const RACES: usize = 8;

/// The desk of the real service.
pub struct Registrar {
    cluster: Cluster,
    caches: Arc<Caches>,
    policy: Arc<ArcSwap<Policy>>,
    clock: Clock,
    /// Whether anything may be done at all.
    mode: Mode,
    metrics: Metrics,
    spans: Spans,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    lists: Lists,
    /// When it was last said that people are not told of something.
    mentioned: Mutex<Option<Instant>>,
}

/// What one target's requests led to, and what could not be recorded.
#[derive(Default)]
struct Settled {
    answers: Vec<(usize, Answered)>,
    unrecorded: Option<Finding>,
    unplaced: Vec<Unplaced>,
}

// === impl Registrar ===

impl Registrar {
    /// A desk over these caches.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        caches: Arc<Caches>,
        policy: Arc<ArcSwap<Policy>>,
        clock: Clock,
        mode: Mode,
        metrics: Metrics,
        spans: Spans,
    ) -> Self {
        Self {
            cluster,
            caches,
            policy,
            clock,
            mode,
            metrics,
            spans,
            turns: Mutex::default(),
            lists: Lists::default(),
            mentioned: Mutex::default(),
        }
    }

    /// One at a time for each target.
    fn turn(&self, target: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(target.to_owned()).or_default())
    }

    /// Decides and records what the firing alerts of one target ask for.
    async fn settle(
        &self,
        policy: &Policy,
        target: &Target,
        mut open: Vec<Request<'_>>,
        trace: &TraceContext,
    ) -> Settled {
        let turn = self.turn(&target.name);
        let _turn = turn.lock().await;
        let mut settled = Settled::default();
        if let Err(finding) = self.caches.listed(&target.workload.namespace) {
            settled.unrecorded = Some(finding.clone());
            settled.answers = answers(target, &Decision::Wait(finding), open);
            return settled;
        }
        let patience = Instant::now() + IDENTITY;
        let mut changes = self.caches.changes();
        let mut races = 0;
        while races < RACES {
            changes.mark_unchanged();
            let version = self.caches.versions(&target.workload);
            let basis = self.basis(target);
            let decided = self.decide(policy, &basis, open).await;
            let mut again = Vec::new();
            let mut waiting = None;
            for (decision, requests) in group(decided) {
                match self
                    .record(target, &basis, &decision, &requests, trace)
                    .await
                {
                    Ok(Recorded::Done) => {
                        settled.answers.extend(answers(target, &decision, requests));
                    }
                    Ok(Recorded::Again) => again.extend(requests),
                    Ok(Recorded::Refused(finding)) => {
                        let rollback = decision.rollback().map(str::to_owned);
                        let unplaced = requests.iter().map(|request| Unplaced {
                            index: request.index,
                            finding: finding.clone(),
                            record: request.record.clone(),
                        });
                        settled.unplaced.extend(unplaced);
                        let refused = Decision::Decline { finding, rollback };
                        settled.answers.extend(answers(target, &refused, requests));
                    }
                    Ok(Recorded::Wait(finding)) => {
                        waiting = Some((finding, None));
                        again.extend(requests);
                    }
                    Ok(Recorded::Unseen(finding)) => {
                        waiting = Some((finding, Some(version)));
                        again.extend(requests);
                    }
                    Err(error) => {
                        tracing::warn!(ripcord.target = target.name, %error, "a decision cannot be recorded");
                        settled.unrecorded = Some(Reason::Unrecorded.because(error.to_string()));
                        let finding = settled
                            .unrecorded
                            .clone()
                            .unwrap_or_else(|| Reason::Unrecorded.into());
                        settled
                            .answers
                            .extend(answers(target, &Decision::Wait(finding), requests));
                    }
                }
            }
            open = again;
            if open.is_empty() {
                return settled;
            }
            let Some((finding, version)) = waiting else {
                races += 1;
                continue;
            };
            let told = self.told(&mut changes, &target.workload, version);
            let told = tokio::time::timeout_at(patience, told).await.is_ok();
            if !told || Instant::now() >= patience {
                settled.unrecorded = Some(finding.clone());
                settled
                    .answers
                    .extend(answers(target, &Decision::Wait(finding), open));
                return settled;
            }
        }
        let finding = Reason::Unrecorded.because("the decision lost every race");
        settled.unrecorded = Some(finding.clone());
        settled
            .answers
            .extend(answers(target, &Decision::Wait(finding), open));
        settled
    }

    /// Waits until the caches were told of something; of the workload, where its version until now is given.
    async fn told(
        &self,
        changes: &mut watch::Receiver<u64>,
        workload: &Workload,
        version: Option<[Option<u64>; 3]>,
    ) {
        while changes.changed().await.is_ok() {
            if version.is_none_or(|version| self.caches.versions(workload) != version) {
                return;
            }
        }
    }

    /// What each request leads to.
    async fn decide<'a>(
        &self,
        policy: &Policy,
        basis: &Basis,
        open: Vec<Request<'a>>,
    ) -> Vec<(Decision, Request<'a>)> {
        let now = (self.clock)();
        let Basis {
            seen,
            memory,
            rollbacks,
            hold,
        } = basis;
        let remembered = memory.as_ref().map(|memory| memory.state());
        let recalled = seen.as_ref().map(|seen| match &remembered {
            Some(memory) => memory.recall(&seen.rollout),
            None => Cow::Borrowed(&seen.rollout),
        });
        let rollout = recalled.as_deref();
        let unobserved = seen.as_ref().and_then(|seen| seen.unobserved_since);
        let facts = Facts {
            now,
            policy,
            hold,
            memory: memory.as_deref(),
            rollout,
            live_created: None,
            live: rollout
                .filter(|rollout| rollout.observed)
                .map(|rollout| Release {
                    uid: rollout.uid.clone(),
                    revision: rollout.revision,
                    hash: rollout.current.clone(),
                    images: Vec::new(),
                }),
            unobserved_for: unobserved
                .and_then(|since| Duration::try_from(now.duration_since(since)).ok())
                .unwrap_or_default(),
            rollbacks,
        };
        let mut decided = Vec::with_capacity(open.len());
        for (nth, request) in open.into_iter().enumerate() {
            breathe(nth).await;
            decided.push((facts.decide(&request.ask, &request.record), request));
        }
        decided
    }
}

/// How recording went.
enum Recorded {
    /// It is on record.
    Done,
    /// Somebody else was faster: decide again.
    Again,
    /// Nothing can be decided yet.
    Wait(Finding),
    /// The workload is not as the caches know it.
    Unseen(Finding),
    /// It cannot be recorded, and asking again would not help.
    Refused(Finding),
}

impl Desk for Registrar {
    async fn take(
        &self,
        notification: Notification,
        received: Timestamp,
        trace: TraceContext,
    ) -> Outcome {
        if let Err(finding) = self.caches.ready() {
            return Outcome {
                decisions: Vec::new(),
                unrecorded: Some(finding),
            };
        }
        let policy = self.policy.load_full();
        let mut settled = Settled::default();
        let mut ended = Vec::new();
        let mut of_target: BTreeMap<&str, (&Target, Vec<Request<'_>>)> = BTreeMap::new();
        for (index, alert) in notification.alerts.iter().enumerate() {
            breathe(index).await;
            if !alert.is_firing() {
                ended.push((index, alert));
                continue;
            }
            match asked(&policy, alert, index, received) {
                Ok(request) => {
                    let target = request.ask.target;
                    of_target
                        .entry(&target.name)
                        .or_insert_with(|| (target, Vec::new()))
                        .1
                        .push(request);
                }
                Err(refused) => {
                    settled.answers.push((index, refused.answer));
                    settled.unplaced.extend(refused.unplaced);
                }
            }
        }
        let targets = of_target
            .into_values()
            .map(|(target, open)| self.settle(&policy, target, open, &trace));
        let (of_targets, of_ended) = tokio::join!(join_all(targets), self.close(&policy, ended));
        for more in of_targets.into_iter().chain([of_ended]) {
            settled.answers.extend(more.answers);
            settled.unplaced.extend(more.unplaced);
            settled.unrecorded = settled.unrecorded.or(more.unrecorded);
        }
        settled.answers.sort_by_key(|(index, _)| *index);
        self.tell(settled.unplaced, &mut settled.answers, &trace)
            .await;
        Outcome {
            decisions: settled
                .answers
                .into_iter()
                .map(|(_, answer)| answer)
                .collect(),
            unrecorded: settled.unrecorded,
        }
    }

    fn ready(&self) -> Result<(), Finding> {
        self.caches.ready()
    }
}

/// Lets others have the thread now and then.
async fn breathe(nth: usize) {
    if nth % BREATH == BREATH - 1 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_notification_lets_others_work_in_between() {
        let turns = Arc::new(Mutex::new(0));
        let others = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                *others.lock().unwrap() += 1;
                tokio::task::yield_now().await;
            }
        });
        for nth in 0..10 * BREATH {
            breathe(nth).await;
        }
        other.abort();
        assert!(*turns.lock().unwrap() >= 10);
    }
}
