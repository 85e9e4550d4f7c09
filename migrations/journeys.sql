-- What each user did, in time order.
CREATE TABLE journey_entries (
    id         UUID   NOT NULL PRIMARY KEY,
    user_id    UUID   NOT NULL,
    at         BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    movie_id   UUID,
    comment_id UUID,
    other_id   UUID
);
CREATE INDEX journey_entries_by_user ON journey_entries (user_id, at, id);
