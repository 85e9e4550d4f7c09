-- What a reactor keeps beside its checkpoints and parked records.

-- Records that were delivered although the checkpoint has not passed them: an earlier one is still being tried.
CREATE TABLE delivered (
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
);
