//! Stories that are told once and played on two grounds: the simulated cluster, and the real control plane.
//!
//! They are about what the simulated cluster knows: a canary in flight, aborted, promoted, and requests that are lost. A
//! story that ends differently on the two shows a fault of the simulated one. What that one lacks is told on the real
//! one alone, in `tests/cluster/scenario/`.

pub(crate) mod canary;
pub(crate) mod deeds;
pub(crate) mod ground;
pub(crate) mod in_flight;
pub(crate) mod judge;
pub(crate) mod late;
pub(crate) mod lost;
pub(crate) mod midway;
pub(crate) mod promoted;
pub(crate) mod refused;
pub(crate) mod stacked;

/// What a story speaks with.
pub(crate) mod prelude {
    pub(crate) use super::deeds::Deeds;
    pub(crate) use super::ground::Ground;
    pub(crate) use super::judge::Judge;
}

/// Hands the list of stories to a macro, each with its name on both grounds and the function that tells it.
macro_rules! for_each_story {
    ($with:ident) => {
        $with! {
            canary_paused: canary::paused,
            canary_controller_asleep: canary::controller_asleep [Freeze],
            canary_second_step: canary::second_step,
            canary_aborted: canary::aborted,
            canary_paused_by_its_spec: canary::paused_by_its_spec,
            canary_deployed_again: canary::deployed_again,
            canary_takes_a_field_away: canary::takes_a_field_away,
            canary_a_fix_wins: canary::a_fix_wins [Freeze],
            canary_not_looked_at_yet: canary::not_looked_at_yet [Freeze],
            canary_told_many_times: canary::told_many_times,
            in_flight_no_weight: in_flight::no_weight,
            in_flight_all_weight: in_flight::all_weight,
            in_flight_timed_pause: in_flight::timed_pause,
            in_flight_starting: in_flight::starting,
            promoted_pauses_are_not_walked: promoted::pauses_are_not_walked,
            promoted_timed_pauses: promoted::timed_pauses,
            promoted_without_pauses: promoted::without_pauses,
            promoted_paused_by_its_spec: promoted::paused_by_its_spec,
            promoted_controller_asleep: promoted::controller_asleep [Freeze],
            promoted_slow_to_start: promoted::slow_to_start,
            lost_promotion: lost::promotion [AuditLog],
            lost_abort_before_the_controller_looks: lost::abort_before_the_controller_looks [Freeze],
            lost_abort_of_a_promotion: lost::abort_of_a_promotion [Freeze],
            lost_promotion_by_a_person: lost::promotion_by_a_person [Freeze],
            lost_restore: lost::restore [Freeze],
            midway_undo: midway::undo,
            midway_undo_to_another: midway::undo_to_another,
            late_resolved_before_the_start: late::resolved_before_the_start,
            refused_first_deploy: refused::first_deploy,
            refused_way_back: refused::way_back,
            stacked_in_flight: stacked::in_flight,
            stacked_after_a_rollback: stacked::after_a_rollback,
            stacked_both_promoted: stacked::both_promoted,
            stacked_both_promoted_and_soaked: stacked::both_promoted_and_soaked,
        }
    };
}
pub(crate) use for_each_story;
