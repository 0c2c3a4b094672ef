//! `flush-redis`: what the target keeps in its Redis is taken away, once no pod of the bad release can put it there again.
//!
//! A flush is not done exactly once: where its answer was lost it is done again, and that is said. It refuses to begin while
//! a bad pod runs, whatever the steps before it saw, and to empty all databases without the target's word for it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Entry;
use super::gone::none_left;
use super::step::{Journey, Next, Step, is_over, there};
use crate::reason::{Finding, Reason};
use crate::target::effect::Verdict;
use crate::target::redis::Scope;
use crate::target::{Effect, Flush, Release, Sighting, Snapshot, Target};

/// How long after a flush that failed it is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// The step as the policy asks for it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct FlushRedis {
    /// What is taken away.
    pub mode: Mode,
    /// How long the step may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

/// What is taken away, as the policy asks for it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The keys of the target's prefix.
    #[default]
    Prefix,
    /// The target's database.
    Database,
    /// All databases.
    All,
}

/// The frozen plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    from: Release,
    to: Release,
    operation: String,
    flush: Flush,
}

impl Default for FlushRedis {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            within: Duration::from_secs(60),
        }
    }
}

impl Step for FlushRedis {
    type Plan = Plan;

    fn plan(&self, target: &Target, journey: &Journey, _at: &Snapshot) -> Result<Plan, Finding> {
        let lacking = |key: &str| {
            Reason::NotApplicable.because(format!(
                "target {} declares no `{key}`, which step `flush-redis` needs",
                target.name
            ))
        };
        if let Some(key) = self.lacks(target) {
            return Err(lacking(&key));
        }
        let redis = target.redis.clone().ok_or_else(|| lacking("redis"))?;
        let scope = match (self.mode, &redis.prefix) {
            (Mode::Prefix, Some(prefix)) => Scope::Prefix(prefix.clone()),
            (Mode::Prefix, None) => return Err(lacking("redis.prefix")),
            (Mode::Database, _) => Scope::Database,
            (Mode::All, _) => Scope::All,
        };
        Ok(Plan {
            from: journey.from.clone(),
            to: journey.to.clone(),
            operation: journey.operation.clone(),
            flush: Flush {
                redis,
                scope,
                within: self.within,
            },
        })
    }

    fn lacks(&self, target: &Target) -> Option<String> {
        let key = match (&target.redis, self.mode) {
            (None, _) => "redis",
            (Some(redis), Mode::Prefix) if redis.prefix.is_none() => "redis.prefix",
            (Some(redis), Mode::All) if !redis.allow_flush_all => "redis.allow_flush_all",
            (Some(_), Mode::Prefix | Mode::Database | Mode::All) => return None,
        };
        Some(key.to_owned())
    }

    fn next(plan: &Plan, at: &Snapshot, _seen: &[Sighting], past: &Entry, now: Timestamp) -> Next {
        let intent = past.intent.as_ref();
        let outcome = intent.and_then(|intent| intent.outcome.as_ref());
        match outcome.map(|outcome| (outcome.verdict, outcome.said.as_str())) {
            Some((Verdict::Done, said)) => {
                return Next::Done(Reason::Flushed.because(format!("{said}{}", repeats(past))));
            }
            Some((Verdict::Refused, said)) => {
                return Next::Fail(Reason::CacheRefused.because(said));
            }
            Some((Verdict::Failed | Verdict::NotBegun | Verdict::Unknown, _)) | None => {}
        }
        if let Err(next) = there(at, &plan.to, &plan.operation) {
            return next;
        }
        let failed = outcome.map(|outcome| outcome.said.clone());
        let left = none_left(at, &plan.from);
        if is_over(plan.flush.within, past, now) {
            return Next::Fail(match (left, failed) {
                (Err(left), _) => Reason::StepTimeout.because(left.said),
                (Ok(()), Some(said)) => Reason::CacheUnreachable.because(said),
                (Ok(()), None) => Reason::CacheUnreachable.because(format!(
                    "no answer of {} within {:?}; it may have been flushed in part",
                    plan.flush.redis.address, plan.flush.within
                )),
            });
        }
        if let Err(left) = left {
            return Next::Wait(left);
        }
        match (intent, failed) {
            (Some(intent), Some(said)) if now.duration_since(intent.at) < AGAIN => {
                Next::Wait(Reason::Retrying.because(said))
            }
            _ => Next::Do(Effect::Flush(plan.flush.clone())),
        }
    }
}

/// That the flush was begun more than once, where it was.
fn repeats(past: &Entry) -> String {
    if past.attempts < 2 {
        return String::new();
    }
    format!(
        "; it was begun {} times, because an answer was lost or a try failed: what went before is not in the count",
        past.attempts
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procedure::Intent;
    use crate::rollback::history::tests::target;
    use crate::target::effect::{EffectKind, Outcome};
    use crate::target::redis::tests::redis;
    use crate::target::snapshot::tests::{pod, promoted, restored};

    fn release(revision: i64, hash: &str) -> Release {
        Release {
            uid: "uid".into(),
            revision,
            hash: hash.into(),
            images: vec![],
        }
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn journey() -> Journey {
        Journey {
            operation: "op".into(),
            from: release(2, "bad"),
            to: release(1, "good"),
            served: true,
            owner: None,
        }
    }

    fn plan_of(step: &FlushRedis, redis: Option<crate::target::Redis>) -> Result<Plan, Finding> {
        let mut target = target();
        target.redis = redis;
        step.plan(&target, &journey(), &restored())
    }

    fn plan() -> Plan {
        plan_of(&FlushRedis::default(), Some(redis())).unwrap()
    }

    /// A flush that was begun at this second, with this answer.
    fn begun(at: i64, attempts: i64, answer: Option<(Verdict, &str)>) -> Entry {
        let mut past = Entry::pending("flush-redis");
        past.started = Some(second(0));
        past.attempts = attempts;
        past.intent = Some(Intent {
            effect: EffectKind::Flush,
            of: None,
            generation: 3,
            at: second(at),
            confirmed: None,
            outcome: answer.map(|(verdict, said)| Outcome {
                verdict,
                said: said.into(),
            }),
        });
        past
    }

    fn next(at: &Snapshot, past: &Entry, now: i64) -> Next {
        FlushRedis::next(&plan(), at, &[], past, second(now))
    }

    #[test]
    fn it_flushes_once_and_is_done_by_the_answer() {
        let mut past = Entry::pending("flush-redis");
        past.started = Some(second(0));
        let Next::Do(Effect::Flush(flush)) = next(&restored(), &past, 0) else {
            panic!()
        };
        assert_eq!(flush.scope, Scope::Prefix("pinn:".into()));
        let done = begun(0, 1, Some((Verdict::Done, "flushed 3 keys")));
        let finding = Reason::Flushed.because("flushed 3 keys");
        assert_eq!(next(&restored(), &done, 1), Next::Done(finding.clone()));
        // What happened since is for the next step.
        assert_eq!(next(&promoted(), &done, 100), Next::Done(finding));
    }

    #[test]
    fn an_answer_that_was_lost_means_once_more_and_that_is_said() {
        let lost = begun(0, 1, None);
        assert!(matches!(next(&restored(), &lost, 1), Next::Do(_)));
        let again = begun(1, 2, Some((Verdict::Done, "flushed 0 keys")));
        let Next::Done(finding) = next(&restored(), &again, 2) else {
            panic!()
        };
        assert!(finding.said.contains("begun 2 times"), "{}", finding.said);
    }

    #[test]
    fn a_failure_is_tried_again_in_a_while_and_ends_with_what_was_said_last() {
        let failed = begun(10, 3, Some((Verdict::Failed, "connection refused")));
        let at = restored();
        assert_eq!(
            FlushRedis::next(
                &plan(),
                &at,
                &[],
                &failed,
                Timestamp::new(10, 500_000_000).unwrap()
            ),
            Next::Wait(Reason::Retrying.because("connection refused"))
        );
        assert!(matches!(next(&at, &failed, 11), Next::Do(_)));
        assert_eq!(
            next(&at, &failed, 60),
            Next::Fail(Reason::CacheUnreachable.because("connection refused"))
        );
    }

    #[test]
    fn a_refusal_ends_it_at_once() {
        let refused = begun(0, 1, Some((Verdict::Refused, "NOAUTH")));
        assert_eq!(
            next(&restored(), &refused, 0),
            Next::Fail(Reason::CacheRefused.because("NOAUTH"))
        );
    }

    #[test]
    fn nothing_is_flushed_while_a_bad_pod_runs_or_something_else_is_live() {
        let mut past = Entry::pending("flush-redis");
        past.started = Some(second(0));
        let mut at = restored();
        let mut stopping = pod("bad-1", "bad");
        stopping.deleting = true;
        at.pods.push(stopping);
        let Next::Wait(finding) = next(&at, &past, 0) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::PodsRemaining);
        let Next::Fail(finding) = next(&at, &past, 60) else {
            panic!()
        };
        assert_eq!(finding.reason, Reason::StepTimeout);
        assert!(matches!(next(&promoted(), &past, 0), Next::Yield(_)));
    }

    #[test]
    fn what_a_target_does_not_declare_is_not_planned() {
        let reason = |step: &FlushRedis, redis| plan_of(step, redis).unwrap_err();
        let all = FlushRedis {
            mode: Mode::All,
            ..FlushRedis::default()
        };
        let bare = crate::target::Redis {
            prefix: None,
            ..redis()
        };
        for (finding, key) in [
            (reason(&FlushRedis::default(), None), "`redis`"),
            (reason(&FlushRedis::default(), Some(bare)), "`redis.prefix`"),
            (reason(&all, Some(redis())), "`redis.allow_flush_all`"),
        ] {
            assert_eq!(finding.reason, Reason::NotApplicable);
            assert!(finding.said.contains(key), "{}", finding.said);
        }
        let allowed = crate::target::Redis {
            allow_flush_all: true,
            ..redis()
        };
        assert_eq!(
            plan_of(&all, Some(allowed)).unwrap().flush.scope,
            Scope::All
        );
    }
}
