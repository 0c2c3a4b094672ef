//! The scenarios, by name. Each is a short story: the state before, the alert, and the end as the API, the ready endpoints
//! and a client of the Service see it.

mod blue_green;
mod cache;
mod canary;
mod chain;
mod deployment;
mod harness;
mod in_flight;
mod lost;
mod midway;
mod owned;
mod pair;
mod promoted;
mod refused;
mod routed;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

/// A scenario that has not begun.
type Story = fn() -> LocalBoxFuture<'static, ()>;

/// Lists scenarios: each is a function of a module, and its name is that of both.
macro_rules! stories {
    ($($module:ident: $($story:ident)+;)+) => {
        /// All of them.
        pub(crate) const ALL: &[(&str, Story)] = &[
            $($((concat!(stringify!($module), "_", stringify!($story)), || $module::$story().boxed_local()),)+)+
        ];
    };
}

stories! {
    harness: pods_behave pods_count manifests_are_accepted;
    canary:
        paused controller_asleep second_step aborted paused_by_its_spec deployed_again takes_a_field_away a_fix_wins
        not_looked_at_yet;
    in_flight:
        no_weight all_weight timed_pause starting injected_metadata past_its_deadline aborted_at_its_deadline stable_not_ready;
    promoted: pauses_are_not_walked paused_by_its_spec controller_asleep rollback_window slow_to_start
        injected_affinity;
    blue_green: promoted promoted_long_ago promoted_by_hand before_promotion in_analysis in_analysis_and_unready;
    deployment: complete rolling_out paused undone first_deploy history_is_gone of_argo_cd;
    cache:
        rollout deployment replica redis_down no_password restart_does_not_finish one_pod_stays_cold not_declared
        leader_killed;
    lost: promotion abort_before_the_controller_looks abort_of_a_promotion;
    midway: undo undo_to_another destination_cannot_start;
    chain: errors errors_everywhere good_releases;
    pair: oldest_alertmanagers newest_alertmanagers;
    routed: nginx nginx_dynamic_stable_scale nginx_set_canary_scale nginx_stable_not_ready nginx_of_argo_cd;
    owned:
        canary_of_argo_cd canary_of_flux canary_that_argo_cd_applied full_promotion_requested paused_by_its_spec
        blue_green_before_promotion blue_green_switched promoted instance_label_alone policy_says_gitops
        policy_says_nobody;
    refused: first_deploy history_is_gone invalid_spec template_elsewhere way_back leads_nowhere;
}
