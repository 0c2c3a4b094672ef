//! The scenarios, by name. Each is a short story: the state before, the alert, and the end as the API, the ready endpoints
//! and a client of the Service see it.

mod blue_green;
mod canary;
mod chain;
mod demo;
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

use crate::need::Need;

/// A scenario that has not begun.
type Story = fn() -> LocalBoxFuture<'static, ()>;

/// A scenario, by its name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it cannot be played without.
    pub(crate) needs: &'static [Need],
    pub(crate) story: Story,
}

/// Lists scenarios: each is a function of a module, and its name is that of both. What it needs stands behind it; where
/// nothing does, it needs a release that has users.
macro_rules! stories {
    ($($module:ident: $($story:ident $([$($need:ident)*])?)+;)+) => {
        /// All of them.
        pub(crate) const ALL: &[Scenario] = &[
            $($(Scenario {
                name: concat!(stringify!($module), "_", stringify!($story)),
                needs: needs!($([$($need)*])?),
                story: || $module::$story().boxed_local(),
            },)+)+
        ];
    };
}

macro_rules! needs {
    () => { &[Need::Pods, Need::Network] };
    ([$($need:ident)*]) => { &[$(Need::$need),*] };
}

stories! {
    harness: pods_behave pods_count manifests_are_accepted[] witness_agrees[Pods Network AuditLog];
    canary:
        paused controller_asleep[Pods Network Freeze] second_step aborted paused_by_its_spec deployed_again
        takes_a_field_away a_fix_wins[Pods Network Freeze] not_looked_at_yet[Pods Network Freeze];
    in_flight:
        no_weight all_weight timed_pause starting injected_metadata past_its_deadline aborted_at_its_deadline
        stable_not_ready[Pods Network PodStatus];
    promoted:
        pauses_are_not_walked paused_by_its_spec controller_asleep[Pods Network Freeze] rollback_window slow_to_start
        injected_affinity;
    blue_green:
        promoted promoted_long_ago promoted_by_hand before_promotion in_analysis
        in_analysis_and_unready[Pods Network PodStatus];
    deployment: complete rolling_out paused undone first_deploy history_is_gone of_argo_cd;
    lost:
        promotion[Pods Network AuditLog] abort_before_the_controller_looks[Pods Network Freeze]
        abort_of_a_promotion[Pods Network Freeze];
    midway: undo undo_to_another destination_cannot_start[Pods Network NodeLabels AuditLog];
    chain: errors errors_everywhere good_releases;
    demo: is_told[Pods Network DemoNames];
    pair: oldest_alertmanagers newest_alertmanagers;
    routed:
        nginx nginx_dynamic_stable_scale nginx_set_canary_scale nginx_stable_not_ready[Pods Network PodStatus]
        nginx_of_argo_cd;
    owned:
        canary_of_argo_cd canary_of_flux canary_that_argo_cd_applied full_promotion_requested[Pods Network Freeze]
        paused_by_its_spec blue_green_before_promotion blue_green_switched promoted instance_label_alone policy_says_gitops
        policy_says_nobody;
    refused: first_deploy history_is_gone invalid_spec template_elsewhere way_back leads_nowhere;
}
