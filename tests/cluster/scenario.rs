//! The scenarios, by name. Each is a short story: the state before, the alert, and the end as the API, the ready endpoints
//! and a client of the Service see it.

mod canary;
mod harness;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

/// A scenario that has not begun.
type Story = fn() -> LocalBoxFuture<'static, ()>;

/// All of them.
pub(crate) const ALL: [(&str, Story); 4] = [
    ("harness_pods_behave", || {
        harness::pods_behave().boxed_local()
    }),
    ("harness_manifests_are_accepted", || {
        harness::manifests_are_accepted().boxed_local()
    }),
    ("canary_paused", || canary::paused().boxed_local()),
    ("canary_controller_asleep", || {
        canary::controller_asleep().boxed_local()
    }),
];
