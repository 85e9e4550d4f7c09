-- Generations that are built beside the live one, and who works on what.
--
-- Generations made before this have no room for discarded records. They are forgotten here and built again from the
-- log, as everything in a read model can be.
DROP TABLE generations;

-- The states of a generation, in their order: it is copied from the log without its secondary indexes, gets them, is
-- compared with the live one, follows the log beside it, is live, is retired. A build that cannot go on has failed and
-- says why.
CREATE TABLE generations (
    projection        TEXT   NOT NULL,
    generation        BIGINT NOT NULL,
    version           BIGINT NOT NULL,
    state             TEXT   NOT NULL
        CHECK (state IN ('copying', 'indexing', 'verifying', 'following', 'failed', 'live', 'retired')),
    error             TEXT,
    keep_old          BIGINT NOT NULL DEFAULT 0,
    park_failures     BIGINT NOT NULL DEFAULT 0,
    allow_differences BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
);

-- Readers see one generation of a read model at a time, and one is built at a time.
CREATE UNIQUE INDEX one_live_generation ON generations (projection) WHERE state = 'live';
CREATE UNIQUE INDEX one_unfinished_generation ON generations (projection) WHERE state NOT IN ('live', 'retired');

-- The last number each read model has used: none is used twice, so that nobody mistakes one generation for another.
CREATE TABLE generation_numbers (
    projection TEXT   NOT NULL PRIMARY KEY,
    last       BIGINT NOT NULL
);

-- The heartbeats of whoever works on a projection or a reactor. A worker that ends in order takes its row away; a row
-- that is not renewed is of a worker that died.
CREATE TABLE workers (
    id      UUID   NOT NULL PRIMARY KEY,
    name    TEXT   NOT NULL,
    seen_at BIGINT NOT NULL,
    report  TEXT   NOT NULL
);
