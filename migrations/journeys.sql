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

-- Whose favourite is who, so that a wish that changes nothing is no step, and which wishes were heard.
CREATE TABLE journey_favorites (
    user_id  UUID NOT NULL,
    other_id UUID NOT NULL,
    PRIMARY KEY (user_id, other_id)
);
CREATE TABLE journey_wishes (
    id UUID NOT NULL PRIMARY KEY
);

-- Which pages each user viewed while signed in, for that user alone. The partition of the log is known, so that what the log
-- has forgotten can be inherited.
CREATE TABLE journey_views (
    id        UUID   NOT NULL,
    partition BIGINT NOT NULL,
    user_id   UUID   NOT NULL,
    at        BIGINT NOT NULL,
    movie_id  UUID   NOT NULL,
    PRIMARY KEY (id, partition)
);
CREATE INDEX journey_views_by_user ON journey_views (user_id, at, id);
