-- What was asked for under a key of the asker's own, so that it is done once however often it is asked for. The answer comes
-- with the end of it.
CREATE TABLE keyed_requests (
    id       UUID   NOT NULL PRIMARY KEY,
    said     TEXT   NOT NULL,
    begun_at BIGINT NOT NULL,
    answer   TEXT
);
