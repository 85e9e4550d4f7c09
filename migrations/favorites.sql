-- Whose favourite is who.
CREATE TABLE favorites (
    follower_id  UUID   NOT NULL,
    followee_id  UUID   NOT NULL,
    favorited_at BIGINT NOT NULL,
    PRIMARY KEY (follower_id, followee_id)
);

-- The events that were applied: one that comes again, when it may have been taken back, changes nothing.
CREATE TABLE favorite_events (
    id UUID NOT NULL PRIMARY KEY
);
