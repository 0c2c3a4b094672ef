//! The scenarios, by name. Each is a short story: the state before, the alert, and the end as the API, the ready endpoints
//! and a client of the Service see it. Those in `tests/support/story/` are played on the simulated cluster too.

mod after;
mod blue_green;
mod cache;
mod chain;
mod colours;
mod complete;
mod demo;
mod deployment;
mod doctor;
mod drill;
mod exec;
mod fails;
mod fails_blue_green;
mod fails_cache;
mod fails_colours;
mod fails_complete;
mod gone;
mod hands;
mod harness;
mod in_flight;
mod killed;
mod ladder;
mod midway;
mod owned;
mod pair;
mod people;
mod promoted;
mod refused;
mod routed;
mod watching;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::need::Need;
use crate::scene::Scene;
use crate::support::story::{self, for_each_story};

/// A scenario that has not begun.
type Story = fn() -> LocalBoxFuture<'static, ()>;

/// A scenario, by its name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it cannot be played without.
    pub(crate) needs: &'static [Need],
    pub(crate) story: Story,
}

/// What else may go on while a scenario is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Beside {
    /// As many others as are played at once.
    Others,
    /// One other of the same kind.
    One,
    /// Nothing.
    Nothing,
}

/// Lists the stories that are played on both grounds. What one needs besides a release that has users stands behind it.
macro_rules! both {
    ($($name:ident: $module:ident::$story:ident $([$($need:ident)+])?,)+) => {
        const BOTH: &[Scenario] = &[
            $(Scenario {
                name: stringify!($name),
                needs: &[Need::Pods, Need::Network $(, $(Need::$need),+)?],
                story: || story::$module::$story::<Scene>().boxed_local(),
            },)+
        ];
    };
}

/// Lists scenarios for the real cluster alone: each is a function of a module, and its name is that of both. What it needs
/// stands behind it; where nothing does, it needs a release that has users.
macro_rules! real {
    ($($module:ident: $($story:ident $([$($need:ident)*])?)+;)+) => {
        const REAL: &[Scenario] = &[
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

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    BOTH.iter().chain(REAL)
}

// === impl Scenario ===

impl Scenario {
    /// Who stops the Rollouts controller stops it for everybody.
    pub(crate) fn beside(&self) -> Beside {
        if self.needs.contains(&Need::Freeze) {
            Beside::Nothing
        } else if self.needs.contains(&Need::Quiet) {
            Beside::One
        } else {
            Beside::Others
        }
    }
}

for_each_story!(both);

real! {
    harness: pods_behave pods_count manifests_are_accepted[] witness_agrees[Pods Network AuditLog];
    in_flight:
        injected_metadata past_its_deadline aborted_at_its_deadline stable_not_ready[Pods Network PodStatus];
    promoted: rollback_window injected_affinity;
    blue_green:
        promoted promoted_long_ago promoted_by_hand before_promotion in_analysis
        in_analysis_and_unready[Pods Network PodStatus];
    deployment: complete rolling_out paused undone first_deploy history_is_gone of_argo_cd of_flux;
    colours:
        switched_back brought_up scaled_down never_ready destination_falters[Pods Network PodStatus ClusterRules]
        person_switches right_is_missing of_a_rollout of_argo_cd looked_at;
    cache:
        rollout[Pods Network WarmUps] deployment replica redis_down no_password restart_does_not_finish one_pod_stays_cold not_declared
        leader_killed;
    exec:
        every_pod[Pods Network LocalExec] other_pod[Pods Network LocalExec] no_exit_status[Pods Network LocalExec]
        wrong_words[Pods Network LocalExec] takes_too_long[Pods Network LocalExec] right_missing right_is_gone leader_killed[Pods Network LocalExec];
    fails:
        revert_without_its_right promotion_without_its_right[Pods Network Freeze] healthy_with_a_wrong_answer
        healthy_without_one_of_its_pods healthy_in_time gone_in_time restart_without_its_right ready_in_time warm_up_in_time
        image_without_its_container flush_after_all_else controller_stays_down[Pods Network Freeze]
        reads_without_their_right reads_without_their_right_stopped;
    fails_blue_green:
        revert_without_its_right promotion_without_its_right[Pods Network Freeze] promotion_in_time[Pods Network NodeLabels]
        healthy_without_one_of_its_pods;
    fails_colours: switch_without_its_right scale_without_its_right scale_undone;
    fails_complete:
        image_kept_out[Pods Network ClusterRules] ready_in_time[Pods Network ClusterRules PodStatus] gone_in_time;
    fails_cache: silent_redis flush_in_part user_without_the_right healthy_after_the_flush;
    killed: in_the_restart[Pods Network ClusterRules AuditLog] in_the_switch[Pods Network ClusterRules AuditLog];
    gone:
        workload_at_revert workload_at_gone workload_at_restart workload_at_wait_ready workload_at_its_warm_up
        workload_at_its_proof pod_at_wait_ready[Pods Network WarmUps]
        pod_at_its_warm_up[Pods Network WarmUps];
    complete:
        no_replica_set no_replica_set_of_a_blue_green replica_set pods_never_ready right_is_gone revert_alone;
    hands: by_hand approves denies silence;
    ladder:
        refused_by_admission[Pods Network ClusterRules AuditLog] as_shipped[Pods Network ClusterRules] starts_later[Pods Network NodeLabels]
        not_after_unhealthy;
    doctor: all_well finds_out;
    drill:
        in_flight promoted executed_on_a_canary executed_without_pauses executed_on_a_blue_green executed_before_a_switch
        refused kept_out[Pods Network ClusterRules] alert_in_the_middle alert_without_a_cause;
    midway: destination_cannot_start[Pods Network NodeLabels AuditLog];
    after: looks_as_shipped numbers_are_good numbers_stay_bad nobody_measures;
    chain:
        latency[Pods Network Quiet] errors[Pods Network Quiet] errors_undivided[Pods Network Quiet]
        errors_everywhere[Pods Network Quiet] fallback[Pods Network Quiet] health[Pods Network Quiet]
        memory[Pods Network Quiet] down[Pods Network Quiet] good_releases[Pods Network Quiet];
    demo: is_told[Pods Network DemoNames];
    pair: oldest_alertmanagers newest_alertmanagers;
    people:
        undo_copies_no_metadata undo_copies_the_affinity active_service_is_taken_back active_service_stays_switched
        abort_of_a_promoted_blue_green abort_leaves_no_endpoint[Pods Network PodStatus];
    routed:
        nginx nginx_at_a_quarter nginx_at_all nginx_under_way nginx_aborted
        nginx_dynamic_stable_scale nginx_set_canary_scale nginx_stable_not_ready[Pods Network PodStatus]
        nginx_abort_refused[Pods Network ClusterRules] nginx_abort_unheeded[Pods Network Freeze]
        nginx_abort_turns_nothing[Pods Network PodStatus]
        nginx_template_kept_out[Pods Network ClusterRules] nginx_of_argo_cd;
    owned:
        canary_of_argo_cd canary_of_flux canary_of_helm canary_that_argo_cd_applied full_promotion_requested[Pods Network Freeze]
        paused_by_its_spec blue_green_before_promotion blue_green_switched promoted instance_label_alone policy_says_gitops
        policy_says_nobody;
    watching: shadow explained;
    refused: history_is_gone invalid_spec template_elsewhere leads_nowhere;
}
