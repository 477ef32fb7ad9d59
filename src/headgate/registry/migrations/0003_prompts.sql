-- Prompts in immutable, numbered versions; and the aliases of every kind of registry object, with all their moves.

CREATE TABLE prompt (
    name          TEXT PRIMARY KEY,
    description   TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE prompt_version (
    prompt         TEXT NOT NULL REFERENCES prompt (name),
    number         INTEGER NOT NULL CHECK (number > 0),
    sha256         TEXT NOT NULL CHECK (length(sha256) = 64),  -- of content
    content        TEXT NOT NULL CHECK (json_valid(content)),
    model          TEXT NOT NULL,
    suites         TEXT NOT NULL,  -- JSON list; not part of the version, the newest push decides
    message        TEXT,
    author         TEXT,
    git_commit     TEXT,
    who            TEXT NOT NULL,  -- a key's id, or 'local'
    created_at_us  INTEGER NOT NULL,
    archived_at_us INTEGER,
    PRIMARY KEY (prompt, number),
    UNIQUE (prompt, sha256)
) STRICT;

CREATE TRIGGER prompt_version_stays BEFORE UPDATE OF
    prompt, number, sha256, content, model, message, author, git_commit, who, created_at_us ON prompt_version
BEGIN
    SELECT RAISE(ABORT, 'a prompt version is immutable');
END;

CREATE TRIGGER prompt_version_is_kept BEFORE DELETE ON prompt_version
BEGIN
    SELECT RAISE(ABORT, 'a prompt version is archived, never removed');
END;

CREATE TABLE alias_move (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,  -- without gaps: the log's copy is compared by count
    at_us       INTEGER NOT NULL,  -- never less than in the row before
    kind        TEXT NOT NULL CHECK (kind IN ('prompt', 'kb', 'dataset', 'model')),
    object      TEXT NOT NULL,
    alias       TEXT NOT NULL,
    from_number INTEGER,
    to_number   INTEGER,  -- NULL: the alias was removed
    sha256      TEXT,     -- of the version it was moved to
    action      TEXT NOT NULL CHECK (action IN ('move', 'remove', 'rollback')),
    who         TEXT NOT NULL,
    role        TEXT NOT NULL,
    reason      TEXT,
    gate        TEXT NOT NULL CHECK (gate IN ('ungated', 'receipt', 'override', 'rollback')),
    policy      TEXT,     -- of the rule that covered the move
    receipt_id  TEXT
) STRICT;

CREATE INDEX alias_move_object ON alias_move (kind, object, alias, seq);

CREATE TRIGGER alias_move_keeps_entries BEFORE UPDATE ON alias_move
BEGIN
    SELECT RAISE(ABORT, 'alias moves are append-only');
END;

CREATE TRIGGER alias_move_loses_nothing BEFORE DELETE ON alias_move
BEGIN
    SELECT RAISE(ABORT, 'alias moves are append-only');
END;

-- Where every alias stands now; written with its move in one transaction.
CREATE TABLE alias (
    kind   TEXT NOT NULL,
    object TEXT NOT NULL,
    alias  TEXT NOT NULL,
    number INTEGER NOT NULL,
    move   INTEGER NOT NULL REFERENCES alias_move (seq),
    PRIMARY KEY (kind, object, alias)
) STRICT, WITHOUT ROWID;
