-- What every generation of a read model holds beside its own tables, so that rows, positions and parked events change
-- in one transaction.

-- How far the generation has read each partition. The epoch grows with every worker that takes the partition over:
-- whoever still holds an older one can no longer move the checkpoint.
CREATE TABLE checkpoints (
    topic       TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Records that could not be decoded or applied, and later records of the same key, which wait behind them. A discarded
-- one stays, so that a rebuild passes over it, too.
CREATE TABLE parked (
    id            UUID   NOT NULL PRIMARY KEY,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    record_key    BYTEA,
    headers       TEXT   NOT NULL,
    payload       BYTEA,
    error         TEXT   NOT NULL,
    parked_at     BIGINT NOT NULL,
    discarded_at  BIGINT,
    UNIQUE (topic, partition, record_offset)
);
CREATE INDEX parked_keys ON parked (topic, record_key) WHERE discarded_at IS NULL;
