//! Takes part in the election, and puts the work of each term to work.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease::{Lease, Standing, Term};

/// Takes part until `stop`, and calls `on_term` at the beginning of each term that this replica leads. What is spawned
/// with the term is waited for before the lease is handed over.
pub async fn lead(
    lease: Lease,
    stop: CancellationToken,
    standing: watch::Sender<Standing>,
    on_term: impl Fn(&Term) + Send + 'static,
) {
    let mut watched = standing.subscribe();
    let began = async move {
        while watched.changed().await.is_ok() {
            let term = watched.borrow_and_update().term().cloned();
            if let Some(term) = term {
                on_term(&term);
            }
        }
    };
    tokio::select! {
        () = lease.run(stop, standing) => {}
        () = began => {}
    }
}
