//! The table: each defect, and the tests that must find it.

macro_rules! defects {
    ($($(#[doc = $doc:literal])+ $name:ident [$($test:ident)*])*) => {
        /// A way in which a backend can break its promises.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Defect {
            $($(#[doc = $doc])+ $name,)*
        }

        /// Each defect, with the promises whose tests must find it.
        pub(crate) const TABLE: &[(Defect, &[&str])] = &[$((Defect::$name, &[$(stringify!($test)),*])),*];
    };
}

defects! {
    /// No defect: every promise is kept.
    None []
    /// A restart within the TTL is refused as a duplicate.
    RestartRefused [a_restart_within_the_ttl_is_not_refused a_takeover_is_one_put takeovers_follow_each_other]
    /// `Refuse` takes over all the same.
    RefuseTakesOver [
        refuse_takes_only_an_id_that_nobody_holds
        of_claims_side_by_side_that_refuse_one_wins
        an_id_that_is_held_advises_not_to_ask_again
    ]
    /// A refused registration is written all the same.
    RefusedYetWritten [refuse_takes_only_an_id_that_nobody_holds what_is_refused_changes_nothing]
    /// `Reclaim` takes an id from a newer incarnation.
    ReclaimTakesOver [
        reclaim_leaves_an_equal_or_higher_incarnation_alone
        two_registrars_of_one_id_do_not_fight
        a_fenced_registrar_returns_when_the_id_is_free
    ]
    /// `Reclaim` leaves a lower incarnation alone.
    ReclaimRefuses [
        reclaim_takes_over_a_lower_incarnation
        what_an_operator_broke_can_be_reclaimed
        a_registrar_heals_after_a_foreign_overwrite
    ]
    /// `Reclaim` of an absent id is refused.
    ReclaimNeedsAnEntry [
        reclaim_takes_an_absent_id
        a_registrar_heals_after_a_wipe
        a_registrar_heals_after_an_operators_delete
        a_registrar_heals_after_an_expiry
        a_registrar_heals_after_a_restart_of_the_store
        a_registrar_heals_soon_after_an_outage
    ]
    /// The owner token is not kept: a repeated attempt is another owner.
    TokenForgotten [
        registering_again_with_one_token_gives_the_same_lease
        attempts_with_one_token_side_by_side_make_one_entry
        reclaim_takes_what_is_ours_by_token
    ]
    /// A repeated attempt gets the first answer, and nothing else happens.
    RepeatingDoesNothing [
        registering_again_with_one_token_gives_a_full_ttl
        registering_again_with_one_token_replaces_what_differs
    ]
    /// A takeover deletes, then puts.
    TakeoverIsDeleteAndPut [a_takeover_is_one_put]
    /// The claimed incarnation is ignored.
    ClaimIgnored [an_incarnation_is_the_claim_or_one_more_than_the_one_replaced reclaim_takes_an_absent_id]
    /// Less than the TTL that was asked for is granted.
    LessGranted [
        a_registration_tells_its_lease_and_at_least_the_ttl_asked_for
        the_claimed_least_ttl_is_granted
        the_expiry_of_an_old_lease_touches_nothing
    ]
    /// An id that was deregistered cannot be registered again.
    LeftIdsAreBurnt [an_id_that_was_left_can_be_had_again a_lease_is_lost_when_the_id_has_another_life]
    /// An id can exist in one service only.
    IdsAreOfTheStore [one_id_in_two_services_is_two_instances]
    /// Names lose their case.
    NamesInLowerCase [names_are_compared_byte_by_byte every_valid_name_reads_back_as_it_was_written]
    /// Endpoints are kept as a set.
    EndpointsSorted [sixteen_endpoints_keep_their_order]
    /// Text outside ASCII is lost.
    TextBecomesAscii [
        text_of_all_kinds_reads_back_as_it_was_written
        the_largest_instance_reads_back_as_it_was_written
    ]
    /// Instances that are valid are too large for the backend.
    LimitsLowered [
        an_instance_at_the_limits_reads_back_as_it_was_written
        the_largest_instance_reads_back_as_it_was_written
    ]
    /// IPv6 is not supported.
    NoIpv6 [an_ipv6_instance_reads_back_as_it_was_written sixteen_endpoints_keep_their_order]
    /// `register` tells another revision than watches.
    WrongRevision [
        a_registration_is_listed_by_every_later_lookup
        a_registration_is_watched_at_exactly_its_revision
    ]
    /// Leases end at four fifths of their TTL.
    EarlyExpiry [
        an_entry_is_listed_until_its_ttl_is_over
        a_watch_shows_an_entry_until_its_ttl_is_over
        an_update_does_not_move_the_deadline
    ]
    /// Now and then an entry is written without a lease.
    SomeNeverExpire [many_leases_that_fall_due_together_all_end]
    /// A cleaner removes what was due, also when it has been renewed since.
    CleanerDoesNotCompare [
        an_entry_renewed_at_the_last_moment_is_not_cleaned_away
        a_heartbeat_gives_a_full_ttl
        a_registrar_keeps_its_instance_listed
        a_short_cut_costs_a_registrar_nothing
    ]
    /// A heartbeat is acknowledged and renews nothing.
    HeartbeatDoesNothing [
        a_heartbeat_gives_a_full_ttl
        heartbeats_keep_an_entry_listed_and_are_not_news
        a_registrar_keeps_its_instance_listed
    ]
    /// Each heartbeat adds a TTL to what is left.
    HeartbeatsAddUp [heartbeats_do_not_add_up]
    /// A heartbeat renews all instances of the service.
    OneExpiryForAll [a_dead_instance_goes_although_its_siblings_live]
    /// A heartbeat renews whoever holds the id.
    HeartbeatIsNotFenced [
        a_heartbeat_of_an_old_owner_prolongs_nothing
        a_takeover_fences_the_old_owner
        takeovers_follow_each_other
        of_takeovers_side_by_side_one_holds_the_id_in_the_end
    ]
    /// A heartbeat on a lost lease is acknowledged.
    HeartbeatNeverLost [
        a_heartbeat_after_the_end_is_lease_lost_and_brings_nothing_back
        a_lease_is_lost_by_deregistering
        a_lease_is_lost_when_the_id_has_another_life
        a_lease_is_lost_by_a_wipe
        a_lease_is_lost_by_an_operators_delete
        a_lease_is_lost_by_a_foreign_overwrite
        a_lease_is_lost_by_expiry
        a_lease_younger_than_the_backup_is_lost_by_restoring_it
        of_takeovers_side_by_side_one_holds_the_id_in_the_end
        a_lost_lease_advises_to_register_again
        a_dropped_takeover_leaves_one_owner
        two_registrars_of_one_id_do_not_fight
        a_registrar_heals_after_a_wipe
    ]
    /// A heartbeat on a lost lease registers anew without a word.
    HeartbeatBringsBack [
        a_heartbeat_after_the_end_is_lease_lost_and_brings_nothing_back
        a_lease_is_lost_by_deregistering
        a_lease_is_lost_by_a_wipe
        a_lease_is_lost_by_an_operators_delete
        a_lease_is_lost_by_expiry
    ]
    /// Every heartbeat is a change to every watch.
    HeartbeatIsNews [heartbeats_keep_an_entry_listed_and_are_not_news a_registrar_keeps_its_instance_listed]
    /// A heartbeat that gets no answer counts as acknowledged.
    HeartbeatOptimistic [
        an_unreachable_store_is_told_and_may_be_asked_again
        operations_given_up_in_a_black_hole_do_no_harm
    ]
    /// An update deletes, then puts.
    UpdateIsDeleteAndPut [
        an_update_is_one_put_at_its_revision
        an_update_keeps_who_the_entry_is
        a_change_of_any_part_is_delivered
    ]
    /// An update changes whoever holds the id.
    UpdateIsNotFenced [
        an_old_owner_touches_nothing
        a_takeover_fences_the_old_owner
        what_is_refused_changes_nothing
    ]
    /// A change that leaves the addresses alone is no change.
    OnlyAddressesCount [
        a_change_of_any_part_is_delivered
        an_update_is_one_put_at_its_revision
        draining_marks_waits_and_leaves
        a_dropped_update_shows_the_old_value_or_the_new
    ]
    /// An update counts as a heartbeat.
    UpdateRenews [an_update_does_not_move_the_deadline]
    /// A lease can write any entry.
    UpdateOfOthers [an_update_of_another_service_or_id_is_refused]
    /// An update that changes nothing fails.
    UpdateToTheSameFails [updating_twice_with_one_instance_is_harmless]
    /// Deregistering removes whoever holds the id.
    LeavingByKey [deregistering_after_a_takeover_removes_nothing an_old_owner_touches_nothing]
    /// Deregistering what is gone is an error.
    LeavingTwiceFails [deregistering_twice_is_harmless deregistering_after_the_end_of_the_lease_is_harmless]
    /// Deregistering removes the whole service.
    LeavingTakesAll [deregistering_removes_the_own_entry_and_no_other]
    /// Deregistering leaves the entry to its TTL.
    LeavingDoesNothing [
        deregistering_removes_the_own_entry_and_no_other
        a_dropped_deregister_can_be_repeated
        a_dropped_register_can_be_repeated
        a_service_without_instances_is_not_listed
        w4_a_short_life_is_delivered_too
        one_registration_never_has_two_entries
        a_retry_after_a_lost_answer_owns_the_entry
    ]
    /// Watches are told that who left has expired.
    LeavingIsAnExpiry [deregistering_is_one_delete]
    /// Deregistering without an answer counts as done.
    LeavingIsOptimistic [
        shutting_down_is_bounded_when_the_registry_is_away
        an_unreachable_store_is_told_and_may_be_asked_again
    ]
    /// In an outage the list is empty, without an error.
    OutageLooksEmpty [an_unreachable_store_is_told_and_may_be_asked_again]
    /// Lookups come from a cache; linearizable reads are claimed.
    LinearizableOverclaimed [lookups_show_what_was_acknowledged]
    /// A service never seen is an error.
    UnknownServiceIsAnError [a_service_never_seen_is_empty_and_not_an_error]
    /// Only the first hundred entries are read.
    FirstPageOnly [a_service_of_many_instances_is_listed_whole]
    /// A lookup's cursor is behind what it lists.
    LookupCursorBehind [the_revision_of_lookups_never_falls a_registration_is_listed_by_every_later_lookup]
    /// `foo` matches `foo-bar`.
    PrefixMatches [names_that_begin_alike_do_not_mix every_valid_name_reads_back_as_it_was_written]
    /// All services are one.
    ServicesMix [a_service_lists_only_its_own]
    /// Services are listed in no order.
    ServicesUnordered [services_are_listed_once_and_in_order]
    /// A prefix matches anywhere in a name.
    PrefixAnywhere [a_prefix_selects_names_that_start_with_it]
    /// Services that became empty are listed.
    EmptyServicesListed [
        a_service_without_instances_is_not_listed
        a_service_whose_instances_expired_is_not_listed
    ]
    /// That a service is empty is not told.
    EmptyResetUntold [w1_the_first_item_of_an_empty_service_is_an_empty_reset]
    /// The first snapshot is made before the watch is there.
    FirstResetEmpty [
        w1_the_first_item_is_a_reset_with_all_instances
        w1_a_watch_that_is_polled_late_shows_the_present
        lookup_and_watch_show_the_same_entries
    ]
    /// Every second change is lost.
    DropsEverySecond [
        w4_a_burst_of_changes_is_delivered_whole_once_and_in_order
        w4_a_short_life_is_delivered_too
        w4_other_services_cost_this_one_nothing
        w4_watches_that_come_and_go_disturb_no_other
        a_hundred_watches_all_see_the_same
        a_view_follows_what_is_listed
        differences_sum_up_to_what_is_listed
        giving_up_waiting_for_an_item_loses_nothing
        waiting_for_instances_ends_when_they_are_there_or_in_time
        w6_a_snapshot_and_what_follows_are_the_present
    ]
    /// A change that nobody takes within 10 ms is lost.
    DropsAfterTenMs [w4_a_slow_consumer_gets_every_change w9_a_watch_outlives_everything_that_it_watched]
    /// Changes come twice.
    Doubles [w4_a_burst_of_changes_is_delivered_whole_once_and_in_order an_update_is_one_put_at_its_revision]
    /// Changes come out of order.
    Swaps [w4_a_burst_of_changes_is_delivered_whole_once_and_in_order]
    /// The changes of one revision come in several items.
    Splits [w5_changes_of_one_revision_come_in_one_item many_leases_that_fall_due_together_all_end]
    /// Only the first change of a batch is delivered.
    FirstOfBatchOnly [w5_changes_of_one_revision_come_in_one_item]
    /// Changes carry the revision of a later one.
    WrongRevisionOfChanges [
        a_registration_is_watched_at_exactly_its_revision
        w4_a_burst_of_changes_is_delivered_whole_once_and_in_order
    ]
    /// A `Reset` does not say why.
    CausesUnknown [
        w7_a_compacted_cursor_becomes_a_reset
        w7_compaction_during_a_cut_becomes_a_reset
        w1_the_first_item_is_a_reset_with_all_instances
    ]
    /// An idle watch says nothing.
    NoProgress [w9_an_idle_watch_makes_progress_every_ten_seconds w9_progress_is_a_cursor_to_go_on_from]
    /// Progress runs ahead of what was delivered.
    ProgressAhead [w9_progress_is_a_cursor_to_go_on_from]
    /// An outage is not told.
    StaleSwallowed [
        w9_a_cut_is_stale_then_the_changes_then_live
        w9_a_black_hole_is_noticed
        a_view_is_stale_then_live_and_never_empty
    ]
    /// The end of an outage is not told.
    LiveSwallowed [w9_after_a_cut_in_which_nothing_changed_comes_live w6_resuming_at_the_present_says_live]
    /// In an outage the set is emptied.
    OutageEmpties [
        w9_in_an_outage_the_set_is_never_emptied
        w9_a_cut_is_stale_then_the_changes_then_live
        a_view_is_stale_then_live_and_never_empty
    ]
    /// A watch ends when its connection does.
    EndsInTrouble [
        w9_a_watch_started_in_an_outage_delivers_after_it
        w8_four_flaps_of_the_connection_stop_nothing
        w9_a_watch_resumed_in_an_outage_goes_on_after_it
    ]
    /// A watch ends on compaction, wipe and the like.
    EndsOnReset [
        w7_compaction_during_a_cut_becomes_a_reset
        w7_a_compacted_cursor_becomes_a_reset
        w7_a_wipe_becomes_a_reset
    ]
    /// A watch ends after a few items.
    EndsAfterFive [w9_a_watch_outlives_everything_that_it_watched]
    /// Resets are passed over: a gap is not told.
    GapsUntold [
        w7_a_compacted_cursor_becomes_a_reset
        w7_a_wipe_becomes_a_reset
        w7_a_wipe_during_a_cut_becomes_a_reset
        w7_a_restored_backup_becomes_a_reset
        w7_after_a_restart_a_watch_shows_what_survived
        w7_losses_in_a_row_end_in_the_present
        gaps_are_told_where_that_is_claimed
        a_view_survives_a_wipe
    ]
    /// A wiped store goes on under the same epoch.
    WipeKeepsTheEpoch [w7_a_wipe_becomes_a_reset]
    /// A reconnect replays history.
    HistoryReplayed [w9_after_a_cut_in_which_nothing_changed_comes_live]
    /// After a reconnect an older list is installed over a newer one.
    OlderListInstalled [w2_under_flaps_and_changes_no_view_goes_back]
    /// Every cut loads everything anew.
    EveryCutResets [
        w9_a_cut_is_stale_then_the_changes_then_live
        w9_after_a_cut_in_which_nothing_changed_comes_live
        w2_under_flaps_and_changes_no_view_goes_back
    ]
    /// What was put during a cut and deleted before is lost.
    LosesPutsOfOutages [w8_an_address_that_changed_during_a_cut_is_not_lost]
    /// A few flaps of the connection stop all watches.
    FlapsDeadlock [w8_four_flaps_of_the_connection_stop_nothing]
    /// Changes are told as resets though nothing was missed.
    ResetsForNothing [
        w7_compaction_under_a_watch_that_kept_up_costs_nothing
        w4_a_burst_of_changes_is_delivered_whole_once_and_in_order
    ]
    /// Resuming starts one revision too late.
    ResumesOneLater [
        w6_from_every_point_the_rest_of_the_history_comes
        w6_a_cursor_can_be_written_down_and_given_to_another_client
        w9_a_watch_resumed_in_an_outage_goes_on_after_it
        nothing_is_lost_between_lookup_and_watch
    ]
    /// A cursor of another history starts a watch as if there had been none.
    ForeignCursorStartsAnew [
        w6_a_cursor_of_another_history_becomes_a_reset
        w7_a_wipe_and_a_new_life_under_a_cursor_become_a_reset
    ]
    /// A cursor of another history is taken for one of this.
    ForeignCursorTaken [
        w6_a_cursor_of_another_history_becomes_a_reset
        w7_a_wipe_and_a_new_life_under_a_cursor_become_a_reset
        w7_a_restored_backup_becomes_a_reset
    ]
    /// Expiry is noticed when somebody looks.
    ExpiryOnlyWhenLookedUp [an_expiry_is_one_delete_to_a_watch_that_nobody_helps]
    /// Watches are not told of expiry.
    ExpiryUntold [
        a_watch_and_lookup_agree_on_what_expired
        an_entry_is_gone_by_its_ttl_and_the_bound
        an_expiry_is_one_delete_to_a_watch_that_nobody_helps
        w9_in_an_outage_the_set_is_never_emptied
    ]
    /// Watches are told that who expired has left.
    ExpirySaysDeregistered [an_expiry_is_one_delete_to_a_watch_that_nobody_helps]
    /// More than 64 watches are not served.
    SixtyFourWatches [a_hundred_watches_all_see_the_same]
    /// More than 64 entries deadlock a watch.
    SixtyFourEntries [a_service_of_many_instances_is_listed_whole]
    /// Dropping a watch stops the others.
    DroppingOneBreaksAll [dropping_watches_disturbs_nothing w4_watches_that_come_and_go_disturb_no_other]
    /// The slowest consumer holds up all others.
    SlowestHoldsUpAll [w10_a_consumer_that_does_not_read_holds_up_nobody]
    /// Everything is kept for a consumer that does not read.
    UnboundedForSleepers [w10_what_is_not_read_collapses_into_one_reset]
    /// A call that was dropped half way blocks those after it.
    DroppedCallsBlock [
        a_dropped_register_can_be_repeated
        a_dropped_takeover_leaves_one_owner
        a_dropped_keepalive_harms_nothing
        a_dropped_update_shows_the_old_value_or_the_new
        a_dropped_deregister_can_be_repeated
        a_dropped_lookup_harms_nothing
        operations_given_up_in_a_black_hole_do_no_harm
    ]
    /// A client that failed once fails for ever.
    OneFailureIsForEver [
        a_registrar_started_in_an_outage_registers_after_it
        an_unreachable_store_is_told_and_may_be_asked_again
        a_registrar_heals_soon_after_an_outage
    ]
    /// All errors are of one kind.
    ErrorsUnclassified [
        an_unreachable_store_is_told_and_may_be_asked_again
        a_full_store_refuses_only_what_is_new
        a_lost_lease_advises_to_register_again
        an_id_that_is_held_advises_not_to_ask_again
    ]
    /// Errors name no backend.
    ErrorsWithoutBackend [errors_name_their_backend]
    /// Errors name another operation.
    ErrorsNameAnotherOperation [
        a_lost_lease_advises_to_register_again
        an_id_that_is_held_advises_not_to_ask_again
        an_unreachable_store_is_told_and_may_be_asked_again
    ]
    /// Errors advise to try again at once.
    ErrorsAdviseWrongly [a_lost_lease_advises_to_register_again an_id_that_is_held_advises_not_to_ask_again]
    /// A full store refuses heartbeats.
    FullRefusesHeartbeats [a_full_store_refuses_only_what_is_new]
    /// Clients of one store claim different things.
    GuaranteesDiffer [guarantees_are_the_same_for_every_client]
    /// Services lie in different stores; one scope of revisions is claimed.
    ScopeOverclaimed [revisions_rise_within_the_claimed_scope]
    /// Entries go 0.7 s late; none is claimed.
    BoundOverclaimed [
        entries_go_within_the_claimed_bound
        an_entry_is_gone_by_its_ttl_and_the_bound
        a_dead_instance_goes_although_its_siblings_live
    ]
    /// The least TTL is 5 s; 1 s is claimed.
    MinTtlOverclaimed [the_claimed_least_ttl_is_granted]
    /// Watches come back within a second; 5 ms are claimed.
    ConvergenceOverclaimed [w8_a_watch_converges_in_time_after_a_cut]
    /// Watches come back 5 s late.
    SlowToReturn [watches_converge_within_the_claimed_time w8_a_watch_converges_in_time_after_a_cut]
    /// A crash loses everything; surviving one is claimed.
    CrashOverclaimed [acknowledged_writes_survive_a_crash_where_that_is_claimed]
    /// A power cut loses everything; surviving one is claimed.
    PowerCutOverclaimed [acknowledged_writes_survive_a_power_cut_where_that_is_claimed]
    /// The loss of a minority loses everything; surviving it is claimed.
    MinorityOverclaimed [acknowledged_writes_survive_a_minority_where_that_is_claimed]
    /// After a disruption everything gets a TTL of grace; exact deadlines are claimed.
    ExactOverclaimed [after_a_disruption_entries_are_late_only_as_claimed]
    /// After a disruption everything gets three TTLs of grace; one is claimed.
    OneTtlOverclaimed [after_a_disruption_entries_are_late_only_as_claimed]
    /// After a disruption everything has expired; keeping it is claimed.
    KeepingOverclaimed [after_a_disruption_entries_are_not_early]
    /// After a restart everything gets five TTLs; exact deadlines are claimed.
    RestartExtends [after_a_restart_leases_go_on_as_claimed]
    /// After a restart everything has expired; surviving it is claimed.
    RestartExpires [
        after_a_restart_leases_go_on_as_claimed
        acknowledged_writes_survive_a_crash_where_that_is_claimed
    ]
}
