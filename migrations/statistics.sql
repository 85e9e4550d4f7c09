-- How often a movie's page was viewed, counted for each partition of the log and summed on reading.
CREATE TABLE view_counts (
    movie_id  UUID   NOT NULL,
    partition BIGINT NOT NULL,
    views     BIGINT NOT NULL,
    PRIMARY KEY (movie_id, partition)
);
