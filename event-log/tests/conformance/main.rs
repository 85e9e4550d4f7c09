//! What every adapter of the log has to do. Each test of [`suite`] runs once on the embedded log and once on
//! Kafka, each time with topics of its own.

mod embedded_beside;
mod embedded_only;
mod kafka_only;
mod log_under_test;
mod private_broker;
mod reading;
mod suite;
mod transaction;

macro_rules! on_both_adapters {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::suite::$test(crate::log_under_test::LogUnderTest::embedded()).await;
            })*
        }

        mod kafka {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(log) = crate::log_under_test::LogUnderTest::kafka() {
                    crate::suite::$test(log).await;
                }
            })*
        }
    };
}

on_both_adapters! {
    a_record_is_read_as_it_was_appended,
    a_record_says_when_it_was_appended,
    append_keeps_the_order_of_each_key,
    appended_positions_are_the_positions_read,
    reading_starts_at_any_position,
    a_reader_at_the_end_gets_what_comes,
    every_subscriber_gets_everything,
    reopening_keeps_everything_and_continues_the_offsets,
    ends_name_every_partition,
    reached_covers_the_ends_behind_a_hole,
    several_topics_are_read_by_one_reader,
    a_reader_that_does_not_read_holds_nobody_up_and_misses_nothing,
    a_dropped_reader_leaves_the_others_reading,
    a_position_behind_the_end_is_out_of_range,
    what_the_log_cannot_take_is_refused,
    a_member_reads_from_where_it_says,
    members_share_the_partitions_and_take_over_from_one_that_leaves,
}
