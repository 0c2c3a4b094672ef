//! Puts the ends of alerts on record, with every rollback that knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::record::end;
use super::request::answer;
use super::{Registrar, Settled, breathe};
use crate::alert::Alert;
use crate::cluster::Error;
use crate::policy::Policy;
use crate::reason::{Finding, Reason};
use crate::rollback::Rollback;

impl Registrar {
    /// Every rollback. Where one of these alerts may have led to one that the caches do not know, those of its target's
    /// namespace are read: it is known to none, or to none with its end.
    async fn known_to(
        &self,
        policy: &Policy,
        ended: &[(usize, &Alert)],
    ) -> Result<Vec<Arc<Rollback>>, Error> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let rollbacks = self.caches.rollbacks.all();
        let mut doubtful = BTreeSet::new();
        for (nth, (_, alert)) in ended.iter().enumerate() {
            breathe(nth).await;
            let episode = alert.episode();
            if !rollbacks
                .iter()
                .any(|it| it.recorded_end(&episode).is_some())
                && let Ok(ask) = policy.ask(alert)
                && ask.procedure.is_some()
                && ask.trigger.mode.acts()
            {
                doubtful.insert(&ask.target.workload.namespace);
            }
        }
        if doubtful.is_empty() {
            return Ok(rollbacks);
        }
        let lists = doubtful.into_iter().map(|it| self.rollbacks(it));
        let lists: Vec<_> = join_all(lists)
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        let named = |it: &Rollback| (it.namespace().to_owned(), it.name().to_owned());
        let mut known: BTreeMap<_, _> = rollbacks.into_iter().map(|it| (named(&it), it)).collect();
        for rollback in lists.iter().flat_map(|list| list.iter()) {
            known.insert(named(rollback), Arc::clone(rollback));
        }
        Ok(known.into_values().collect())
    }

    /// Records the ends of alerts with the rollbacks that know them.
    pub(super) async fn close(&self, policy: &Policy, ended: Vec<(usize, &Alert)>) -> Settled {
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

    /// Whether a rollback that knows this alert would have been found: its target's namespace is listed, or it leads to
    /// no target.
    fn looked_up(&self, policy: &Policy, alert: &Alert) -> Result<(), Finding> {
        match policy.ask(alert) {
            Ok(ask) => self.caches.listed(&ask.target.workload.namespace),
            Err(_) => Ok(()),
        }
    }
}
