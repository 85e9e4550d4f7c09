-- The log that the read models are made of, so that no other one comes into them.

-- What this installation is known by, and what its log says that it is. One row.
CREATE TABLE installation (
    only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id       UUID   NOT NULL,
    log      TEXT   NOT NULL
);

-- Its topics, each with the number of partitions that keys are shared out over, for ever.
CREATE TABLE log_topics (
    topic      TEXT   NOT NULL PRIMARY KEY,
    partitions BIGINT NOT NULL
);

-- A record of each partition that has any, by which the log is recognised: where it stands, and a digest of it.
CREATE TABLE log_marks (
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    digest        UUID   NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Records that were gone from the log before a generation had read them: the first, and the first that was there again.
CREATE TABLE lost_records (
    schema_name  TEXT   NOT NULL,
    topic        TEXT   NOT NULL,
    partition    BIGINT NOT NULL,
    first_offset BIGINT NOT NULL,
    next_offset  BIGINT NOT NULL,
    noted_at     BIGINT NOT NULL,
    PRIMARY KEY (schema_name, topic, partition, first_offset)
);
