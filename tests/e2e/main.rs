//! Balcony from outside: real processes, asked over HTTP.
//!
//! Every test in [`on_both`] runs twice, against the embedded service and against separate services on real Kafka and
//! PostgreSQL. Without `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` the second half is left out, in one line each;
//! with `CI` set that is a failure. `tests/run` brings both up.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod bound;
mod client;
mod cluster;
mod commands;
mod console;
mod crash;
mod deployment;
mod doctor;
mod edge;
mod faults;
mod favourites;
mod fold;
mod gateway;
mod idempotency;
mod identity_provider;
mod kafka;
mod live;
mod mail;
mod namespaces;
mod operators;
mod own_writes;
mod pages;
mod parked;
mod ports;
mod read_models;
mod reading_room;
mod rebuild;
mod search;
mod session;
mod settings;
mod transfer;
mod trends;
mod versions;

/// Runs each test on both deployments.
macro_rules! on_both {
    ($($module:ident: $($test:ident)*;)*) => {
        mod embedded {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::$module::$test(crate::deployment::Deployment::embedded().await).await;
            })*)*
        }
        mod distributed {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(deployment) = crate::deployment::Deployment::distributed().await else { return };
                crate::$module::$test(deployment).await;
            })*)*
        }
    };
}

on_both! {
    session: the_readme_session_works_as_printed the_first_steps_work the_services_show_themselves;
    ports: readiness_speaks_an_operators_words;
    edge:
        a_body_that_will_be_refused_is_not_waited_for
        an_answer_says_who_may_keep_it
        options_says_what_a_path_takes;
    commands:
        what_is_wrong_is_refused_and_named
        bodies_are_bounded_before_anything_else
        text_is_stored_trimmed
        comments_are_never_edited
        an_id_is_good_for_its_own_kind_alone
        only_those_who_may_delete;
    idempotency:
        a_repeated_command_is_done_once
        twenty_at_once_make_one
        who_leaves_and_comes_again_makes_one
        a_refused_request_does_not_use_up_its_key
        a_repeated_post_of_a_deleted_comment_stays_deleted;
    own_writes:
        who_sends_the_token_reads_its_own_writes
        a_comment_can_be_deleted_the_instant_after_it_was_posted
        tokens_that_are_not_ours_are_refused
        a_token_from_beyond_the_log_is_refused
        a_first_command_registers_its_user;
    live:
        who_is_told_of_a_comment_and_asks_for_it_gets_it
        a_deletion_is_told_once_it_counts
        a_stream_goes_on_where_it_was_wherever_it_is_opened_again
        an_id_that_is_not_from_here_gives_one_reset
        a_timeline_grows_with_favourites_that_are_added_meanwhile
        who_may_watch_what
        counts_are_told_when_they_move
        streams_end_when_the_process_is_told_to
        a_reader_that_is_too_slow_is_dropped_and_misses_nothing;
    favourites: favourites_and_their_timeline views_are_counted a_journey_is_what_one_did;
    gateway: tags_of_comments_are_shown_beside_what_balcony_knows;
    reading_room: the_page_is_read_without_script;
    rebuild:
        everything_is_rebuilt_while_people_post_and_read
        going_back_serves_what_was_before_and_catches_up
        a_record_that_was_never_parked_stops_a_rebuild;
    search:
        a_comment_is_found_at_once_with_its_token_and_gone_at_once
        what_is_found_can_be_narrowed_ordered_and_shown
        pages_of_what_is_found_repeat_and_skip_nothing_while_others_post
        ten_thousand_queries_are_answered
        the_index_is_rebuilt_while_people_search;
    console:
        operators_alone_see_the_steps_and_rebuild_them
        an_operators_request_under_a_key_is_done_once
        a_cursor_with_what_no_database_has_is_refused
        operators_look_into_the_log
        operators_look_at_what_is_parked_and_deal_with_it
        the_control_room_comes_from_the_binary;
    trends:
        what_is_viewed_trends_and_is_counted
        what_one_viewed_is_in_ones_own_journey_and_not_recommended;
    doctor: the_doctor_says_who_is_well_and_who_is_not;
    parked: what_is_parked_is_listed_shown_retried_and_discarded;
    operators: what_is_no_event_is_parked_and_the_rest_goes_on the_demo_fills_an_instance;
    transfer:
        a_log_moves_to_installations_of_both_kinds
        an_import_is_checked_before_anything_is_appended
        an_export_that_was_cut_short_goes_on
        an_import_that_was_killed_goes_on;
}
