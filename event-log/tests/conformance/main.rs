//! What every adapter of the log has to do. Each test of [`suite`] runs once on each of the three logs, each time with
//! topics of its own; those of [`sharing`] on those that have partitions.

#[cfg(feature = "sqlite")]
mod embedded_beside;
#[cfg(feature = "sqlite")]
mod embedded_only;
#[cfg(feature = "kafka")]
mod kafka_only;
mod log_under_test;
mod memory_only;
#[cfg(feature = "kafka")]
mod private_broker;
mod reading;
mod sharing;
mod suite;
#[cfg(feature = "kafka")]
mod transaction;

/// The tests of `$suite` as tests of the log that `$opened` makes, which is `None` where there is no such log.
macro_rules! on_adapter {
    ($opened:expr, $suite:ident, [$($test:ident),* $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            if let Some(log) = $opened {
                crate::$suite::$test(log).await;
            }
        })*
    };
}

macro_rules! on_adapters_with_partitions {
    ($suite:ident, $tests:tt) => {
        #[cfg(feature = "kafka")]
        mod kafka {
            on_adapter!(crate::log_under_test::LogUnderTest::kafka(), $suite, $tests);
        }

        mod memory {
            on_adapter!(Some(crate::log_under_test::LogUnderTest::memory()), $suite, $tests);
        }
    };
}

macro_rules! on_all_adapters {
    ($suite:ident, $tests:tt) => {
        #[cfg(feature = "sqlite")]
        mod embedded {
            on_adapter!(Some(crate::log_under_test::LogUnderTest::embedded()), $suite, $tests);
        }

        on_adapters_with_partitions!($suite, $tests);
    };
}

on_all_adapters!(
    suite,
    [
        a_record_is_read_as_it_was_appended,
        an_excerpt_ends_where_the_log_ended_when_it_was_asked_for,
        a_record_says_when_it_was_appended,
        append_keeps_the_order_of_each_key,
        appended_positions_are_the_positions_read,
        reading_starts_at_any_position,
        a_reader_at_the_end_gets_what_comes,
        every_subscriber_gets_everything,
        reopening_keeps_everything_and_continues_the_offsets,
        ends_name_every_partition,
        starts_are_the_beginning_while_nothing_was_removed,
        the_records_of_each_topic_are_counted,
        reached_covers_the_ends_behind_a_hole,
        several_topics_are_read_by_one_reader,
        a_reader_that_does_not_read_holds_nobody_up_and_misses_nothing,
        a_dropped_reader_leaves_the_others_reading,
        a_position_behind_the_end_is_out_of_range,
        what_the_log_cannot_take_is_refused,
        a_topic_that_was_not_declared_is_named_by_every_method,
        a_partition_that_is_not_there_is_refused,
        a_member_reads_from_where_it_says,
        a_member_that_never_answered_leaves_its_group,
        a_member_that_never_answers_gets_no_records,
        members_share_the_partitions_and_take_over_from_one_that_leaves,
    ]
);

mod members {
    on_adapters_with_partitions!(
        sharing,
        [
            an_answer_to_an_assignment_that_was_revoked_starts_nothing,
            a_busy_member_stays_in_its_group_and_gives_up_partitions,
        ]
    );
}
