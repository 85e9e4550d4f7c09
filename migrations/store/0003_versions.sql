-- Several versions of a read model live at once, and names with a namespace in them.

-- The name of the generation's schema, of its file in SQLite. A generation that has none is from before this: its
-- schema's name is that of the projection, with dashes as underscores, an underscore and its number.
ALTER TABLE generations ADD COLUMN schema_name TEXT;

-- Readers of one version see one generation of a read model at a time. Those of other versions see theirs.
DROP INDEX one_live_generation;
CREATE UNIQUE INDEX one_live_generation ON generations (projection, version) WHERE state = 'live';
