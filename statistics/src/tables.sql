-- What was counted, for each window of time (its length and its beginning in milliseconds; length 0 is all time) and for
-- each partition of the log, so that workers never wait for each other. It is summed on reading.
CREATE TABLE window_counts (
    series       TEXT   NOT NULL,
    span         BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    value        TEXT   NOT NULL,
    source       TEXT   NOT NULL,
    counted      BIGINT NOT NULL,
    sum          BIGINT,
    least        BIGINT,
    most         BIGINT,
    PRIMARY KEY (series, span, window_start, value, source)
);
CREATE INDEX window_counts_by_value ON window_counts (series, value, span, window_start);

-- How far each partition has come: the latest time of its events, and the offset of the last.
CREATE TABLE counted_to (
    source        TEXT   NOT NULL PRIMARY KEY,
    at            BIGINT NOT NULL,
    record_offset BIGINT NOT NULL
);

-- The newest events of each partition by their ids, so that a record that repeats one is not counted.
CREATE TABLE counted_ids (
    id            UUID   NOT NULL,
    source        TEXT   NOT NULL,
    record_offset BIGINT NOT NULL,
    PRIMARY KEY (id, source),
    UNIQUE (source, record_offset)
);
