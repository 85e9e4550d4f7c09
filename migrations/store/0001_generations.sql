-- Every generation of every read model. A generation is a namespace of its own (a schema in PostgreSQL, a file in
-- SQLite) that holds the read model's tables, its checkpoints and its parked events.
CREATE TABLE generations (
    projection TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    PRIMARY KEY (projection, generation)
);

-- Readers see one generation of a read model at a time.
CREATE UNIQUE INDEX one_live_generation ON generations (projection) WHERE state = 'live';
