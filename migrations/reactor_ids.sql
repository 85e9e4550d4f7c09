-- The events that a reactor has met, by what it delivers them under, and where each stood first: what comes again elsewhere
-- is delivered no more. Those far behind are forgotten.
CREATE TABLE IF NOT EXISTS met_events (
    id            UUID   NOT NULL PRIMARY KEY,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS met_events_by_place ON met_events (topic, partition, record_offset);
