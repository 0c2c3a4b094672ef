//! The scenarios, by name. Each is a short story: the state before, the alert, and the end as the API, the ready endpoints
//! and a client of the Service see it. Those in `tests/support/story/` are played on the simulated cluster too.

mod blue_green;
mod chain;
mod deployment;
mod harness;
mod in_flight;
mod midway;
mod owned;
mod pair;
mod people;
mod promoted;
mod refused;
mod routed;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::scene::Scene;
use crate::support::story::{self, for_each_story};

/// A scenario that has not begun.
type Story = fn() -> LocalBoxFuture<'static, ()>;

/// Lists the stories that are played on both grounds.
macro_rules! both {
    ($($name:ident: $module:ident::$story:ident,)+) => {
        const BOTH: &[(&str, Story)] = &[
            $((stringify!($name), || story::$module::$story::<Scene>().boxed_local()),)+
        ];
    };
}

/// Lists scenarios for the real cluster alone: each is a function of a module, and its name is that of both.
macro_rules! real {
    ($($module:ident: $($story:ident)+;)+) => {
        const REAL: &[(&str, Story)] = &[
            $($((concat!(stringify!($module), "_", stringify!($story)), || $module::$story().boxed_local()),)+)+
        ];
    };
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static (&'static str, Story)> {
    BOTH.iter().chain(REAL)
}

for_each_story!(both);

real! {
    harness: pods_behave pods_count manifests_are_accepted;
    in_flight: injected_metadata past_its_deadline aborted_at_its_deadline stable_not_ready;
    promoted: rollback_window injected_affinity;
    blue_green: promoted promoted_long_ago promoted_by_hand before_promotion in_analysis in_analysis_and_unready;
    deployment: complete rolling_out paused undone first_deploy history_is_gone of_argo_cd;
    midway: destination_cannot_start;
    chain: errors errors_everywhere good_releases;
    pair: oldest_alertmanagers newest_alertmanagers;
    people:
        undo_copies_no_metadata active_service_is_taken_back active_service_stays_switched;
    routed: nginx nginx_dynamic_stable_scale nginx_set_canary_scale nginx_stable_not_ready nginx_of_argo_cd;
    owned:
        canary_of_argo_cd canary_of_flux canary_that_argo_cd_applied full_promotion_requested paused_by_its_spec
        blue_green_before_promotion blue_green_switched promoted instance_label_alone policy_says_gitops
        policy_says_nobody;
    refused: history_is_gone invalid_spec template_elsewhere leads_nowhere;
}
