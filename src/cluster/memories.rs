//! A target's memory: read by whoever is about to claim, written by the leader alone, with its resourceVersion.

use kube::api::PostParams;

use super::client::MANAGER;
use super::{Cluster, Error};
use crate::rollback::memory::MemorySpec;
use crate::rollback::{Memory, MemoryStatus};
use crate::target::Target;

impl Cluster {
    /// Reads the memory of a target, fresh, where there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn recall(&self, target: &Target) -> Result<Option<Memory>, Error> {
        let api = self.api::<Memory>(&target.workload.namespace);
        match self.call(api.get(&target.name)).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the memory of a target, fresh; makes it where there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn memory(&self, target: &Target) -> Result<Memory, Error> {
        if let Some(found) = self.recall(target).await? {
            return Ok(found);
        }
        let api = self.api::<Memory>(&target.workload.namespace);
        let fresh = Memory::new(&target.name, MemorySpec::default());
        match self.call(api.create(&params(), &fresh)).await {
            Err(Error::Exists(_)) => self.call(api.get(&target.name)).await,
            made => made,
        }
    }

    /// Changes what is remembered of a target: reads, changes, writes with the resourceVersion of that read, and begins
    /// again where somebody else wrote. `change` says whether there is anything to write.
    ///
    /// What is `known` already saves the first read where there is something to write: the write has no effect, and the
    /// memory is read, if it is not the latest.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn remember(
        &self,
        target: &Target,
        mut known: Option<Memory>,
        mut change: impl FnMut(&mut MemoryStatus) -> bool,
    ) -> Result<Memory, Error> {
        let api = self.api::<Memory>(&target.workload.namespace);
        let mut last = None;
        for _ in 0..10 {
            let guessed = known.take();
            let fresh = guessed.is_none();
            let mut memory = match guessed {
                Some(known) => known,
                None => self.memory(target).await?,
            };
            let mut status = memory.state().into_owned();
            if !change(&mut status) {
                if fresh {
                    return Ok(memory);
                }
                continue;
            }
            memory.status = Some(status);
            match self
                .call(api.replace_status(&target.name, &params(), &memory))
                .await
            {
                Err(Error::Precondition(said)) => last = Some(said),
                written => return written,
            }
        }
        Err(Error::Precondition(last.unwrap_or_default()))
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        dry_run: false,
    }
}
