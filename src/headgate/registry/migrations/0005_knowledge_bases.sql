-- Knowledge bases in immutable, numbered versions; their files are below HOME/kb, named by the hash of their manifest.

CREATE TABLE kb (
    name          TEXT PRIMARY KEY,
    description   TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE kb_version (
    kb             TEXT NOT NULL REFERENCES kb (name),
    number         INTEGER NOT NULL CHECK (number > 0),
    sha256         TEXT NOT NULL CHECK (length(sha256) = 64),  -- of manifest.json; the directory's name
    content_sha256 TEXT NOT NULL CHECK (length(content_sha256) = 64),  -- of sources and settings
    embedder       TEXT NOT NULL,  -- lexical, or a routed model
    dimensions     INTEGER NOT NULL CHECK (dimensions > 0),
    embed_asks     INTEGER,  -- dimensions that the routed model is asked for; NULL: its own
    documents      INTEGER NOT NULL,
    chunks         INTEGER NOT NULL,
    parent         INTEGER,  -- the newest version when this one was pushed
    message        TEXT,
    author         TEXT,
    git_commit     TEXT,
    dvc            TEXT,
    who            TEXT NOT NULL,  -- a key's id, or 'local'
    created_at_us  INTEGER NOT NULL,
    PRIMARY KEY (kb, number),
    UNIQUE (kb, sha256)
) STRICT;

CREATE INDEX kb_version_content ON kb_version (kb, content_sha256);

CREATE TRIGGER kb_version_stays BEFORE UPDATE ON kb_version
BEGIN
    SELECT RAISE(ABORT, 'a version of a knowledge base is immutable');
END;

CREATE TRIGGER kb_version_is_kept BEFORE DELETE ON kb_version
BEGIN
    SELECT RAISE(ABORT, 'a version of a knowledge base is never removed');
END;
