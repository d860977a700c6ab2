//! The list of all promises, and the macros that make tests of it.

/// Makes one test of every promise of the [contract](registry_core::Registry#contract), for one backend.
///
/// ```
/// # use std::sync::Arc;
/// # use registry_testing::MemoryBackend;
/// registry_testing::conformance! {
///     /// The name of the module with the tests.
///     mod memory;
///     /// Makes a [`Backend`](registry_testing::conformance::Backend) with a fresh store; may `.await`.
///     harness: MemoryBackend::new();
///     /// `paused` or `real`.
///     clock: paused;
///     /// What the harness implements. Promises that need more become ignored tests.
///     controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
/// }
/// # fn main() {}
/// ```
///
/// Where some controls cost more than others (a cluster, a disk), write `harness |needs|: Harness::prepared_for(needs);`. The name, which is
/// free, is bound to what the test at hand is going to use: the `&'static [Control]` of [`Promise::needs`](crate::conformance::Promise).
///
/// The module's constant `CONTROLS` is for [`left_out`](crate::conformance::left_out).
///
/// The controls are `link`, `pause`, `compact`, `wipe`, `restart`, `power_cut`, `lose_minority`, `restore`, `operator`, `malformed`,
/// `expire` and `capacity`: see [`Control`](crate::conformance::Control).
#[macro_export]
macro_rules! conformance {
    (
        $(#[$_1:meta])* mod $module:ident;
        $(#[$_2:meta])* harness: $harness:expr;
        $($rest:tt)*
    ) => {
        $crate::conformance! { mod $module; harness |_|: $harness; $($rest)* }
    };
    (
        $(#[$_1:meta])* mod $module:ident;
        $(#[$_2:meta])* harness |$needs:tt|: $harness:expr;
        $(#[$_3:meta])* clock: $clock:ident;
        $(#[$_4:meta])* controls: [$($control:ident),* $(,)?] $(;)?
    ) => {
        mod $module {
            #[allow(unused_imports, clippy::wildcard_imports)]
            use super::*;

            /// What the harness has: for [`left_out`]($crate::conformance::left_out).
            #[allow(dead_code, unreachable_pub)]
            pub const CONTROLS: &[$crate::conformance::Control] = &[$($crate::__conformance_control!($control)),*];

            $crate::__conformance_list! { tests { $clock [$($control)*] $needs { $harness } } }
        }
    };
}

/// Every promise, with the controls it needs, in the order of the topics.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    ($mode:ident $args:tt) => {
        $crate::__conformance_each! { $mode $args
            registering::a_registration_is_listed_by_every_later_lookup [];
            registering::a_registration_is_watched_at_exactly_its_revision [];
            registering::a_registration_tells_its_lease_and_at_least_the_ttl_asked_for [];
            registering::registering_again_with_one_token_gives_the_same_lease [];
            registering::registering_again_with_one_token_gives_a_full_ttl [];
            registering::registering_again_with_one_token_replaces_what_differs [];
            registering::attempts_with_one_token_side_by_side_make_one_entry [];
            registering::a_restart_within_the_ttl_is_not_refused [];
            registering::refuse_takes_only_an_id_that_nobody_holds [];
            registering::of_claims_side_by_side_that_refuse_one_wins [];
            registering::of_takeovers_side_by_side_one_holds_the_id_in_the_end [];
            registering::an_incarnation_is_the_claim_or_one_more_than_the_one_replaced [];
            registering::one_id_in_two_services_is_two_instances [];
            fencing::a_takeover_is_one_put [];
            fencing::a_takeover_fences_the_old_owner [];
            fencing::an_old_owner_touches_nothing [];
            fencing::the_expiry_of_an_old_lease_touches_nothing [];
            fencing::a_heartbeat_of_an_old_owner_prolongs_nothing [];
            fencing::takeovers_follow_each_other [];
            fencing::reclaim_takes_an_absent_id [];
            fencing::reclaim_takes_what_is_ours_by_token [];
            fencing::reclaim_takes_over_a_lower_incarnation [];
            fencing::reclaim_leaves_an_equal_or_higher_incarnation_alone [];
            fencing::a_retry_after_a_lost_answer_owns_the_entry [];
            leases::an_entry_is_listed_until_its_ttl_is_over [];
            leases::a_watch_shows_an_entry_until_its_ttl_is_over [];
            leases::a_heartbeat_gives_a_full_ttl [];
            leases::heartbeats_keep_an_entry_listed_and_are_not_news [];
            leases::an_entry_is_gone_by_its_ttl_and_the_bound [];
            leases::heartbeats_do_not_add_up [];
            leases::an_expiry_is_one_delete_to_a_watch_that_nobody_helps [];
            leases::a_watch_and_lookup_agree_on_what_expired [];
            leases::a_dead_instance_goes_although_its_siblings_live [];
            leases::an_entry_renewed_at_the_last_moment_is_not_cleaned_away [];
            leases::many_leases_that_fall_due_together_all_end [];
            leases::a_heartbeat_after_the_end_is_lease_lost_and_brings_nothing_back [];
            lease_loss::a_lease_is_lost_by_deregistering [];
            lease_loss::a_lease_is_lost_when_the_id_has_another_life [];
            lease_loss::a_lease_is_lost_by_a_wipe [wipe];
            lease_loss::a_lease_is_lost_by_an_operators_delete [operator];
            lease_loss::a_lease_is_lost_by_a_foreign_overwrite [operator];
            lease_loss::what_an_operator_broke_can_be_reclaimed [operator];
            lease_loss::a_lease_is_lost_by_expiry [expire];
            lease_loss::a_lease_younger_than_the_backup_is_lost_by_restoring_it [restore];
            updating::an_update_is_one_put_at_its_revision [];
            updating::an_update_keeps_who_the_entry_is [];
            updating::a_change_of_any_part_is_delivered [];
            updating::updating_twice_with_one_instance_is_harmless [];
            updating::an_update_does_not_move_the_deadline [];
            updating::an_update_of_another_service_or_id_is_refused [];
            deregistering::deregistering_removes_the_own_entry_and_no_other [];
            deregistering::deregistering_is_one_delete [];
            deregistering::deregistering_twice_is_harmless [];
            deregistering::deregistering_after_the_end_of_the_lease_is_harmless [];
            deregistering::deregistering_after_a_takeover_removes_nothing [];
            deregistering::an_id_that_was_left_can_be_had_again [];
            lookup::a_service_never_seen_is_empty_and_not_an_error [];
            lookup::lookup_and_watch_show_the_same_entries [];
            lookup::nothing_is_lost_between_lookup_and_watch [];
            lookup::the_revision_of_lookups_never_falls [];
            lookup::a_service_lists_only_its_own [];
            lookup::a_service_of_many_instances_is_listed_whole [];
            services::services_are_listed_once_and_in_order [];
            services::a_prefix_selects_names_that_start_with_it [];
            services::a_service_without_instances_is_not_listed [];
            services::a_service_whose_instances_expired_is_not_listed [];
            services::names_that_begin_alike_do_not_mix [];
            names::every_valid_name_reads_back_as_it_was_written [];
            names::names_are_compared_byte_by_byte [];
            names::sixteen_endpoints_keep_their_order [];
            names::an_ipv6_instance_reads_back_as_it_was_written [];
            names::text_of_all_kinds_reads_back_as_it_was_written [];
            names::an_instance_at_the_limits_reads_back_as_it_was_written [];
            names::the_largest_instance_reads_back_as_it_was_written [];
            watch_start::w1_the_first_item_is_a_reset_with_all_instances [];
            watch_start::w1_the_first_item_of_an_empty_service_is_an_empty_reset [];
            watch_start::w1_a_watch_that_is_polled_late_shows_the_present [];
            watch_start::w9_an_idle_watch_makes_progress_every_ten_seconds [];
            watch_start::w9_progress_is_a_cursor_to_go_on_from [];
            watch_start::w9_a_watch_outlives_everything_that_it_watched [];
            watch_changes::w4_a_burst_of_changes_is_delivered_whole_once_and_in_order [];
            watch_changes::w4_a_slow_consumer_gets_every_change [];
            watch_changes::w4_a_short_life_is_delivered_too [];
            watch_changes::w4_other_services_cost_this_one_nothing [];
            watch_changes::w5_changes_of_one_revision_come_in_one_item [];
            watch_changes::w4_watches_that_come_and_go_disturb_no_other [];
            watch_resume::w6_from_every_point_the_rest_of_the_history_comes [];
            watch_resume::w6_a_snapshot_and_what_follows_are_the_present [];
            watch_resume::w6_a_cursor_can_be_written_down_and_given_to_another_client [];
            watch_resume::w6_resuming_at_the_present_says_live [];
            watch_resume::w6_a_cursor_of_another_history_becomes_a_reset [];
            watch_gaps::w7_a_compacted_cursor_becomes_a_reset [compact];
            watch_gaps::w7_compaction_under_a_watch_that_kept_up_costs_nothing [compact];
            watch_gaps::w7_compaction_during_a_cut_becomes_a_reset [link compact];
            watch_gaps::w7_a_wipe_becomes_a_reset [wipe];
            watch_gaps::w7_a_wipe_and_a_new_life_under_a_cursor_become_a_reset [wipe];
            watch_gaps::w7_a_wipe_during_a_cut_becomes_a_reset [link wipe];
            watch_gaps::w7_a_restored_backup_becomes_a_reset [restore];
            watch_gaps::w7_after_a_restart_a_watch_shows_what_survived [restart];
            watch_gaps::w7_losses_in_a_row_end_in_the_present [compact wipe];
            watch_trouble::w9_a_cut_is_stale_then_the_changes_then_live [link];
            watch_trouble::w9_after_a_cut_in_which_nothing_changed_comes_live [link];
            watch_trouble::w9_a_black_hole_is_noticed [link];
            watch_trouble::w9_in_an_outage_the_set_is_never_emptied [link];
            watch_trouble::w9_a_watch_started_in_an_outage_delivers_after_it [link];
            watch_trouble::w9_a_watch_resumed_in_an_outage_goes_on_after_it [link];
            watch_trouble::w8_an_address_that_changed_during_a_cut_is_not_lost [link];
            watch_trouble::w8_four_flaps_of_the_connection_stop_nothing [link];
            watch_trouble::w2_under_flaps_and_changes_no_view_goes_back [link];
            watch_trouble::w8_a_watch_converges_in_time_after_a_cut [link];
            watch_crowds::w10_what_is_not_read_collapses_into_one_reset [];
            watch_crowds::w10_a_consumer_that_does_not_read_holds_up_nobody [];
            watch_crowds::a_hundred_watches_all_see_the_same [];
            watch_crowds::giving_up_waiting_for_an_item_loses_nothing [];
            watch_crowds::dropping_watches_disturbs_nothing [];
            dropping::a_dropped_register_can_be_repeated [];
            dropping::a_dropped_takeover_leaves_one_owner [];
            dropping::a_dropped_keepalive_harms_nothing [];
            dropping::a_dropped_update_shows_the_old_value_or_the_new [];
            dropping::a_dropped_deregister_can_be_repeated [];
            dropping::a_dropped_lookup_harms_nothing [];
            errors::an_unreachable_store_is_told_and_may_be_asked_again [link];
            errors::operations_given_up_in_a_black_hole_do_no_harm [link];
            errors::a_lost_lease_advises_to_register_again [];
            errors::an_id_that_is_held_advises_not_to_ask_again [];
            errors::errors_name_their_backend [];
            errors::what_is_refused_changes_nothing [];
            errors::a_full_store_refuses_only_what_is_new [capacity];
            malformed::what_cannot_be_read_is_skipped_and_counted [malformed];
            malformed::what_cannot_be_read_does_not_stop_a_watch [malformed];
            malformed::what_cannot_be_read_does_not_stop_a_resumed_watch [malformed];
            malformed::an_entry_that_became_rubbish_is_gone_everywhere [malformed];
            malformed::an_id_that_holds_rubbish_can_be_registered [malformed];
            malformed::a_service_of_rubbish_has_no_instances [malformed];
            guarantees::guarantees_are_the_same_for_every_client [];
            guarantees::revisions_rise_within_the_claimed_scope [];
            guarantees::lookups_show_what_was_acknowledged [];
            guarantees::entries_go_within_the_claimed_bound [];
            guarantees::the_claimed_least_ttl_is_granted [];
            guarantees::watches_converge_within_the_claimed_time [link];
            guarantees::gaps_are_told_where_that_is_claimed [compact];
            guarantees::acknowledged_writes_survive_a_crash_where_that_is_claimed [restart];
            guarantees::acknowledged_writes_survive_a_power_cut_where_that_is_claimed [power_cut];
            guarantees::acknowledged_writes_survive_a_minority_where_that_is_claimed [lose_minority];
            guarantees::after_a_disruption_entries_are_not_early [pause];
            guarantees::after_a_disruption_entries_are_late_only_as_claimed [pause];
            guarantees::after_a_restart_leases_go_on_as_claimed [restart];
            healing::a_registrar_keeps_its_instance_listed [];
            healing::a_registrar_heals_after_a_wipe [wipe];
            healing::a_registrar_heals_after_an_operators_delete [operator];
            healing::a_registrar_heals_after_a_foreign_overwrite [operator];
            healing::a_registrar_heals_after_an_expiry [expire];
            healing::a_registrar_heals_after_a_restart_of_the_store [restart];
            healing::a_registrar_heals_soon_after_an_outage [link];
            healing::a_short_cut_costs_a_registrar_nothing [link];
            healing::a_registrar_started_in_an_outage_registers_after_it [link];
            healing::draining_marks_waits_and_leaves [];
            healing::shutting_down_is_bounded_when_the_registry_is_away [link];
            healing::two_registrars_of_one_id_do_not_fight [];
            healing::a_fenced_registrar_returns_when_the_id_is_free [];
            healing::one_registration_never_has_two_entries [link compact];
            consumers::a_view_follows_what_is_listed [];
            consumers::differences_sum_up_to_what_is_listed [];
            consumers::a_view_is_stale_then_live_and_never_empty [link];
            consumers::a_view_survives_a_wipe [wipe];
            consumers::waiting_for_instances_ends_when_they_are_there_or_in_time [];
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_each {
    (table {} $($topic:ident :: $name:ident [$($need:ident)*];)*) => {
        &[$($crate::conformance::Promise {
            topic: stringify!($topic),
            name: stringify!($name),
            needs: &[$($crate::__conformance_control!($need)),*],
            check: |backend| Box::pin($crate::conformance::$topic::$name(backend)),
        }),*]
    };
    (tests $args:tt $($topic:ident :: $name:ident $needs:tt;)*) => {
        $($crate::__conformance_one! { $args $topic $name $needs $needs })*
    };
}

/// One test: for real when every control that it needs is there. The first list is of those not looked for yet, the second of all.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_one {
    ({ $clock:ident $have:tt $bound:tt $harness:tt } $topic:ident $name:ident [] [$($need:ident)*]) => {
        #[test]
        fn $name() {
            $crate::conformance::run($crate::__conformance_clock!($clock), async {
                let $bound: &'static [$crate::conformance::Control] =
                    &[$($crate::__conformance_control!($need)),*];
                let backend = $harness;
                $crate::conformance::$topic::$name(&backend).await;
            });
        }
    };
    ({ $clock:ident $have:tt $bound:tt $harness:tt } $topic:ident $name:ident
        [$need:ident $($needs:ident)*] $all:tt) => {
        $crate::__conformance_has! { $need $have
            { $crate::__conformance_one! { { $clock $have $bound $harness } $topic $name [$($needs)*] $all } }
            { $crate::__conformance_left_out! { $need $name } }
        }
    };
}

/// Whether a control is in a list: the first block if so, the second if not.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_has {
    (link [link $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (pause [pause $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (compact [compact $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (wipe [wipe $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (restart [restart $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (power_cut [power_cut $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (lose_minority [lose_minority $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (restore [restore $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (operator [operator $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (malformed [malformed $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (expire [expire $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    (capacity [capacity $($more:ident)*] { $($yes:tt)* } $no:tt) => { $($yes)* };
    ($need:ident [$other:ident $($more:ident)*] $yes:tt $no:tt) => {
        $crate::__conformance_has! { $need [$($more)*] $yes $no }
    };
    ($need:ident [] $yes:tt { $($no:tt)* }) => { $($no)* };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_left_out {
    (link $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `link`" }
    };
    (pause $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `pause`" }
    };
    (compact $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `compact`" }
    };
    (wipe $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `wipe`" }
    };
    (restart $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `restart`" }
    };
    (power_cut $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `power_cut`" }
    };
    (lose_minority $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `lose_minority`" }
    };
    (restore $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `restore`" }
    };
    (operator $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `operator`" }
    };
    (malformed $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `malformed`" }
    };
    (expire $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `expire`" }
    };
    (capacity $name:ident) => {
        $crate::__conformance_ignored! { $name "the backend has no control `capacity`" }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_ignored {
    ($name:ident $reason:literal) => {
        #[test]
        #[ignore = $reason]
        fn $name() {
            panic!("left out: {}", $reason);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_control {
    (link) => {
        $crate::conformance::Control::Link
    };
    (pause) => {
        $crate::conformance::Control::Pause
    };
    (compact) => {
        $crate::conformance::Control::Compact
    };
    (wipe) => {
        $crate::conformance::Control::Wipe
    };
    (restart) => {
        $crate::conformance::Control::Restart
    };
    (power_cut) => {
        $crate::conformance::Control::PowerCut
    };
    (lose_minority) => {
        $crate::conformance::Control::LoseMinority
    };
    (restore) => {
        $crate::conformance::Control::Restore
    };
    (operator) => {
        $crate::conformance::Control::Operator
    };
    (malformed) => {
        $crate::conformance::Control::Malformed
    };
    (expire) => {
        $crate::conformance::Control::Expire
    };
    (capacity) => {
        $crate::conformance::Control::Capacity
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_clock {
    (paused) => {
        $crate::conformance::Clock::Paused
    };
    (real) => {
        $crate::conformance::Clock::Real
    };
}
