-- Classic models in immutable, numbered versions, and what the server found of them.

CREATE TABLE model (
    name          TEXT PRIMARY KEY,
    description   TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE model_version (
    model          TEXT NOT NULL REFERENCES model (name),
    number         INTEGER NOT NULL CHECK (number > 0),
    sha256         TEXT NOT NULL CHECK (length(sha256) = 64),  -- of the manifest: files and signature
    manifest       TEXT NOT NULL CHECK (json_valid(manifest)),
    bytes          INTEGER NOT NULL,  -- of its files
    joins          TEXT NOT NULL CHECK (joins IN ('exact', 'close', 'no')),  -- may calls be run together
    metadata       TEXT NOT NULL CHECK (json_valid(metadata)),  -- framework, producer, opsets, parameters
    metrics        TEXT NOT NULL CHECK (json_valid(metrics)),   -- as the author gave them: no evidence
    lineage        TEXT NOT NULL CHECK (json_valid(lineage)),   -- git, dvc, data sets
    message        TEXT,
    author         TEXT,
    git_commit     TEXT,
    who            TEXT NOT NULL,  -- a key's id, or 'local'
    created_at_us  INTEGER NOT NULL,
    archived_at_us INTEGER,
    PRIMARY KEY (model, number),
    UNIQUE (model, sha256)
) STRICT;

CREATE TRIGGER model_version_stays BEFORE UPDATE OF
    model, number, sha256, manifest, bytes, joins, metadata, metrics, lineage, message, author, git_commit, who,
    created_at_us ON model_version
BEGIN
    SELECT RAISE(ABORT, 'a model version is immutable');
END;

CREATE TRIGGER model_version_is_kept BEFORE DELETE ON model_version
BEGIN
    SELECT RAISE(ABORT, 'a model version is archived, never removed');
END;

-- Evidence: what the server found when it ran a version. Append-only; the newest of a kind counts.
CREATE TABLE model_evidence (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    model  TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind   TEXT NOT NULL,  -- parity, replay
    passed INTEGER NOT NULL CHECK (passed IN (0, 1)),
    report TEXT NOT NULL CHECK (json_valid(report)),
    who    TEXT NOT NULL,
    at_us  INTEGER NOT NULL,
    FOREIGN KEY (model, number) REFERENCES model_version (model, number)
) STRICT;

CREATE INDEX model_evidence_version ON model_evidence (model, number, kind, seq);

CREATE TRIGGER model_evidence_stays BEFORE UPDATE ON model_evidence
BEGIN
    SELECT RAISE(ABORT, 'evidence is append-only');
END;

CREATE TRIGGER model_evidence_is_kept BEFORE DELETE ON model_evidence
BEGIN
    SELECT RAISE(ABORT, 'evidence is append-only');
END;
