-- How often an operator had what failed in a generation set aside and let its work go on: whoever has stopped working on
-- it begins again when this grows.
ALTER TABLE generations ADD COLUMN accepted BIGINT NOT NULL DEFAULT 0;
