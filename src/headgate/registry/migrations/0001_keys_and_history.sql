-- Headgate keys (digests only) and the history of every change.

CREATE TABLE api_key (
    id            TEXT PRIMARY KEY CHECK (id GLOB 'key_*'),
    digest        TEXT NOT NULL UNIQUE CHECK (length(digest) = 64),
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('app', 'developer', 'approver', 'admin')),
    project       TEXT NOT NULL,
    models        TEXT NOT NULL,  -- JSON list of globs, [] is every model
    origin        TEXT NOT NULL CHECK (origin IN ('created', 'environment', 'minted')),
    rotated_from  TEXT REFERENCES api_key (id),
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    revoked_at_us INTEGER
) STRICT;

CREATE INDEX api_key_name ON api_key (name);

CREATE TABLE history (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused, so a cut tail shows
    at_us    INTEGER NOT NULL,
    who      TEXT NOT NULL,
    action   TEXT NOT NULL,
    object   TEXT NOT NULL,
    reason   TEXT,
    detail   TEXT NOT NULL,  -- JSON
    previous TEXT NOT NULL,  -- hash of the entry before, '' for the first
    hash     TEXT NOT NULL UNIQUE
) STRICT;

CREATE INDEX history_object ON history (object, seq);

CREATE TRIGGER history_keeps_entries BEFORE UPDATE ON history
BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;

CREATE TRIGGER history_loses_nothing BEFORE DELETE ON history
BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
