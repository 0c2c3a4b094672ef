//! A rollback in the hands of the leader: what it owns of the status, written under its epoch.

mod patience;

use self::patience::{Call, Patience, SHORT};
use super::Context;
use crate::cluster::Error;
use crate::cluster::journal::Page;
use crate::rollback::{Phase, Rollback};

/// A rollback in the hands of the leader.
pub struct Journal {
    /// The object as it was last read or written.
    pub rollback: Rollback,
    /// What the engine owns of it. Changed freely, and kept by [`write`](Self::write).
    pub page: Page,
    /// The epoch that the object is known to have.
    epoch: i64,
    /// Of a plan that is not on record yet: how many times the alerts had been written when it was made.
    draft: Option<i64>,
}

/// Why a run ends in this replica without an end on record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Halt {
    /// Another leader took over.
    Fenced,
    /// The object is gone.
    Gone,
    /// The term ended.
    TermEnded,
    /// An alert joined since the plan was made: make it again.
    Joined,
}

impl Journal {
    /// Reads the rollback fresh; none if it is gone or has ended. The first write raises its epoch.
    ///
    /// One of a target that nobody has worked on is taken as it was claimed: if that is not the latest, the first write has no
    /// effect.
    pub async fn open(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Self>, Halt> {
        if let Some(claimed) = ctx.caches.rollbacks.get(namespace, name)
            && claimed.phase() == Phase::Pending
            && claimed.spec.unplaced.is_none()
            && claimed.state().run.epoch == 0
        {
            return Ok(Some(Self::of(Rollback::clone(&claimed), &ctx.identity)));
        }
        let mut patience = Patience::new(ctx, namespace, name, Call::Read);
        loop {
            match ctx.cluster.rollback(namespace, name).await {
                Ok(rollback) => {
                    ctx.caches
                        .rollbacks
                        .offer(namespace, name, rollback.clone());
                    return Ok(
                        (!rollback.phase().ended()).then(|| Self::of(rollback, &ctx.identity))
                    );
                }
                Err(Error::NotFound(_)) => {
                    ctx.caches.rollbacks.forget(namespace, name);
                    return Ok(None);
                }
                Err(error) => patience.wait(&error).await?,
            }
        }
    }

    fn of(rollback: Rollback, identity: &str) -> Self {
        let state = rollback.state().into_owned();
        let epoch = state.run.epoch;
        let mut page = Page {
            phase: state.phase,
            reason: state.reason,
            plan: state.plan,
            run: state.run,
        };
        page.run.epoch = epoch + 1;
        page.run.leader = Some(identity.to_owned());
        Self {
            rollback,
            page,
            epoch,
            draft: None,
        }
    }

    /// Leaves the plan on the page to the next write: that is the first intent's as a rule, and one call fewer stands before
    /// the change. It has no effect if an alert joins before.
    pub fn draft(&mut self) {
        self.draft = Some(self.rollback.state().alerts.seq);
    }

    /// Whether the plan on the page is not on record yet.
    #[must_use]
    pub const fn is_draft(&self) -> bool {
        self.draft.is_some()
    }

    /// Keeps what changed. A write whose answer was lost is sent again: under one epoch there is one writer.
    ///
    /// # Errors
    /// Why this replica must leave the rollback alone; [`Halt::Joined`] where the plan was a draft and an alert joined.
    pub async fn write(&mut self, ctx: &Context) -> Result<(), Halt> {
        self.write_if(ctx, self.draft).await
    }

    /// As [`write`](Self::write), if no alert joined since the object was read.
    ///
    /// # Errors
    /// [`Halt::Joined`] if one did; the object is read anew.
    pub async fn write_unless_joined(&mut self, ctx: &Context) -> Result<(), Halt> {
        let seq = self.rollback.state().alerts.seq;
        self.write_if(ctx, Some(seq)).await
    }

    /// Makes sure that no other leader has taken the rollback over.
    ///
    /// # Errors
    /// Why this replica must leave the rollback alone.
    pub async fn fence(&self, ctx: &Context) -> Result<(), Halt> {
        let (namespace, name) = (self.rollback.namespace(), self.rollback.name());
        let mut patience = Patience::new(ctx, namespace, name, Call::Read);
        loop {
            match ctx.cluster.rollback(namespace, name).await {
                Ok(found) if found.metadata.uid != self.rollback.metadata.uid => {
                    return Err(Halt::Gone);
                }
                Ok(found) if found.state().run.epoch != self.epoch => return Err(Halt::Fenced),
                Ok(_) => return Ok(()),
                Err(Error::NotFound(_)) => {
                    ctx.caches.rollbacks.forget(namespace, name);
                    return Err(Halt::Gone);
                }
                Err(error) => patience.wait(&error).await?,
            }
        }
    }

    async fn write_if(&mut self, ctx: &Context, alerts_seq: Option<i64>) -> Result<(), Halt> {
        self.page.run.seq += 1;
        let (namespace, name) = (self.rollback.namespace(), self.rollback.name());
        let mut patience = Patience::new(ctx, namespace, name, Call::Write);
        loop {
            match ctx
                .cluster
                .write_page(&self.rollback, self.epoch, &self.page, alerts_seq)
                .await
            {
                Ok(written) => {
                    self.epoch = self.page.run.epoch;
                    self.draft = None;
                    self.kept(ctx, written);
                    return Ok(());
                }
                Err(Error::NotFound(_)) => {
                    let (namespace, name) = (self.rollback.namespace(), self.rollback.name());
                    ctx.caches.rollbacks.forget(namespace, name);
                    return Err(Halt::Gone);
                }
                Err(Error::Precondition(said)) => {
                    let after = self.after_precondition(ctx, alerts_seq, &mut patience, said);
                    if let Some(end) = after.await {
                        return end;
                    }
                }
                Err(error) => patience.wait(&error).await?,
            }
        }
    }

    /// Finds out why a write had no effect; none means that it should be tried again.
    async fn after_precondition(
        &mut self,
        ctx: &Context,
        alerts_seq: Option<i64>,
        patience: &mut Patience<'_>,
        said: String,
    ) -> Option<Result<(), Halt>> {
        let found = match ctx
            .cluster
            .rollback(self.rollback.namespace(), self.rollback.name())
            .await
        {
            Ok(found) if found.metadata.uid == self.rollback.metadata.uid => found,
            Ok(_) | Err(Error::NotFound(_)) => return Some(Err(Halt::Gone)),
            Err(_) => return (!ctx.pause(SHORT).await).then_some(Err(Halt::TermEnded)),
        };
        let state = found.state().into_owned();
        if state.run.epoch == self.page.run.epoch
            && state.run.seq == self.page.run.seq
            && state.run.leader == self.page.run.leader
        {
            // Our own write whose answer was lost, while its first try raised the epoch.
            self.epoch = self.page.run.epoch;
            self.draft = None;
            self.kept(ctx, found);
            return Some(Ok(()));
        }
        if state.run.epoch != self.epoch {
            let (namespace, name) = (found.namespace().to_owned(), found.name().to_owned());
            ctx.caches.rollbacks.offer(&namespace, &name, found);
            return Some(Err(Halt::Fenced));
        }
        if alerts_seq.is_some_and(|seq| state.alerts.seq != seq) {
            self.kept(ctx, found);
            return Some(Err(Halt::Joined));
        }
        // Nobody else wrote, and no schema is named: a path of the patch does not exist, for one.
        let refused = Error::Rejected(format!("for no visible reason: {said}"));
        patience.wait(&refused).await.err().map(Err)
    }

    /// The object is as the page was sent, or as it was found after that.
    fn kept(&mut self, ctx: &Context, found: Rollback) {
        ctx.caches
            .rollbacks
            .offer(found.namespace(), found.name(), found.clone());
        self.rollback = found;
    }

    /// Takes in what people and intake wrote since: the watch tells of it.
    pub fn refresh(&mut self, ctx: &Context) {
        let cached = ctx
            .caches
            .rollbacks
            .get(self.rollback.namespace(), self.rollback.name());
        if let Some(cached) =
            cached.filter(|cached| cached.metadata.uid == self.rollback.metadata.uid)
        {
            self.rollback.spec = cached.spec.clone();
            self.rollback.metadata = cached.metadata.clone();
            if let (Some(ours), Some(theirs)) =
                (self.rollback.status.as_mut(), cached.status.as_ref())
            {
                ours.alerts = theirs.alerts.clone();
            }
        }
    }
}
