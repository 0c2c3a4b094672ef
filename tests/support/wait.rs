//! Waits for a condition, and for nothing else.

use std::time::Duration;

/// Asks again and again until there is something, and gives up after `limit`.
pub(crate) async fn until<T>(
    mut what: impl AsyncFnMut() -> Option<T>,
    limit: Duration,
) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = what().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(limit, found).await.ok()
}
