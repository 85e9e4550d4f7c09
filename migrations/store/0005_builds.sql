-- Builds of several versions at once, builds that were given up, builds that stumble, and schemas that are still to be
-- dropped.

-- Each version has one generation that is built: whoever runs an older version can build theirs anew beside a newer one.
DROP INDEX one_unfinished_generation;
CREATE UNIQUE INDEX one_unfinished_generation ON generations (projection, version)
    WHERE state NOT IN ('live', 'retired');

-- How often a build was tried in vain since it came on last; `error` then says why, whatever its state.
ALTER TABLE generations ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;

-- Versions whose first build an operator gave up: nobody begins it again before an operator asks for it.
CREATE TABLE given_up_builds (
    projection TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    PRIMARY KEY (projection, version)
);

-- The schemas, in SQLite files, of generations that have left `generations`, until they are dropped.
CREATE TABLE dropped_schemas (
    schema_name TEXT NOT NULL PRIMARY KEY
);
