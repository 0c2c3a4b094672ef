//! Leadership by a `coordination.k8s.io/v1` Lease: at any time at most one replica is told that it leads.
//!
//! The rules are those of client-go. A candidate takes the lease when it names nobody, or when nobody has written to it
//! for as long as its holder promised, measured on the candidate's own monotonic clock; times inside the record are for
//! people. Every write carries the resourceVersion it was decided on. A leader counts from the moment it *sent* its last
//! successful renewal and steps down [`Settings::renew_deadline`] after it, which is before anybody else may take over.
//!
//! A lease is coordination, not fencing. A process that was frozen, or a request that was slow on its way, can still
//! reach the API server after another replica has begun to lead. Each write made on behalf of a term must therefore
//! carry its own precondition; nothing here can promise that for it.

mod decision;
mod settings;
mod term;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    mem,
    pin::{Pin, pin},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Record, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use decision::Move;

pub use settings::{Settings, SettingsError};
pub use term::{Standing, Term};

/// A candidate for leadership.
pub struct Lease {
    api: Api<Record>,
    namespace: String,
    name: String,
    identity: String,
    settings: Settings,
    wall_clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    seen: Option<Seen>,
    /// Whether `seen` is what we last wrote ourselves, so that the next renewal need not read first.
    own: bool,
}

/// The record as last read or written.
struct Seen {
    record: Record,
    /// When we first saw this resourceVersion. Any write to the object counts as a sign of life.
    since: Instant,
}

/// What one round at the API server came to.
enum Round {
    Held { until: Instant, how: Move },
    Elsewhere { left: Duration },
}

/// How a term came to its end.
enum Ending {
    Lost,
    /// Asked to end; `stopped` says whether its work has stopped in time.
    Asked {
        stopped: bool,
    },
}

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the API server refused or failed: {0}")]
    Api(#[from] kube::Error),
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

// === impl Lease ===

impl Lease {
    /// A candidate that has not looked yet.
    ///
    /// `identity` must belong to one living process only: two that share it would both lead. `client` should not retry
    /// by itself, as every call here has its own time limit and is decided anew. `settings` are taken as
    /// [valid](Settings::validate).
    pub fn new(
        client: Client,
        namespace: &str,
        name: impl Into<String>,
        identity: impl Into<String>,
        settings: Settings,
        wall_clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.into(),
            identity: identity.into(),
            settings,
            wall_clock: Box::new(wall_clock),
            seen: None,
            own: false,
        }
    }

    /// Takes part until `stop` is cancelled, and publishes on `standing` whether this replica leads.
    ///
    /// Each term ends at once when leadership is lost or `stop` is cancelled, and also when this future is dropped.
    /// After a loss the replica is no candidate again before the work of the lost term has stopped. After `stop` the
    /// lease is renewed until the work has stopped, and then released, so that the next replica takes over at its next
    /// look. Work that has not stopped within [`Settings::drain`] keeps the lease from being released: it then runs out
    /// by itself, and nobody starts beside that work any sooner than after a crash.
    pub async fn run(mut self, stop: CancellationToken, standing: watch::Sender<Standing>) {
        while let Some((until, transitions)) = self.campaign(&stop, &standing).await {
            let term = Term::new(&stop);
            let guard = term.end_on_drop();
            tracing::info!(
                lease = self.name,
                identity = self.identity,
                transitions,
                "leading"
            );
            standing.send_replace(Standing::Leader {
                since: (self.wall_clock)(),
                transitions,
                term: term.clone(),
            });

            let mut stopped = pin!(term.stopped(&stop, self.settings.drain));
            let ending = self.lead(until, &stop, stopped.as_mut()).await;
            drop(guard);
            standing.send_replace(self.following());
            let stopped = match ending {
                Ending::Asked { stopped } => stopped,
                Ending::Lost => {
                    tracing::warn!(lease = self.name, "no longer leading");
                    stopped.await
                }
            };
            if !stopped {
                tracing::warn!(
                    lease = self.name,
                    "the lease is left to run out: the term's work has not stopped in time"
                );
                return;
            }
        }
        self.release().await;
    }

    /// Tries to get the lease; returns until when it is held, or nothing when asked to stop.
    async fn campaign(
        &mut self,
        stop: &CancellationToken,
        standing: &watch::Sender<Standing>,
    ) -> Option<(Instant, i32)> {
        loop {
            let began = Instant::now();
            let pause = match stop.run_until_cancelled(self.round()).await? {
                // A process frozen between the call and here must not begin a term that has run out already.
                Ok(Round::Held { until, .. }) if Instant::now() < until => {
                    return Some((until, self.transitions()));
                }
                Ok(Round::Elsewhere { left }) => left.min(self.settings.retry),
                Ok(Round::Held { .. }) => self.settings.retry,
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "cannot look at the lease");
                    self.settings.retry
                }
            };
            let now = self.following();
            standing.send_if_modified(|last| {
                let changed = last.holder() != now.holder() || last.term().is_some();
                *last = now;
                changed
            });
            stop.run_until_cancelled(sleep_until(began + pause)).await?;
        }
    }

    /// Renews until the lease is lost, or until asked to stop and done waiting for the term's work.
    async fn lead(
        &mut self,
        mut until: Instant,
        stop: &CancellationToken,
        mut stopped: Pin<&mut impl Future<Output = bool>>,
    ) -> Ending {
        let mut next = Instant::now() + self.settings.retry;
        loop {
            let renewal = async {
                sleep_until(next).await;
                next = Instant::now() + self.settings.retry;
                self.round().await
            };
            tokio::select! {
                biased;
                // First, so that it wins over a late answer after the process was frozen.
                () = sleep_until(until) => {
                    tracing::warn!(lease = self.name, "no renewal succeeded within the deadline");
                    return Ending::Lost;
                }
                stopped = async { stop.cancelled().await; stopped.as_mut().await } => return Ending::Asked { stopped },
                round = renewal => match round {
                    Ok(Round::Held { until: renewed, how: Move::Renew }) => until = renewed,
                    // Deleted, emptied or taken: whatever happened in between, this term was not all of it.
                    Ok(_) => return Ending::Lost,
                    Err(error) => tracing::warn!(lease = self.name, %error, "cannot renew the lease"),
                },
            }
        }
    }

    /// Looks at the record, unless it is known to be our own last write, and does what is to be done about it.
    async fn round(&mut self) -> Result<Round, RoundError> {
        if mem::take(&mut self.own) {
            match self.act().await {
                Err(RoundError::Api(kube::Error::Api(status))) if status.is_conflict() => {}
                done => return done,
            }
        }
        self.observe().await?;
        self.act().await
    }

    async fn observe(&mut self) -> Result<(), RoundError> {
        let read = self.within_limit(self.api.get_opt(&self.name)).await?;
        self.remember(read);
        Ok(())
    }

    async fn act(&mut self) -> Result<Round, RoundError> {
        let sent = Instant::now();
        let silent = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |seen| sent - seen.since);
        let how = decision::decide(self.spec(), silent, &self.identity, self.settings.duration);
        if let Move::Wait(left) = how {
            return Ok(Round::Elsewhere { left });
        }
        let now = (self.wall_clock)();
        let claim = decision::claim(self.spec(), &self.identity, self.settings.duration, now);
        self.write(claim).await?;
        self.own = true;
        let until = sent + self.settings.renew_deadline;
        Ok(Round::Held { until, how })
    }

    /// Gives the lease up if it is ours; the second attempt is for a write of ours that was still on its way.
    async fn release(&mut self) {
        for _ in 0..2 {
            match self.give_up().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(lease = self.name, %error, "cannot release the lease"),
            }
        }
    }

    /// Reads first: a claim whose answer never came may have made the lease ours.
    async fn give_up(&mut self) -> Result<(), RoundError> {
        self.observe().await?;
        if let Some(spec) = self.spec()
            && decision::holder(spec) == Some(self.identity.as_str())
        {
            let empty = decision::release(spec, (self.wall_clock)());
            self.write(empty).await?;
            tracing::info!(
                lease = self.name,
                identity = self.identity,
                "lease released"
            );
        }
        Ok(())
    }

    /// Creates the record, or replaces exactly the one that was seen.
    async fn write(&mut self, spec: LeaseSpec) -> Result<(), RoundError> {
        let how = PostParams::default();
        let written = if let Some(Seen { record, .. }) = &self.seen {
            let record = Record {
                metadata: record.metadata.clone(),
                spec: Some(spec),
            };
            self.within_limit(self.api.replace(&self.name, &how, &record))
                .await?
        } else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            };
            let record = Record {
                metadata,
                spec: Some(spec),
            };
            self.within_limit(self.api.create(&how, &record)).await?
        };
        self.remember(Some(written));
        Ok(())
    }

    fn remember(&mut self, record: Option<Record>) {
        let version = |record: &Record| {
            (
                record.metadata.uid.clone(),
                record.metadata.resource_version.clone(),
            )
        };
        let last = self.seen.take();
        self.seen = record.map(|mut record| {
            // A record without a spec names nobody, but it exists: it must be replaced, not created.
            record.spec.get_or_insert_default();
            let since = match last {
                Some(last) if version(&last.record) == version(&record) => last.since,
                _ => Instant::now(),
            };
            Seen { record, since }
        });
    }

    async fn within_limit<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, RoundError> {
        let limit = self.settings.call_limit();
        match timeout(limit, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RoundError::Timeout(limit)),
        }
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.seen.as_ref()?.record.spec.as_ref()
    }

    fn transitions(&self) -> i32 {
        self.spec()
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or(0)
    }

    fn following(&self) -> Standing {
        Standing::Follower {
            holder: self.spec().and_then(decision::holder).map(str::to_owned),
        }
    }
}
