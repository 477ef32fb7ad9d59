"""The columns of the log: one list for the table, the Arrow batches, the Parquet files and the reference."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, its SQL type in every store, what it means; content goes when bodies go."""

    name: str
    sql_type: str
    help: str
    is_content: bool = False


def _columns(text: str) -> tuple[Column, ...]:
    columns = []
    for line in text.strip().splitlines():
        name, sql_type, explanation = (part.strip() for part in line.split("|"))
        is_content = explanation.startswith("content: ")
        columns.append(
            Column(name=name, sql_type=sql_type, help=explanation.removeprefix("content: "), is_content=is_content)
        )
    return tuple(columns)


REQUEST_COLUMNS: tuple[Column, ...] = _columns(
    """
    request_id          | UUID           | UUIDv7 of the request; sorts by time
    started_at          | TIMESTAMP      | when the request arrived, UTC
    purpose             | VARCHAR        | traffic, eval, judge, embedding, shadow or probe
    trace_id            | UUID           | trace the request belongs to (traceparent), 128 bits
    session_id          | VARCHAR        | conversation, from x-headgate-session
    user_id             | VARCHAR        | end user, from x-headgate-user
    project             | VARCHAR        | project of the key
    key_id              | VARCHAR        | Headgate key that was used; NULL without one
    client              | VARCHAR        | user agent of the caller
    endpoint            | VARCHAR        | openai.chat, openai.realtime, anthropic.messages, ...; other for paths passed through raw
    method              | VARCHAR        | HTTP method
    path                | VARCHAR        | path as the caller wrote it
    stream              | BOOLEAN        | whether the answer was asked for as a stream
    model_requested     | VARCHAR        | model as the caller named it
    model               | VARCHAR        | model as the answer names it, else as sent
    provider            | VARCHAR        | whose API and prices it has
    upstream            | VARCHAR        | upstream that answered, or was tried last
    upstream_request_id | VARCHAR        | the upstream's own id of the request
    response_id         | VARCHAR        | id inside the answer
    service_tier        | VARCHAR        | tier the upstream served it with
    route               | VARCHAR        | route that matched
    prompt_name         | VARCHAR        | stored prompt
    prompt_version      | INTEGER        | its exact version
    prompt_alias        | VARCHAR        | alias it was called by
    prompt_sha256       | VARCHAR        | content hash of that version
    prompt_vars         | VARCHAR        | content: variables it was rendered with, JSON
    kb_name             | VARCHAR        | knowledge base
    kb_version          | INTEGER        | its exact version
    kb_chunks           | VARCHAR[]      | ids of the chunks used
    arm                 | VARCHAR        | arm of an experiment
    status              | INTEGER        | HTTP status sent to the caller
    outcome             | VARCHAR        | ok, refused, upstream_error, upstream_aborted, timeout, client_closed or interrupted
    error_type          | VARCHAR        | kind of error
    error_message       | VARCHAR        | content: text of the error
    finish_reason       | VARCHAR        | why the model stopped
    attempts            | INTEGER        | how many tries at upstreams
    fallback_from       | VARCHAR        | upstream that failed first
    input_tokens        | BIGINT         | all input, cached included; NULL when unknown
    output_tokens       | BIGINT         | NULL when unknown
    cached_input_tokens | BIGINT         | part of the input read from a cache; NULL when unknown
    cache_write_tokens  | BIGINT         | part of the input written to a cache; NULL when unknown
    reasoning_tokens    | BIGINT         | part of the output spent on reasoning; NULL when unknown
    usage_source        | VARCHAR        | provider, estimated or none
    usage_raw           | VARCHAR        | usage as received, JSON
    cost_usd            | DECIMAL(18,12) | NULL when unpriced
    cost_source         | VARCHAR        | listed, custom or unpriced
    cost_reason         | VARCHAR        | why there is no cost
    price_id            | VARCHAR        | price row that was used
    latency_ms          | DOUBLE         | from the first byte of the request to the last of the answer
    ttft_ms             | DOUBLE         | to the first byte of the answer's content
    overhead_ms         | DOUBLE         | spent in Headgate itself
    upstream_ms         | DOUBLE         | spent waiting for the upstream
    request_bytes       | BIGINT         | body as received
    response_bytes      | BIGINT         | body as sent to the caller
    capture             | VARCHAR        | full, metadata, none, truncated or expired
    tags                | VARCHAR        | x-headgate-tag-*, JSON object
    """  # noqa: E501
)

LOCATOR_COLUMNS: tuple[Column, ...] = _columns(
    """
    seq                   | BIGINT  | order in which rows were stored
    spool_id              | VARCHAR | spool that held the record
    segment               | BIGINT  | its segment
    "offset"              | BIGINT  | where the frame starts in it
    length                | BIGINT  | length of the frame
    request_encoding      | VARCHAR | content-encoding of the captured request
    request_content_type  | VARCHAR | content-type of the captured request
    response_encoding     | VARCHAR | content-encoding of the captured answer
    response_content_type | VARCHAR | content-type of the captured answer
    fold_note             | VARCHAR | why the answer could not be read in full
    output_chars          | BIGINT  | characters of the answer's text
    prompt_chars          | BIGINT  | characters of the request's text
    attempt_list          | STRUCT(upstream VARCHAR, model VARCHAR, status INTEGER, error_type VARCHAR, started_ms DOUBLE, latency_ms DOUBLE)[] | every try at an upstream
    """  # noqa: E501
)

BODY_COLUMNS: tuple[Column, ...] = _columns(
    """
    request      | VARCHAR | content: request as received, when it is UTF-8
    sent         | VARCHAR | content: request as sent, when it differs and is UTF-8
    response     | VARCHAR | content: answer, when it is UTF-8
    request_raw  | BLOB    | content: request as received, when it is not UTF-8
    sent_raw     | BLOB    | content: request as sent, when it differs and is not UTF-8
    response_raw | BLOB    | content: answer, when it is not UTF-8
    """
)

TableName = Literal["predictions", "labels", "scores", "eval_runs", "eval_results", "alias_moves"]

SMALL_TABLES: dict[TableName, tuple[Column, ...]] = {
    "predictions": _columns(
        """
        request_id | UUID    | request that asked
        row        | INTEGER | row inside the request, from 0
        model      | VARCHAR | classic model
        version    | INTEGER | its exact version
        features   | VARCHAR | content: the row's inputs, JSON
        output     | VARCHAR | content: the answer, JSON
        score      | DOUBLE  | score of the predicted class, or the predicted number
        predicted  | VARCHAR | the predicted class or number
        alias      | VARCHAR | alias the version was called by
        entity     | VARCHAR | whom or what the row is about, as the caller said
        predicted_at | TIMESTAMP | when the request came, UTC
        """
    ),
    "labels": _columns(
        """
        request_id | UUID      | request whose truth this is; NULL when it came by entity
        row        | INTEGER   | row inside the request, from 0
        label      | VARCHAR   | ground truth of a class
        value      | DOUBLE    | ground truth of a number
        source     | VARCHAR   | who said so
        created_at | TIMESTAMP | when it was pushed, UTC
        model      | VARCHAR   | model whose predictions it is about, where it came by entity
        entity     | VARCHAR   | whom or what it is about
        as_of      | TIMESTAMP | when it was true, UTC; NULL: when it was pushed
        """
    ),
    "scores": _columns(
        """
        request_id | UUID      | request that was judged
        name       | VARCHAR   | what was judged
        value      | DOUBLE    | as a number
        label      | VARCHAR   | as a word
        source     | VARCHAR   | human, user, judge, code or truth
        comment    | VARCHAR   | content: why
        created_at | TIMESTAMP | when, UTC
        """
    ),
    "eval_runs": _columns(
        """
        run         | VARCHAR   | id of the run
        suite       | VARCHAR   | suite that ran; NULL for imported results
        system      | VARCHAR   | what was evaluated
        status      | VARCHAR   | how it ended: complete or partial
        created_at  | TIMESTAMP | when it began, UTC
        finished_at | TIMESTAMP | when its results were judged last, UTC
        """
    ),
    "eval_results": _columns(
        """
        run           | VARCHAR        | id of the run
        item          | VARCHAR        | case
        repeat        | INTEGER        | repetition, from 0
        system        | VARCHAR        | what was evaluated
        scorer        | VARCHAR        | who scored
        value         | DOUBLE         | the score
        status        | VARCHAR        | ok, unscored or error
        tags          | VARCHAR        | JSON object
        cluster       | VARCHAR        | items that belong together
        "order"       | INTEGER        | place in the run
        cost_usd      | DECIMAL(18,12) | NULL when unpriced
        latency_ms    | DOUBLE         | time to answer
        output_sha256 | VARCHAR        | hash of the answer
        reason        | VARCHAR        | content: why
        request_id    | UUID           | request behind it
        """
    ),
    "alias_moves": _columns(
        """
        moved_at     | TIMESTAMP | when, UTC
        kind         | VARCHAR   | prompt, kb, dataset or model
        name         | VARCHAR   | object
        alias        | VARCHAR   | alias that moved
        from_version | INTEGER   | version before
        to_version   | INTEGER   | version after
        who          | VARCHAR   | who moved it
        reason       | VARCHAR   | why
        gate         | VARCHAR   | what the move rests on: ungated, receipt, override or rollback
        receipt_id   | VARCHAR   | receipts it rests on
        """
    ),
}

ATTEMPT_COLUMNS: tuple[Column, ...] = _columns(
    """
    request_id | UUID    | request the try belongs to
    attempt    | BIGINT  | its number, from 1
    upstream   | VARCHAR | upstream that was tried
    model      | VARCHAR | model it was asked for
    status     | INTEGER | HTTP status; NULL when no answer came
    error_type | VARCHAR | kind of error
    started_ms | DOUBLE  | after the request's start
    latency_ms | DOUBLE  | how long it took
    """
)

EXCHANGE_COLUMNS: tuple[Column, ...] = LOCATOR_COLUMNS[:1] + REQUEST_COLUMNS + LOCATOR_COLUMNS[1:]
"""Everything one row of the table ``exchanges`` and of a sealed file has, bodies excepted."""

VIEW_COLUMNS: dict[str, tuple[Column, ...]] = {
    "requests": REQUEST_COLUMNS,
    "attempts": ATTEMPT_COLUMNS,
    **{str(name): columns for name, columns in SMALL_TABLES.items()},
}
"""What `headgate sql` speaks: view name to its columns."""


def names(columns: tuple[Column, ...]) -> str:
    """The column names as a SQL list."""
    return ", ".join(column.name for column in columns)


def definitions(columns: tuple[Column, ...]) -> str:
    """The columns with their types, as CREATE TABLE wants them."""
    return ", ".join(f"{column.name} {column.sql_type}" for column in columns)
