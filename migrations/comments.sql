-- Comments in time order: all, by movie, by author. A deleted comment keeps its row, without its text, so that a
-- repeated post does not bring it back and a reader learns that it is gone.
CREATE TABLE comments (
    id         UUID   NOT NULL PRIMARY KEY,
    movie_id   UUID   NOT NULL,
    author_id  UUID   NOT NULL,
    title      TEXT,
    body       TEXT   NOT NULL,
    posted_at  BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX comments_by_time ON comments (posted_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_by_movie ON comments (movie_id, posted_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_by_author ON comments (author_id, posted_at, id) WHERE deleted_at IS NULL;

-- How many comments a movie has, counted for each partition of the log and summed on reading, so that workers never
-- wait for each other at a popular movie.
CREATE TABLE comment_counts (
    movie_id  UUID   NOT NULL,
    partition BIGINT NOT NULL,
    comments  BIGINT NOT NULL,
    PRIMARY KEY (movie_id, partition)
);
