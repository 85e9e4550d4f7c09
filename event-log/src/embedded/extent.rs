/// How many rows of other topics a reader that waits at the end of its own leaves behind it at the most. Whoever opens the log
/// beside looks through twice as many for a topic's last record, so the end that it names is one that readers come to.
pub(super) const ROWS_BEHIND: i64 = 50_000;

/// How far the log reaches, as of the last commit.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// The offset the next record gets, whatever its topic.
    pub(super) next_offset: i64,
    /// For each topic, in the order of [`LogFile::topics`](super::file::LogFile).
    pub(super) topics: Vec<TopicExtent>,
}

/// How far one topic reaches.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopicExtent {
    /// Every record of the topic below was removed when its time was over.
    pub(super) first: i64,
    /// No record of the topic stands here or above. Right after opening that is only known of the whole log, so
    /// this may be above the topic's last record by more than one.
    pub(super) end: i64,
}
