-- What the keys of an installation are made of that no setting gives a secret for. One row, made at random.
CREATE TABLE installation_key (
    only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    bytes    BYTEA  NOT NULL
);
