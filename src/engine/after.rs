//! Looks at a release after its rollback succeeded: the numbers that the policy names, right after the end, and 5 and 30
//! minutes later.
//!
//! It blocks nothing and changes nothing: it asks Prometheus, and writes down what it saw in a part of the status of its
//! own. It stops when another release is live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::Context;
use crate::cluster::prometheus::NoNumber;
use crate::reason::{Finding, Reason};
use crate::rollback::after::{After, Check, Due, Number, due};
use crate::rollback::{Phase, Rollback};
use crate::target::measure::QueryFacts;
use crate::target::{Measure, Release, Snapshot, Target};

/// How long to wait after a look that could not be made or recorded.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// Everything is looked at again after this long, whatever was announced.
const ROUND: Duration = Duration::from_secs(60);

/// What this process remembers of a rollback: it may be ahead of its caches.
#[derive(Clone, Copy, Default)]
struct Past {
    /// The sequence number that was written last.
    seq: i64,
    /// No look before this.
    not_before: Option<Timestamp>,
}

/// Works until the term ends.
pub async fn work(ctx: Context) {
    let mut changes = ctx.caches.changes();
    let mut past: HashMap<String, Past> = HashMap::new();
    loop {
        let wake = round(&ctx, &mut past).await;
        tokio::select! {
            () = ctx.ended.cancelled() => return,
            () = tokio::time::sleep(wake) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Makes the looks that are due; says when to come again.
async fn round(ctx: &Context, past: &mut HashMap<String, Past>) -> Duration {
    let policy = ctx.policy.load_full();
    let mut wake = ROUND;
    let all = ctx.caches.rollbacks.all();
    past.retain(|uid, _| all.iter().any(|it| it.metadata.uid.as_ref() == Some(uid)));
    for rollback in all {
        if ctx.ended.is_cancelled() {
            return wake;
        }
        let target = policy.targets.get(&rollback.spec.target);
        let target = target
            .filter(|it| it.workload.namespace == rollback.namespace() && !it.after.is_empty());
        let (Some(target), Some(uid)) = (target, rollback.metadata.uid.clone()) else {
            continue;
        };
        if rollback.phase() != Phase::Succeeded {
            continue;
        }
        let past = past.entry(uid).or_default();
        let now = (ctx.clock)();
        // What was written and is not in the caches yet would be done twice.
        if rollback.state().after.seq < past.seq {
            continue;
        }
        if let Some(at) = past.not_before.filter(|at| *at > now) {
            wake = wake.min(until(at, now));
            continue;
        }
        let check = match due(&rollback, now) {
            Due::Nothing => continue,
            Due::At(at) => {
                wake = wake.min(until(at, now));
                continue;
            }
            Due::Missed(minutes) => {
                let why = Reason::NotChecked.because("nobody looked in time");
                Some(Check::skipped(minutes, now, why))
            }
            Due::Now(minutes, latest) => look(ctx, &rollback, target, minutes, latest).await,
        };
        match check {
            Some(check) => note(ctx, &rollback, check, past).await,
            None => past.not_before = Some(now + AGAIN),
        }
        // There may be more to do at once, or soon.
        wake = wake.min(Duration::from_secs(1));
    }
    wake
}

/// Makes one look; nothing where it can be made later just as well.
async fn look(
    ctx: &Context,
    rollback: &Arc<Rollback>,
    target: &Target,
    minutes: i64,
    latest: Timestamp,
) -> Option<Check> {
    // It is given up only when there is no time to try again.
    let out = |why: Finding| {
        let now = (ctx.clock)();
        tracing::warn!(rollback = rollback.name(), minutes, %why, "the release cannot be checked after the end");
        (now + AGAIN > latest).then(|| Check::skipped(minutes, now, why))
    };
    let plan = rollback.state().plan.clone()?;
    let at = match ctx.cluster.snapshot(&target.workload, &ctx.clock).await {
        Ok(at) => at,
        Err(error) => return out(Reason::NotChecked.because(error.to_string())),
    };
    // The id that went with the rollback's changes, by which a restarted destination is known.
    let operation = rollback.metadata.uid.as_deref().unwrap_or_default();
    let hash = match live(&at, &plan.to, operation) {
        Ok(hash) => hash,
        Err(why) if why.reason == Reason::ControllerLag => return out(why),
        Err(why) => return Some(Check::skipped(minutes, (ctx.clock)(), why)),
    };
    let facts = QueryFacts {
        namespace: target.workload.namespace.clone(),
        workload: target.workload.name.clone(),
        hash: hash.to_owned(),
    };
    let asked = target.after.iter().map(|measure| ask(ctx, measure, &facts));
    let mut numbers = Vec::new();
    for number in join_all(asked).await {
        match number {
            Ok(number) => numbers.push(number),
            Err(outage) => return out(Reason::NotChecked.because(outage.to_string())),
        }
    }
    Some(Check {
        minutes,
        at: (ctx.clock)(),
        skipped: None,
        numbers,
    })
}

/// One number; an error where Prometheus cannot be asked now.
async fn ask(ctx: &Context, measure: &Measure, facts: &QueryFacts) -> Result<Number, NoNumber> {
    let name = measure.name.clone();
    let without = |said: String| Number {
        said: format!("{name}: {said}"),
        name: name.clone(),
        value: None,
        good: false,
    };
    let query = match measure.filled(facts) {
        Ok(query) => query,
        Err(error) => return Ok(without(error.to_string())),
    };
    match ctx.prober.measure(&query).await {
        Ok(value) => Ok(Number {
            said: measure.says(value),
            good: measure.good.holds(value),
            value: Some(value),
            name,
        }),
        Err(error) if error.is_outage() => Err(error),
        Err(error) => Ok(without(error.to_string())),
    }
}

/// The hash under which the release is live.
///
/// # Errors
/// Why it is not there to be looked at.
fn live<'a>(at: &'a Snapshot, to: &Release, operation: &str) -> Result<&'a str, Finding> {
    let rollout = at.rollout.as_ref().filter(|it| it.uid == to.uid);
    let Some(rollout) = rollout.filter(|it| !it.deleting) else {
        return Err(Reason::WorkloadGone.because("the workload is not there any more"));
    };
    if !rollout.observed {
        return Err(Reason::ControllerLag.into());
    }
    at.arrived(to, operation).ok_or_else(|| {
        let live = at.release(rollout, &rollout.current);
        Reason::NewRelease.because(format!("another release is live: {live}"))
    })
}

/// Writes one look down.
async fn note(ctx: &Context, rollback: &Rollback, check: Check, past: &mut Past) {
    let state = rollback.state();
    let mut after = After {
        seq: state.after.seq + 1,
        checks: state.after.checks.clone(),
    };
    tracing::info!(
        rollback = rollback.name(),
        minutes = check.minutes,
        good = check.good(),
        "the release was looked at after the end"
    );
    after.checks.push(check);
    match ctx.cluster.write_after(rollback, &after).await {
        Ok(()) => past.seq = after.seq,
        Err(error) => {
            past.not_before = Some((ctx.clock)() + AGAIN);
            tracing::warn!(rollback = rollback.name(), %error, "a look after the end is not recorded");
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::restart::tests::restarted_deployment;
    use crate::target::snapshot::tests::{in_flight, restored};

    #[test]
    fn a_release_is_live_under_its_hash_or_that_of_its_restart() {
        let to = Release {
            uid: "uid".into(),
            revision: 1,
            hash: "good".into(),
            images: vec![],
        };
        assert_eq!(live(&restored(), &to, "op"), Ok("good"));
        assert_eq!(live(&restarted_deployment(), &to, "op"), Ok("again"));
        let why = |at: &Snapshot| live(at, &to, "op").unwrap_err().reason;
        assert_eq!(why(&in_flight()), Reason::NewRelease);
        let mut lags = restored();
        lags.rollout.as_mut().unwrap().observed = false;
        assert_eq!(why(&lags), Reason::ControllerLag);
        let mut gone = restored();
        gone.rollout = None;
        assert_eq!(why(&gone), Reason::WorkloadGone);
    }
}
