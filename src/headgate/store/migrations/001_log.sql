-- The log. Rows are inserted and, by retention and deletion, removed; never updated. No key and no index:
-- DuckDB's failures that leave a file unopenable come from index maintenance and UPDATE (docs/design/store.md).

CREATE TABLE exchanges (
    seq                   BIGINT,
    request_id            UUID,
    started_at            TIMESTAMP,
    purpose               VARCHAR,
    trace_id              UUID,
    session_id            VARCHAR,
    user_id               VARCHAR,
    project               VARCHAR,
    key_id                VARCHAR,
    client                VARCHAR,
    endpoint              VARCHAR,
    method                VARCHAR,
    path                  VARCHAR,
    stream                BOOLEAN,
    model_requested       VARCHAR,
    model                 VARCHAR,
    provider              VARCHAR,
    upstream              VARCHAR,
    upstream_request_id   VARCHAR,
    response_id           VARCHAR,
    service_tier          VARCHAR,
    route                 VARCHAR,
    prompt_name           VARCHAR,
    prompt_version        INTEGER,
    prompt_alias          VARCHAR,
    prompt_sha256         VARCHAR,
    prompt_vars           VARCHAR,
    kb_name               VARCHAR,
    kb_version            INTEGER,
    kb_chunks             VARCHAR[],
    arm                   VARCHAR,
    status                INTEGER,
    outcome               VARCHAR,
    error_type            VARCHAR,
    error_message         VARCHAR,
    finish_reason         VARCHAR,
    attempts              INTEGER,
    fallback_from         VARCHAR,
    input_tokens          BIGINT,
    output_tokens         BIGINT,
    cached_input_tokens   BIGINT,
    cache_write_tokens    BIGINT,
    reasoning_tokens      BIGINT,
    usage_source          VARCHAR,
    usage_raw             VARCHAR,
    cost_usd              DECIMAL(18,12),
    cost_source           VARCHAR,
    cost_reason           VARCHAR,
    price_id              VARCHAR,
    latency_ms            DOUBLE,
    ttft_ms               DOUBLE,
    overhead_ms           DOUBLE,
    upstream_ms           DOUBLE,
    request_bytes         BIGINT,
    response_bytes        BIGINT,
    capture               VARCHAR,
    tags                  VARCHAR,
    spool_id              VARCHAR,
    segment               BIGINT,
    "offset"              BIGINT,
    length                BIGINT,
    request_encoding      VARCHAR,
    request_content_type  VARCHAR,
    response_encoding     VARCHAR,
    response_content_type VARCHAR,
    fold_note             VARCHAR,
    output_chars          BIGINT,
    prompt_chars          BIGINT,
    attempt_list          STRUCT(upstream VARCHAR, model VARCHAR, status INTEGER, error_type VARCHAR, started_ms DOUBLE, latency_ms DOUBLE)[]
);

-- How far each spool was read, in the transaction that stored what was read. The greatest counts.
CREATE TABLE marks (
    spool_id  VARCHAR,
    segment   BIGINT,
    "offset"  BIGINT,
    is_closed BOOLEAN,
    last_seq  BIGINT,
    noted_at  TIMESTAMP
);

-- Spool segments whose rows are in a sealed file.
CREATE TABLE sealed_segments (
    spool_id VARCHAR,
    segment  BIGINT,
    noted_at  TIMESTAMP
);

-- Sealed files: added, later perhaps removed. A file on disk that is not here counts as absent.
CREATE TABLE file_changes (
    change         VARCHAR,
    path           VARCHAR,
    rows           BIGINT,
    bytes          BIGINT,
    has_bodies     BOOLEAN,
    min_started_at TIMESTAMP,
    max_started_at TIMESTAMP,
    noted_at  TIMESTAMP
);

-- Requests taken out by `log delete` whose text may still be in a file.
CREATE TABLE deletions (
    request_id UUID,
    started_at TIMESTAMP,
    spool_id   VARCHAR,
    segment    BIGINT,
    deleted_at TIMESTAMP
);

-- Watermarks of retention: bodies or rows of requests that started before are gone. The greatest counts.
CREATE TABLE expiries (
    what   VARCHAR,
    before TIMESTAMP,
    noted_at  TIMESTAMP
);

CREATE TABLE predictions (
    request_id UUID,
    row        INTEGER,
    model      VARCHAR,
    version    INTEGER,
    features   VARCHAR,
    output     VARCHAR,
    score      DOUBLE
);

CREATE TABLE labels (
    request_id UUID,
    row        INTEGER,
    label      VARCHAR,
    value      DOUBLE,
    source     VARCHAR,
    created_at TIMESTAMP
);

CREATE TABLE scores (
    request_id UUID,
    name       VARCHAR,
    value      DOUBLE,
    label      VARCHAR,
    source     VARCHAR,
    comment    VARCHAR,
    created_at TIMESTAMP
);

CREATE TABLE eval_runs (
    run        VARCHAR,
    suite      VARCHAR,
    system     VARCHAR,
    status     VARCHAR,
    created_at TIMESTAMP
);

CREATE TABLE eval_results (
    run           VARCHAR,
    item          VARCHAR,
    repeat        INTEGER,
    system        VARCHAR,
    scorer        VARCHAR,
    value         DOUBLE,
    status        VARCHAR,
    tags          VARCHAR,
    cluster       VARCHAR,
    "order"       INTEGER,
    cost_usd      DECIMAL(18,12),
    latency_ms    DOUBLE,
    output_sha256 VARCHAR,
    reason        VARCHAR,
    request_id    UUID
);

CREATE TABLE alias_moves (
    moved_at     TIMESTAMP,
    kind         VARCHAR,
    name         VARCHAR,
    alias        VARCHAR,
    from_version INTEGER,
    to_version   INTEGER,
    who          VARCHAR,
    reason       VARCHAR
);

-- Content past its retention reads as NULL at once; the files follow. The variable is set on every read cursor.
CREATE VIEW requests AS SELECT
    request_id,
    started_at,
    purpose,
    trace_id,
    session_id,
    user_id,
    project,
    key_id,
    client,
    endpoint,
    method,
    path,
    stream,
    model_requested,
    model,
    provider,
    upstream,
    upstream_request_id,
    response_id,
    service_tier,
    route,
    prompt_name,
    prompt_version,
    prompt_alias,
    prompt_sha256,
    CASE WHEN started_at < coalesce(getvariable('bodies_before'), TIMESTAMP '-infinity') THEN NULL ELSE prompt_vars END AS prompt_vars,
    kb_name,
    kb_version,
    kb_chunks,
    arm,
    status,
    outcome,
    error_type,
    CASE WHEN started_at < coalesce(getvariable('bodies_before'), TIMESTAMP '-infinity') THEN NULL ELSE error_message END AS error_message,
    finish_reason,
    attempts,
    fallback_from,
    input_tokens,
    output_tokens,
    cached_input_tokens,
    cache_write_tokens,
    reasoning_tokens,
    usage_source,
    usage_raw,
    cost_usd,
    cost_source,
    cost_reason,
    price_id,
    latency_ms,
    ttft_ms,
    overhead_ms,
    upstream_ms,
    request_bytes,
    response_bytes,
    CASE WHEN started_at < coalesce(getvariable('bodies_before'), TIMESTAMP '-infinity') AND capture IN ('full', 'truncated') THEN 'expired' ELSE capture END AS capture,
    tags,
    seq
FROM exchanges;

CREATE VIEW attempts AS SELECT
    request_id, attempt, a.upstream, a.model, a.status, a.error_type, a.started_ms, a.latency_ms
FROM (
    SELECT request_id, unnest(attempt_list) AS a, generate_subscripts(attempt_list, 1) AS attempt
    FROM exchanges
);
