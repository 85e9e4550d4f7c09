-- Who and what is there: what the command side may ask, and the names that every list shows.
CREATE TABLE companies (
    id            UUID   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    contact_email TEXT   NOT NULL,
    mailbox       TEXT   NOT NULL,
    registered_at BIGINT NOT NULL
);

-- The mailbox is the contact as mail goes there, whatever the domain's spelling.
CREATE INDEX companies_by_mailbox ON companies (mailbox);

-- When a company last said that it wants no more mail.
CREATE TABLE unsubscriptions (
    company_id      UUID   NOT NULL PRIMARY KEY,
    unsubscribed_at BIGINT NOT NULL
);

CREATE TABLE movies (
    id            UUID   NOT NULL PRIMARY KEY,
    title         TEXT   NOT NULL,
    company_id    UUID,
    released_on   TEXT,
    registered_at BIGINT NOT NULL
);
CREATE INDEX movies_by_time ON movies (registered_at, id);
CREATE INDEX movies_by_company ON movies (company_id);

-- The key of a name is its UTF-8, whose order by bytes is the order by code points, whatever the database's collation.
CREATE TABLE users (
    id               UUID   NOT NULL PRIMARY KEY,
    display_name     TEXT   NOT NULL,
    display_name_key BYTEA  NOT NULL,
    about            TEXT,
    location         TEXT,
    registered_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX users_by_name ON users (display_name_key, id);
CREATE INDEX users_by_location ON users (location, display_name_key, id);

CREATE TABLE comment_authors (
    comment_id UUID   NOT NULL PRIMARY KEY,
    author_id  UUID   NOT NULL,
    deleted_at BIGINT
);

-- What was made under an idempotency key: the digest of the request that made it.
CREATE TABLE requests (
    id     UUID NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL
);

-- The changes of profiles that were applied: one that comes again, when there may be a newer one, changes nothing.
CREATE TABLE profile_changes (
    id UUID NOT NULL PRIMARY KEY
);
