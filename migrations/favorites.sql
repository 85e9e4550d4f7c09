-- Whose favourite is who.
CREATE TABLE favorites (
    follower_id  UUID   NOT NULL,
    followee_id  UUID   NOT NULL,
    favorited_at BIGINT NOT NULL,
    PRIMARY KEY (follower_id, followee_id)
);
