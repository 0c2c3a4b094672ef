//! Fresh lists of rollbacks, one at a time of each namespace: whoever comes while one is read shares the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::rollback::Rollback;

/// The last list of each namespace.
#[derive(Default)]
pub(super) struct Lists(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Listed>>>>>);

struct Listed {
    began: Instant,
    rollbacks: Arc<[Arc<Rollback>]>,
}

// === impl Lists ===

impl Lists {
    /// What `list` reads, or what was read by somebody since this was asked: no list is older than the question.
    ///
    /// # Errors
    /// Those of `list`.
    pub(super) async fn fresh<E>(
        &self,
        namespace: &str,
        list: impl Future<Output = Result<Vec<Arc<Rollback>>, E>>,
    ) -> Result<Arc<[Arc<Rollback>]>, E> {
        let came = Instant::now();
        let slot = self.slot(namespace);
        let mut last = slot.lock().await;
        if let Some(listed) = last.as_ref().filter(|it| it.began >= came) {
            return Ok(Arc::clone(&listed.rollbacks));
        }
        let began = Instant::now();
        let rollbacks: Arc<[_]> = list.await?.into();
        *last = Some(Listed {
            began,
            rollbacks: Arc::clone(&rollbacks),
        });
        Ok(rollbacks)
    }

    fn slot(&self, namespace: &str) -> Arc<tokio::sync::Mutex<Option<Listed>>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(namespace.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_come_during_a_list_share_the_next() {
        let (lists, read) = (Lists::default(), AtomicUsize::new(0));
        let ask = async |after: u64| {
            sleep(Duration::from_millis(after)).await;
            let list = async {
                sleep(Duration::from_millis(100)).await;
                read.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>(Vec::new())
            };
            lists.fresh("n", list).await.unwrap();
        };
        // One that comes in the middle of a list may ask for what came after it began.
        join_all([0, 10, 20, 50, 99].map(ask)).await;
        assert_eq!(read.load(Ordering::SeqCst), 2);
        ask(0).await;
        assert_eq!(read.load(Ordering::SeqCst), 3);
    }
}
