//! What the query API answers, on SQLite and, where `DATABASE_URL` names one, on PostgreSQL, from read models that the
//! real projections write.

#![allow(clippy::unwrap_used)]

mod comments;
mod consistency;
mod favorites_model;
mod live;
mod movies_and_people;
mod pages;
mod timeline;
mod trends;
mod world;

use balcony_store::Scratch;

/// Runs each test on both databases, in a world of its own.
macro_rules! on_both {
    ($($file:ident::$test:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let scratch = crate::Scratch::sqlite().unwrap();
                crate::$file::$test(crate::world::World::open(scratch.settings()).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(scratch) = crate::Scratch::postgres().await.unwrap() else { return };
                crate::$file::$test(crate::world::World::open(scratch.settings()).await).await;
            })*
        }
    };
}

on_both! {
    comments::every_filter_and_order_gives_what_a_plain_sort_gives
    comments::no_page_repeats_or_skips_while_others_post_and_delete
    comments::no_page_by_author_repeats_or_skips_who_keeps_the_name_while_others_change_theirs
    comments::a_comment_that_names_nothing_is_in_no_list_and_hides_no_other
    comments::a_cursor_outlives_the_comment_it_points_at
    comments::a_cursor_of_another_list_is_refused
    comments::a_deleted_comment_is_gone
    comments::names_are_the_current_ones
    comments::every_wrong_parameter_is_named
    comments::an_unknown_movie_or_author_is_an_empty_list
    timeline::it_holds_the_comments_of_favorites_as_a_plain_sort_gives_them
    timeline::it_is_empty_for_whoever_has_no_favorites
    timeline::a_company_has_the_comments_on_its_movies
    favorites_model::the_timeline_is_what_a_plain_join_and_a_fold_of_what_was_read_give
    movies_and_people::movies_have_counts_and_come_newest_first
    movies_and_people::the_contact_address_is_not_public
    movies_and_people::what_is_unknown_is_not_found
    movies_and_people::favorites_come_by_name
    movies_and_people::oneself_is_known_from_the_token_at_first
    movies_and_people::a_list_is_not_sent_again_to_who_has_it
    movies_and_people::every_operation_is_described
    trends::what_is_viewed_most_comes_first_in_each_window
    trends::statistics_are_by_stream_dimension_value_and_window
    trends::recommendations_have_their_reasons
    trends::views_are_in_ones_own_journey_alone
    live::what_comes_between_a_list_and_its_stream_is_in_one_of_them
    live::a_list_that_is_read_once_the_stream_stands_has_all_from_before
    live::a_comment_whose_author_the_registry_does_not_have_yet_is_told_once_it_has
    live::who_comes_again_is_told_of_a_comment_whose_author_the_registry_has_lost_and_got_again
    live::while_the_log_is_away_streams_stay_open
    live::a_user_has_a_tenth_of_the_streams_and_one_more_when_one_ends
    pages::a_page_that_is_hot_is_given_until_what_it_shows_changes
    pages::pages_are_the_same_with_memory_and_without
    pages::who_has_a_page_that_is_hot_gets_no_body
    pages::while_a_record_is_parked_no_page_is_kept
    consistency::a_query_waits_for_the_token
    consistency::behind_the_token_it_is_503_or_marked_as_stale
    consistency::a_thousand_may_wait_and_one_more_is_told_so
    consistency::only_what_a_query_reads_is_waited_for
    consistency::a_token_that_is_none_is_refused
    consistency::who_asks_is_checked_everywhere
}

#[tokio::test]
async fn without_read_models_nothing_is_answered() {
    let scratch = Scratch::sqlite().unwrap();
    let database = balcony_store::Database::open(scratch.settings()).await.unwrap();
    let router = world::router(&world::query_api(&database).await);
    for path in ["/v1/comments", "/v1/movies", "/v1/users/0192f0c1-7c3e-7b0a-9d58-2f6a1b3c4d5e", "/readyz"] {
        let answer = world::ask(&router, path, &[]).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.headers["retry-after"], "1", "{path}");
    }
}
