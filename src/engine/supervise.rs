//! Work that goes on after a panic: a fault in one rollback must not stop the others, nor silence a replica that leads.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// How long after a panic the work is begun again.
const AGAIN: Duration = Duration::from_secs(1);

/// Does `work`, and begins it again where it panics, until it returns or `ended`. Whatever it works with must be sound
/// after being left at any point, as after a crash.
pub async fn supervise<W: Future<Output = ()>>(
    what: &str,
    ended: &CancellationToken,
    work: impl Fn() -> W,
) {
    while let Err(panic) = AssertUnwindSafe(work()).catch_unwind().await {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        tracing::error!(
            work = what,
            panic = said.unwrap_or_default(),
            "a fault in Ripcord itself; the work is begun again"
        );
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_again_until_it_returns() {
        let tries = AtomicU32::new(0);
        let work = || async {
            assert!(tries.fetch_add(1, Ordering::Relaxed) == 2, "not yet");
        };
        supervise("a test", &CancellationToken::new(), work).await;
        assert_eq!(tries.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_begun_again_once_the_term_has_ended() {
        let ended = CancellationToken::new();
        ended.cancel();
        supervise("a test", &ended, || async { panic!("always") }).await;
    }
}
