//! Decides what every alert of a notification leads to, and records it before anybody is told.
//!
//! Decisions are made from the caches; only a new claim, a first join, a first end and a first "it still fires" cost
//! calls, and a new claim looks first whether the caches are behind. One notification is worked off target by target, and within a replica one at a time for each target.

mod record;
mod request;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use self::record::{akin, claim, end, join};
use self::request::{Request, answer, answers, asked, group};
use super::{Answered, Desk, Outcome};
use crate::alert::{Alert, Notification};
use crate::cluster::claims::Claimed;
use crate::cluster::{Caches, Clock, Cluster, Error};
use crate::policy::{Decision, Facts, Policy};
use crate::reason::{Finding, Reason};
use crate::rollback::Rollback;
use crate::rollback::object::{Alerts, Mode, Persisting};
use crate::target::{Release, Target};
use crate::telemetry::{Metrics, TraceContext};

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
    metrics: Metrics,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What one target's requests led to, and what could not be recorded.
#[derive(Default)]
struct Settled {
    answers: Vec<(usize, Answered)>,
    unrecorded: Option<Finding>,
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
        metrics: Metrics,
    ) -> Self {
        Self {
            cluster,
            caches,
            policy,
            clock,
            metrics,
            turns: Mutex::default(),
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
        for _ in 0..RACES {
            changes.mark_unchanged();
            let decided = self.decide(policy, target, open).await;
            let mut again = Vec::new();
            let mut waiting = None;
            for (decision, requests) in group(decided) {
                match self.record(target, &decision, &requests, trace).await {
                    Ok(Recorded::Done) => {
                        settled.answers.extend(answers(target, &decision, requests));
                    }
                    Ok(Recorded::Again) => again.extend(requests),
                    Ok(Recorded::Refused(finding)) => {
                        let rollback = decision.rollback().map(str::to_owned);
                        let refused = Decision::Decline { finding, rollback };
                        settled.answers.extend(answers(target, &refused, requests));
                    }
                    Ok(Recorded::Wait(finding)) => {
                        waiting = Some(finding);
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
            if let Some(finding) = waiting {
                let changed = tokio::time::timeout_at(patience, changes.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    settled.unrecorded = Some(finding.clone());
                    settled
                        .answers
                        .extend(answers(target, &Decision::Wait(finding), open));
                    return settled;
                }
            }
        }
        let finding = Reason::Unrecorded.because("the decision lost every race");
        settled.unrecorded = Some(finding.clone());
        settled
            .answers
            .extend(answers(target, &Decision::Wait(finding), open));
        settled
    }

    /// What each request leads to by what the caches know now.
    async fn decide<'a>(
        &self,
        policy: &Policy,
        target: &Target,
        open: Vec<Request<'a>>,
    ) -> Vec<(Decision, Request<'a>)> {
        let now = (self.clock)();
        let seen = self.caches.rollout(target);
        let memory = self.caches.memory(target);
        let rollbacks = self.caches.rollbacks_of(target);
        let hold = self.caches.hold();
        let rollout = seen.as_ref().map(|seen| &seen.rollout);
        let unobserved = seen.as_ref().and_then(|seen| seen.unobserved_since);
        let facts = Facts {
            now,
            policy,
            hold: &hold,
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
            rollbacks: &rollbacks,
        };
        let mut decided = Vec::with_capacity(open.len());
        for (nth, request) in open.into_iter().enumerate() {
            breathe(nth).await;
            decided.push((facts.decide(&request.ask, &request.record), request));
        }
        decided
    }

    /// Records a decision that several requests share.
    async fn record(
        &self,
        target: &Target,
        decision: &Decision,
        requests: &[Request<'_>],
        trace: &TraceContext,
    ) -> Result<Recorded, Error> {
        let namespace = &target.workload.namespace;
        match decision {
            Decision::Decline { .. } | Decision::Join { known: true, .. } => Ok(Recorded::Done),
            Decision::Wait(finding) => Ok(Recorded::Wait(finding.clone())),
            Decision::Start {
                name,
                release,
                parent,
                ..
            } => {
                if self.behind(target).await? {
                    return Ok(Recorded::Again);
                }
                let claim = claim(
                    target,
                    name,
                    release.clone(),
                    parent.clone(),
                    Mode::Act,
                    requests,
                    trace,
                );
                self.claim(claim).await
            }
            Decision::Shadow { name, release } => {
                let claim = claim(
                    target,
                    name,
                    Some(release.clone()),
                    None,
                    Mode::Shadow,
                    requests,
                    trace,
                );
                self.claim(claim).await
            }
            Decision::Join {
                rollback,
                known: false,
            } => {
                self.keep(namespace, rollback, true, |rollback, alerts| {
                    let mut changed = false;
                    for request in requests {
                        if rollback.record(&request.record.episode()).is_none() {
                            changed |= join(alerts, &request.record);
                        }
                    }
                    changed
                })
                .await
            }
            Decision::Persist { rollback, finding } => {
                let noticed = (self.clock)();
                self.keep(namespace, rollback, false, |_, alerts| {
                    let first = alerts.persisting.is_none();
                    alerts.persisting.get_or_insert(Persisting {
                        noticed,
                        finding: finding.clone(),
                    });
                    first
                })
                .await
            }
        }
    }

    /// Whether the caches did not know what is remembered of a target: a replica that was frozen can have seen the release
    /// that a rollback made before it hears of the rollback. They know it afterwards.
    async fn behind(&self, target: &Target) -> Result<bool, Error> {
        let namespace = &target.workload.namespace;
        let Some(memory) = self.cluster.recall(target).await? else {
            return Ok(false);
        };
        let version = &memory.metadata.resource_version;
        let known = self.caches.memory(target);
        let current = known.is_some_and(|known| known.metadata.resource_version == *version);
        let active = memory.state().active.clone();
        let here = |name| self.caches.rollbacks.get(namespace, name).is_some();
        if current && active.as_deref().is_none_or(here) {
            return Ok(false);
        }
        for rollback in self.cluster.rollbacks(namespace).await? {
            let name = rollback.name().to_owned();
            self.caches.rollbacks.offer(namespace, &name, rollback);
        }
        self.caches.memories.offer(namespace, &target.name, memory);
        let behind = !current || active.as_deref().is_some_and(here);
        Ok(behind)
    }

    async fn claim(&self, claim: Rollback) -> Result<Recorded, Error> {
        let began = Instant::now();
        let claimed = self.cluster.claim(&claim).await;
        self.metrics.claim(began.elapsed());
        let (found, recorded) = match claimed? {
            Claimed::New(found) => (found, Recorded::Done),
            Claimed::Taken(found) if !akin(&claim, &found) => {
                let said = format!(
                    "{} is a rollback of target {}",
                    found.full_name(),
                    found.spec.target
                );
                return Ok(Recorded::Refused(Reason::NameTaken.because(said)));
            }
            Claimed::Taken(found) => (found, Recorded::Again),
        };
        if matches!(recorded, Recorded::Done) {
            tracing::info!(
                rollback = found.name(),
                k8s.namespace = found.namespace(),
                ripcord.target = found.spec.target,
                severity = %found.spec.severity,
                "rollback claimed"
            );
        }
        self.caches
            .rollbacks
            .offer(claim.namespace(), claim.name(), *found);
        Ok(recorded)
    }

    /// Changes the alerts of a rollback: from the cache first, and from a fresh read where somebody else wrote. With `open`,
    /// only while it has not ended: an alert that joined what is over would wait for nothing.
    async fn keep(
        &self,
        namespace: &str,
        name: &str,
        open: bool,
        change: impl Fn(&Rollback, &mut Alerts) -> bool,
    ) -> Result<Recorded, Error> {
        let mut rollback = match self.caches.rollbacks.get(namespace, name) {
            Some(cached) => Rollback::clone(&cached),
            None => self.cluster.rollback(namespace, name).await?,
        };
        for _ in 0..RACES {
            if open && rollback.phase().ended() {
                self.caches.rollbacks.offer(namespace, name, rollback);
                return Ok(Recorded::Again);
            }
            let before = rollback.state().alerts.clone();
            let mut alerts = before.clone();
            if !change(&rollback, &mut alerts) {
                return Ok(Recorded::Done);
            }
            alerts.seq = before.seq + 1;
            match self
                .cluster
                .keep_alerts(&rollback, before.seq, &alerts, open)
                .await
            {
                Ok(written) => {
                    self.caches.rollbacks.offer(namespace, name, written);
                    return Ok(Recorded::Done);
                }
                Err(Error::Precondition(_)) => {
                    rollback = self.cluster.rollback(namespace, name).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Precondition(format!(
            "the alerts of {namespace}/{name} lost every race"
        )))
    }

    /// Whether a rollback that knows this alert would have been found: its target's namespace is listed, or it leads to
    /// no target.
    fn looked_up(&self, policy: &Policy, alert: &Alert) -> Result<(), Finding> {
        match policy.ask(alert) {
            Ok(ask) => self.caches.listed(&ask.target.workload.namespace),
            Err(_) => Ok(()),
        }
    }

    /// Every rollback. Where one of these alerts is known to none although it would have led to one, the caches are looked
    /// after first: once for each target.
    async fn known_to(
        &self,
        policy: &Policy,
        ended: &[(usize, &Alert)],
    ) -> Result<Vec<Arc<Rollback>>, Error> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let rollbacks = self.caches.rollbacks.all();
        let mut doubtful = BTreeMap::new();
        for (nth, (_, alert)) in ended.iter().enumerate() {
            breathe(nth).await;
            let episode = alert.episode();
            if !rollbacks.iter().any(|it| it.record(&episode).is_some())
                && let Ok(ask) = policy.ask(alert)
                && ask.procedure.is_some()
                && ask.trigger.mode == Mode::Act
            {
                doubtful.insert(&ask.target.name, ask.target);
            }
        }
        let mut behind = false;
        for target in doubtful.into_values() {
            behind |= self.behind(target).await?;
        }
        Ok(if behind {
            self.caches.rollbacks.all()
        } else {
            rollbacks
        })
    }

    /// Records the ends of alerts with the rollbacks that know them.
    async fn close(&self, policy: &Policy, ended: Vec<(usize, &Alert)>) -> Settled {
        let mut settled = Settled::default();
        let rollbacks = match self.known_to(policy, &ended).await {
            Ok(rollbacks) => rollbacks,
            Err(error) => {
                settled.unrecorded = Some(Reason::Unrecorded.because(error.to_string()));
                self.caches.rollbacks.all()
            }
        };
        let mut of_rollback: BTreeMap<(String, String), Vec<(usize, &Alert)>> = BTreeMap::new();
        let mut answered = BTreeMap::new();
        for (nth, (index, alert)) in ended.into_iter().enumerate() {
            breathe(nth).await;
            let episode = alert.episode();
            // Every one that knows it waits for its end: one that was declined must not hide the one that acted.
            let mut knowing: Vec<_> = rollbacks
                .iter()
                .filter(|rollback| rollback.record(&episode).is_some())
                .collect();
            knowing.sort_by_key(|rollback| rollback.received());
            let newest = knowing.last().map(|rollback| rollback.full_name());
            let (decision, finding) = match (&newest, self.looked_up(policy, alert)) {
                (Some(_), _) => ("note", Reason::ResolvedRecorded.into()),
                (None, Ok(())) => ("decline", Reason::ResolvedUnknown.into()),
                (None, Err(finding)) => {
                    settled.unrecorded = Some(finding.clone());
                    ("wait", finding)
                }
            };
            let said = answer(alert.fingerprint.clone(), None, decision, &finding, newest);
            answered.insert(index, said);
            for rollback in knowing {
                let key = (rollback.namespace().to_owned(), rollback.name().to_owned());
                of_rollback.entry(key).or_default().push((index, alert));
            }
        }
        for ((namespace, name), alerts) in of_rollback {
            let now = (self.clock)();
            let kept = self
                .keep(&namespace, &name, false, |rollback, kept| {
                    end(rollback, kept, &alerts, now)
                })
                .await;
            let Err(error) = kept else {
                continue;
            };
            let finding = Reason::Unrecorded.because(error.to_string());
            settled.unrecorded = Some(finding.clone());
            for (index, alert) in alerts {
                let by = Some(format!("{namespace}/{name}"));
                let said = answer(alert.fingerprint.clone(), None, "note", &finding, by);
                answered.insert(index, said);
            }
        }
        settled.answers.extend(answered);
        settled
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
                Err(answer) => settled.answers.push((index, answer)),
            }
        }
        let targets = of_target
            .into_values()
            .map(|(target, open)| self.settle(&policy, target, open, &trace));
        let (of_targets, of_ended) = tokio::join!(join_all(targets), self.close(&policy, ended));
        for more in of_targets.into_iter().chain([of_ended]) {
            settled.answers.extend(more.answers);
            settled.unrecorded = settled.unrecorded.or(more.unrecorded);
        }
        settled.answers.sort_by_key(|(index, _)| *index);
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
