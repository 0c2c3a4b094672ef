//! What the service would decide by what the cluster says now: the desk's decision and then the leader's, by their own code
//! on fresh reads.
//!
//! Every read is a person's own, by their kubeconfig. Nothing is written. What may not be read ends the explanation: a guard
//! that was not asked must not look like one that agreed.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use opentelemetry_sdk::trace::RandomIdGenerator;
use serde::Serialize;

use crate::alert::Alert;
use crate::cli::preflight;
use crate::cluster::permissions::Account;
use crate::cluster::{Clock, Cluster, Error, clock, hold};
use crate::config::Settings;
use crate::engine::admission::{self, Fresh};
use crate::intake::Answered;
use crate::intake::desk::rehearsal::{Foreseen, Rehearsal, Wishes};
use crate::policy::admission::Admission;
use crate::policy::approval::Consent;
use crate::policy::guard::Hold;
use crate::policy::{Decision, Facts, Policy};
use crate::reason::{Finding, Reason};
use crate::rollback::Rollback;
use crate::rollback::history::rough;
use crate::rollback::object::Mode;
use crate::target::Target;
use crate::telemetry::TraceContext;

/// Asks the cluster.
pub(super) struct Witness {
    cluster: Cluster,
    clock: Clock,
    hold_at: (String, String),
    account: Account,
    mode: Mode,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// One verdict an alert.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) sights: Vec<Sight>,
}

/// What the service would say.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// The word of the answer to the notification.
    pub(super) decision: &'static str,
    pub(super) reason: Reason,
    pub(super) said: String,
    /// The rollback that it is about, as namespace and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rollback: Option<String>,
    /// What the leader would make of the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader: Option<Leader>,
}

/// What the leader would make of a claim.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Leader {
    /// `run`, `shadow`, `decline`, `supersede` or `wait`.
    pub(super) would: &'static str,
    pub(super) reason: Reason,
    pub(super) said: String,
}

/// What the cluster says of a target, in words.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sight {
    pub(super) target: String,
    pub(super) live: String,
    pub(super) cause: String,
    pub(super) hold: String,
    pub(super) latch: String,
    pub(super) owner: String,
    /// Rollbacks that have not ended.
    pub(super) open: Vec<String>,
    pub(super) rights: String,
}

/// What was read of a target.
struct Ground {
    fresh: Fresh,
    rollbacks: Vec<Arc<Rollback>>,
    /// Why the service's rights are not known, where they are not.
    unasked: Option<String>,
}

// === impl Witness ===

impl Witness {
    pub(super) fn new(cluster: Cluster, settings: &Settings, account: &str) -> Self {
        let namespace = preflight::own_namespace(settings);
        Self {
            cluster,
            clock: clock::system(),
            hold_at: (namespace.clone(), settings.cluster.hold_config_map.clone()),
            account: Account {
                namespace,
                name: account.to_owned(),
            },
            mode: settings.engine.mode,
        }
    }

    /// What each alert would lead to now.
    pub(super) async fn see(&self, policy: &Policy, alerts: &[Alert]) -> anyhow::Result<Seen> {
        let now = (self.clock)();
        let rehearsal = Rehearsal::of(policy, alerts, now);
        let mut verdicts: Vec<Option<Verdict>> = vec![None; alerts.len()];
        for (index, answered) in rehearsal.refused {
            put(&mut verdicts, index, Verdict::answered(answered));
        }
        let mut sights = Vec::new();
        for wishes in rehearsal.wishes {
            let target = wishes.target;
            let ground = self.read(policy, target).await;
            let ground =
                ground.with_context(|| format!("target {} cannot be looked at", target.name))?;
            sights.push(ground.sight(target, now));
            for foreseen in ground.decide(policy, wishes, now) {
                let verdict = ground.verdict(policy, target, &foreseen, now);
                for index in foreseen.alerts {
                    put(&mut verdicts, index, verdict.clone());
                }
            }
        }
        for (alert, verdict) in alerts.iter().zip(&mut verdicts) {
            if verdict.is_none() {
                *verdict = Some(self.of_end(policy, alert).await?);
            }
        }
        Ok(Seen {
            verdicts: verdicts.into_iter().flatten().collect(),
            sights,
        })
    }

    async fn read(&self, policy: &Policy, target: &Target) -> Result<Ground, Error> {
        let namespace = &target.workload.namespace;
        let account = Some(&self.account);
        let commands =
            admission::missing_to_exec(&self.cluster, account, policy, target, self.mode);
        let (at, hold, memory, rollbacks, missing, missing_to_exec) = tokio::join!(
            self.cluster.snapshot(&target.workload, &self.clock),
            self.hold(),
            self.cluster.recall(target),
            self.cluster.rollbacks(namespace),
            self.cluster
                .missing_permissions_of(&self.account, &target.workload, self.mode),
            commands,
        );
        let at = at?;
        let workload = at.rollout.as_ref().map(|rollout| rollout.uid.clone());
        let of_target = |it: &Rollback| {
            let release = it.spec.release.as_ref().map(|release| release.uid.clone());
            it.spec.target == target.name || (release.is_some() && release == workload)
        };
        let (missing, unasked) = match missing {
            Ok(missing) => (missing, None),
            Err(error @ Error::Forbidden(_)) => (Vec::new(), Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let missing_to_exec = match missing_to_exec {
            // Said for the others already.
            Err(Error::Forbidden(_)) => Vec::new(),
            missing => missing?,
        };
        Ok(Ground {
            fresh: Fresh {
                at,
                hold: hold?,
                memory: memory?,
                missing,
                missing_to_exec,
            },
            rollbacks: rollbacks?
                .into_iter()
                .filter(of_target)
                .map(Arc::new)
                .collect(),
            unasked,
        })
    }

    /// The hold as the service would read it. That a person may not read it says nothing about the service.
    async fn hold(&self) -> Result<Hold, Error> {
        let (namespace, name) = &self.hold_at;
        let api = self.cluster.api::<ConfigMap>(namespace);
        match self.cluster.call(api.get(name)).await {
            Ok(found) => Ok(hold::of(&found)),
            Err(error @ Error::NotFound(_)) => {
                let said = format!("ConfigMap {namespace}/{name}: {error}");
                Ok(Hold::Unreadable(said))
            }
            Err(error) => Err(error),
        }
    }

    /// What becomes of the end of an alert: it is recorded with the rollbacks that know this firing.
    async fn of_end(&self, policy: &Policy, alert: &Alert) -> anyhow::Result<Verdict> {
        let mut knowing = Vec::new();
        for namespace in policy.namespaces().keys() {
            let all = self.cluster.rollbacks(namespace).await;
            let all =
                all.with_context(|| format!("the rollbacks in {namespace} cannot be read"))?;
            let episode = alert.episode();
            knowing.extend(all.into_iter().filter(|it| it.record(&episode).is_some()));
        }
        knowing.sort_by_key(Rollback::received);
        let newest = knowing.last().map(Rollback::full_name);
        let (decision, reason) = match newest {
            Some(_) => ("note", Reason::ResolvedRecorded),
            None => ("decline", Reason::ResolvedUnknown),
        };
        Ok(Verdict {
            decision,
            reason,
            said: Finding::from(reason).to_string(),
            rollback: newest,
            leader: None,
        })
    }
}

// === impl Ground ===

impl Ground {
    /// The desk's decisions, by facts as it gathers them from its caches.
    fn decide(&self, policy: &Policy, wishes: Wishes<'_>, now: Timestamp) -> Vec<Foreseen> {
        let memory = self.fresh.memory.as_ref();
        let remembered = memory.map(|memory| memory.state().into_owned());
        let rollout = self.fresh.at.rollout.as_ref();
        let recalled = rollout.map(|rollout| match &remembered {
            Some(memory) => memory.recall(rollout).into_owned(),
            None => rollout.clone(),
        });
        let facts = Facts {
            now,
            policy,
            hold: &self.fresh.hold,
            memory,
            rollout: recalled.as_ref(),
            live_created: None,
            live: self.fresh.at.live(),
            unobserved_for: std::time::Duration::ZERO,
            rollbacks: &self.rollbacks,
        };
        let trace = TraceContext::fresh(&RandomIdGenerator::default());
        wishes.decide(&facts, &trace)
    }

    fn verdict(
        &self,
        policy: &Policy,
        target: &Target,
        foreseen: &Foreseen,
        now: Timestamp,
    ) -> Verdict {
        let decision = &foreseen.decision;
        let finding = decision.finding();
        let rollback = decision.rollback();
        let goes_on = matches!(
            decision,
            Decision::Start { refusal: None, .. } | Decision::Shadow { .. }
        );
        let claim = foreseen.claim.as_ref().filter(|_| goes_on);
        Verdict {
            decision: decision.word(),
            reason: finding.reason,
            said: finding.to_string(),
            rollback: rollback.map(|name| format!("{}/{name}", target.workload.namespace)),
            leader: claim.map(|claim| self.leader(policy, target, claim, now)),
        }
    }

    /// What the leader would make of this claim.
    fn leader(&self, policy: &Policy, target: &Target, claim: &Rollback, now: Timestamp) -> Leader {
        let fresh = &self.fresh;
        let (would, finding) = match fresh.judge(policy, target, claim, &self.rollbacks, now) {
            Admission::Wait(finding) => ("wait", finding),
            Admission::Supersede(finding) => ("supersede", finding),
            Admission::Decline { finding, .. } => ("decline", finding),
            Admission::Go {
                from,
                destination,
                procedure,
            } => {
                let at = &fresh.at;
                let journey = admission::journey(claim, target, at, from, &destination.release);
                let (way, procedure) = (&journey, &procedure);
                match admission::plan(claim, target, at, way, destination, procedure, now) {
                    Err(finding) => ("decline", finding),
                    Ok(plan) => {
                        let said = admission::would(&plan);
                        match (claim.spec.mode, policy.consent(claim, target, now)) {
                            (_, Consent::Refused(finding)) => ("decline", finding),
                            (Mode::Shadow, _) => ("shadow", Reason::Shadow.because(said)),
                            (_, Consent::Needed(why)) => {
                                let said = format!("{said}; {why}");
                                ("ask", Reason::AwaitingApproval.because(said))
                            }
                            _ => ("run", Reason::Admitted.because(said)),
                        }
                    }
                }
            }
        };
        Leader {
            would,
            reason: finding.reason,
            said: finding.to_string(),
        }
    }

    /// What was read, in words.
    fn sight(&self, target: &Target, now: Timestamp) -> Sight {
        let rollout = self.fresh.at.rollout.as_ref();
        let live = match (rollout, self.fresh.at.live()) {
            (None, _) => format!("{} does not exist", target.workload),
            (Some(rollout), None) => format!(
                "no identity: the controller has not observed generation {}",
                rollout.generation
            ),
            (Some(rollout), Some(live)) => {
                let state = if rollout.is_aborted() {
                    "aborted"
                } else if rollout.in_flight() {
                    "in flight"
                } else {
                    "promoted"
                };
                format!("{live}, {state}")
            }
        };
        let memory = self.fresh.memory.as_ref();
        let state = memory.map(|memory| memory.state().into_owned());
        let state = state.unwrap_or_default();
        let cause = match &state.live {
            Some(known) => {
                let since =
                    |at: Timestamp| format!("{} ago ({at:.0})", rough(now.duration_since(at)));
                let promoted = known.promoted.map(since);
                let promoted = promoted.map_or_else(String::new, |at| format!(", promoted {at}"));
                format!("deployed {}{promoted}", since(known.changed))
            }
            None => "the target's memory knows of no live release yet".to_owned(),
        };
        let held = crate::policy::guard::held(&self.fresh.hold, memory, now);
        let latched = crate::policy::guard::latched(memory);
        let none = || "none".to_owned();
        let open = self.rollbacks.iter().filter(|it| !it.phase().ended());
        Sight {
            target: target.name.clone(),
            live,
            cause,
            hold: held.map_or_else(|finding| finding.to_string(), |()| none()),
            latch: latched.map_or_else(|finding| finding.to_string(), |()| none()),
            owner: rollout
                .and_then(|rollout| target.owner(rollout))
                .map_or_else(
                    || "nobody who would undo a change".to_owned(),
                    |it| it.to_string(),
                ),
            open: open
                .map(|it| format!("{} ({})", it.full_name(), it.phase().name()))
                .collect(),
            rights: match &self.unasked {
                Some(why) => format!("not asked: {why}"),
                None if self.fresh.missing.is_empty() => "all that a rollback needs".to_owned(),
                None => format!("it may not {}", self.fresh.missing.join(", nor ")),
            },
        }
    }
}

// === impl Verdict ===

impl Verdict {
    fn answered(answered: Answered) -> Self {
        let finding = Finding {
            reason: answered.reason,
            said: answered.said,
        };
        Self {
            decision: answered.decision,
            reason: finding.reason,
            said: finding.to_string(),
            rollback: answered.rollback,
            leader: None,
        }
    }
}

fn put(verdicts: &mut [Option<Verdict>], index: usize, verdict: Verdict) {
    if let Some(place) = verdicts.get_mut(index) {
        *place = Some(verdict);
    }
}
