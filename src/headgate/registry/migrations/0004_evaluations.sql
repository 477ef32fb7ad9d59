-- Evaluations: datasets and suites as they were, runs with what they found, every decision of a gate, and what a move
-- of a protected alias rests on: receipts, judge cards, approvals.

CREATE TABLE dataset (
    name          TEXT PRIMARY KEY,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE dataset_version (
    dataset       TEXT NOT NULL REFERENCES dataset (name),
    number        INTEGER NOT NULL CHECK (number > 0),
    sha256        TEXT NOT NULL CHECK (length(sha256) = 64),       -- over the sorted hashes of its rows
    file_sha256   TEXT NOT NULL CHECK (length(file_sha256) = 64),  -- of HOME/datasets/<file_sha256>.jsonl
    rows          INTEGER NOT NULL CHECK (rows > 0),
    bytes         INTEGER NOT NULL,
    message       TEXT,
    who           TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    PRIMARY KEY (dataset, number),
    UNIQUE (dataset, sha256)
) STRICT;

CREATE TRIGGER dataset_version_stays BEFORE UPDATE ON dataset_version
BEGIN
    SELECT RAISE(ABORT, 'a dataset version is immutable');
END;

CREATE TRIGGER dataset_version_is_kept BEFORE DELETE ON dataset_version
BEGIN
    SELECT RAISE(ABORT, 'a dataset version is never removed');
END;

-- Texts of suite files. Two texts with one sha256 differ in what decides nothing of a result (budget, policy, words).
CREATE TABLE suite_text (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    suite         TEXT NOT NULL,
    sha256        TEXT NOT NULL CHECK (length(sha256) = 64),
    text_sha256   TEXT NOT NULL UNIQUE CHECK (length(text_sha256) = 64),
    text          TEXT NOT NULL,
    file          TEXT NOT NULL,
    prompt        TEXT NOT NULL,  -- its target
    who           TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX suite_text_suite ON suite_text (suite, seq);
CREATE INDEX suite_text_sha256 ON suite_text (sha256, seq);

CREATE TABLE eval_run (
    id             TEXT PRIMARY KEY CHECK (id GLOB 'run_*'),
    kind           TEXT NOT NULL CHECK (kind IN ('eval', 'log', 'import')),
    name           TEXT NOT NULL,   -- of an import, the run's name in its file; else the id
    system         TEXT NOT NULL,   -- "support-answer@8"
    suite          TEXT,
    suite_sha256   TEXT,
    text_sha256    TEXT,
    prompt         TEXT,
    number         INTEGER,
    prompt_sha256  TEXT,
    kb             TEXT,
    kb_sha256      TEXT,
    dataset        TEXT,
    dataset_number INTEGER,
    dataset_sha256 TEXT,
    judges         TEXT NOT NULL CHECK (json_valid(judges)),  -- {name: {ref, sha256, model}}
    baseline_run   TEXT,
    cells          INTEGER NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('running', 'partial', 'complete')),
    stopped        TEXT CHECK (stopped IN ('budget', 'wall', 'interrupted', 'upstream')),
    totals         TEXT NOT NULL CHECK (json_valid(totals)),
    scorers        TEXT NOT NULL CHECK (json_valid(scorers)),
    result_sha256  TEXT,
    who            TEXT NOT NULL,
    created_at_us  INTEGER NOT NULL,
    finished_at_us INTEGER
) STRICT;

CREATE INDEX eval_run_suite ON eval_run (suite, created_at_us);
CREATE INDEX eval_run_prompt ON eval_run (prompt, created_at_us);
CREATE INDEX eval_run_finished ON eval_run (finished_at_us);

-- The texts of outputs stay in the log, under its retention; a cell names the request that has it.
CREATE TABLE eval_cell (
    run           TEXT NOT NULL REFERENCES eval_run (id),
    item          TEXT NOT NULL,
    repeat        INTEGER NOT NULL,
    place         INTEGER NOT NULL,
    key           TEXT NOT NULL,
    request_id    TEXT,
    output_sha256 TEXT,
    cost_usd      TEXT,
    latency_ms    REAL,
    tags          TEXT NOT NULL CHECK (json_valid(tags)),
    cluster       TEXT,
    problem       TEXT,  -- why there is no answer that counts
    PRIMARY KEY (run, item, repeat)
) STRICT, WITHOUT ROWID;

CREATE INDEX eval_cell_request ON eval_cell (request_id);

CREATE TABLE eval_result (
    run    TEXT NOT NULL REFERENCES eval_run (id),
    item   TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    system TEXT NOT NULL,
    scorer TEXT NOT NULL,
    value  REAL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'unscored', 'error')),
    reason TEXT,
    PRIMARY KEY (run, system, item, repeat, scorer)
) STRICT, WITHOUT ROWID;

-- Imported results carry what a cell would say.
CREATE TABLE imported_result (
    run  TEXT NOT NULL REFERENCES eval_run (id),
    seq  INTEGER NOT NULL,
    line TEXT NOT NULL CHECK (json_valid(line)),
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_decision (
    id               TEXT PRIMARY KEY CHECK (id GLOB 'gate_*'),
    at_us            INTEGER NOT NULL,
    candidate_run    TEXT NOT NULL,
    candidate_system TEXT NOT NULL,
    baseline_run     TEXT,
    baseline_system  TEXT,
    alias            TEXT,
    suite            TEXT,
    suite_sha256     TEXT,
    dataset          TEXT,
    dataset_sha256   TEXT,
    policy           TEXT NOT NULL,
    policy_sha256    TEXT NOT NULL,
    verdict          TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
    grade            TEXT NOT NULL CHECK (grade IN ('A', 'B', 'C')),
    attempt          INTEGER NOT NULL,  -- on this dataset version, counted from 1
    detail           TEXT NOT NULL CHECK (json_valid(detail)),
    who              TEXT NOT NULL
) STRICT;

CREATE INDEX gate_decision_dataset ON gate_decision (dataset_sha256);
CREATE INDEX gate_decision_candidate ON gate_decision (candidate_run);

CREATE TRIGGER gate_decision_stays BEFORE UPDATE ON gate_decision
BEGIN
    SELECT RAISE(ABORT, 'gate decisions are append-only');
END;

CREATE TRIGGER gate_decision_is_kept BEFORE DELETE ON gate_decision
BEGIN
    SELECT RAISE(ABORT, 'gate decisions are append-only');
END;

CREATE TABLE receipt (
    id              TEXT PRIMARY KEY CHECK (id GLOB 'rcpt_*'),
    decision        TEXT NOT NULL REFERENCES gate_decision (id),
    kind            TEXT NOT NULL CHECK (kind IN ('prompt', 'kb', 'model')),
    object          TEXT NOT NULL,
    number          INTEGER NOT NULL,
    sha256          TEXT NOT NULL,  -- of the content that passed
    alias           TEXT,           -- what the baseline was, when it was named by an alias
    policy          TEXT NOT NULL,
    policy_sha256   TEXT NOT NULL,
    suite           TEXT NOT NULL,
    suite_sha256    TEXT NOT NULL,
    dataset         TEXT NOT NULL,
    dataset_sha256  TEXT NOT NULL,
    judge_cards     TEXT NOT NULL CHECK (json_valid(judge_cards)),  -- list of ids
    baseline_sha256 TEXT,           -- NULL: there was no baseline
    result_sha256   TEXT NOT NULL,
    grade           TEXT NOT NULL CHECK (grade IN ('A', 'B', 'C')),
    issued_at_us    INTEGER NOT NULL,
    expires_at_us   INTEGER,
    who             TEXT NOT NULL
) STRICT;

CREATE INDEX receipt_object ON receipt (kind, object, issued_at_us);

CREATE TRIGGER receipt_stays BEFORE UPDATE ON receipt
BEGIN
    SELECT RAISE(ABORT, 'a receipt is immutable');
END;

CREATE TRIGGER receipt_is_kept BEFORE DELETE ON receipt
BEGIN
    SELECT RAISE(ABORT, 'a receipt is never removed');
END;

CREATE TABLE judge_card (
    id              TEXT PRIMARY KEY CHECK (id GLOB 'card_*'),
    judge           TEXT NOT NULL,  -- name of the judge's prompt
    number          INTEGER NOT NULL,
    prompt_sha256   TEXT NOT NULL,
    model           TEXT NOT NULL,
    rubric_sha256   TEXT NOT NULL,
    scorer_type     TEXT NOT NULL,
    facts           TEXT NOT NULL CHECK (json_valid(facts)),
    evidence_sha256 TEXT NOT NULL,
    who             TEXT NOT NULL,
    created_at_us   INTEGER NOT NULL,
    expires_at_us   INTEGER NOT NULL
) STRICT;

CREATE INDEX judge_card_judge ON judge_card (judge, created_at_us);

CREATE TRIGGER judge_card_stays BEFORE UPDATE ON judge_card
BEGIN
    SELECT RAISE(ABORT, 'a judge card is immutable');
END;

CREATE TABLE approval (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us  INTEGER NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('prompt', 'kb', 'model')),
    object TEXT NOT NULL,
    number INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    alias  TEXT NOT NULL,
    who    TEXT NOT NULL,
    role   TEXT NOT NULL,
    reason TEXT
) STRICT;

CREATE INDEX approval_object ON approval (kind, object, alias, sha256);

CREATE TRIGGER approval_stays BEFORE UPDATE ON approval
BEGIN
    SELECT RAISE(ABORT, 'approvals are append-only');
END;

CREATE TRIGGER approval_is_kept BEFORE DELETE ON approval
BEGIN
    SELECT RAISE(ABORT, 'approvals are append-only');
END;
