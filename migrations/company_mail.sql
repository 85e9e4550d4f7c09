-- Which comments go out together, as it was decided before they did, beside what the reactor that mails companies keeps.

-- A mail: the comments of a company that were posted within one slot of time, or as many of them as go into one.
CREATE TABLE IF NOT EXISTS letters (
    company_id UUID   NOT NULL,
    slot       BIGINT NOT NULL,
    part       BIGINT NOT NULL,
    sent_at    BIGINT,
    PRIMARY KEY (company_id, slot, part)
);
CREATE INDEX IF NOT EXISTS letters_by_slot ON letters (slot);

-- What stands in a mail, by what it is delivered under. The texts go when the mail has gone out.
CREATE TABLE IF NOT EXISTS letter_items (
    delivery_id UUID   NOT NULL PRIMARY KEY,
    company_id  UUID   NOT NULL,
    slot        BIGINT NOT NULL,
    part        BIGINT NOT NULL,
    comment_id  UUID   NOT NULL,
    posted_at   BIGINT NOT NULL,
    movie_id    UUID   NOT NULL,
    movie_title TEXT   NOT NULL,
    author_name TEXT   NOT NULL,
    title       TEXT,
    body        TEXT   NOT NULL
);
CREATE INDEX IF NOT EXISTS letter_items_by_letter ON letter_items (company_id, slot, part);
CREATE INDEX IF NOT EXISTS letter_items_by_slot ON letter_items (slot);

-- Who sends a mail, and until when nobody else does, by the database's clock.
CREATE TABLE IF NOT EXISTS letter_sending (
    company_id UUID   NOT NULL,
    slot       BIGINT NOT NULL,
    part       BIGINT NOT NULL,
    sender     UUID   NOT NULL,
    until      BIGINT NOT NULL,
    PRIMARY KEY (company_id, slot, part)
);

-- The companies whose mail the server does not take for now: since when, by the database's clock, and how often it has said so.
CREATE TABLE IF NOT EXISTS refused_companies (
    company_id UUID   NOT NULL PRIMARY KEY,
    since      BIGINT NOT NULL,
    times      BIGINT NOT NULL
);
