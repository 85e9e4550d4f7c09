-- The parked records of a reactor that are tried again by themselves, and when each was tried last, in milliseconds since 1970.
CREATE TABLE IF NOT EXISTS tried_again (
    id       UUID   NOT NULL PRIMARY KEY,
    tried_at BIGINT NOT NULL
);
