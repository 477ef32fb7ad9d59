"""Logged calls found by what evaluations know of them: a key in the tag `cell`, an id, a prompt's content; with bodies
in bulk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from headgate.store.files import sealed_files
from headgate.store.log import Log
from headgate.store.values import Bodies, Location

MAX_KEYS = 200_000
MAX_OF_ONE_KEY = 20
"""Answers of one key that are looked at; a caller who logs more under it only spoils their own run."""
BATCH_BYTES = 16 << 20
BATCH_CALLS = 256
_TIMEOUT_S = 60.0
_COLUMNS = """
    request_id::VARCHAR AS request_id, started_at, purpose, tags ->> '/cell' AS cell, tags ->> '/run' AS run, endpoint,
    key_id, project, prompt_name, prompt_version, prompt_sha256, kb_name, kb_version, kb_chunks, model, outcome,
    finish_reason, latency_ms, ttft_ms, cost_usd, input_tokens, output_tokens, capture, session_id, request_bytes,
    response_bytes,
    request_encoding, response_encoding, response_content_type, spool_id, segment, "offset", length"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall:
    """One row of the log without its content, and where its bodies are."""

    request_id: str
    started_at: datetime
    purpose: str
    cell: str | None  # the tag `cell`
    run: str | None  # the tag `run`
    endpoint: str
    key_id: str | None
    project: str
    prompt_name: str | None
    prompt_version: int | None
    prompt_sha256: str | None
    kb_name: str | None
    kb_version: int | None
    kb_chunks: list[str] | None
    model: str | None
    outcome: str
    finish_reason: str | None
    latency_ms: float | None
    ttft_ms: float | None
    cost_usd: Decimal | None
    input_tokens: int | None
    output_tokens: int | None
    capture: str
    session_id: str | None
    request_bytes: int
    response_bytes: int
    request_encoding: str | None
    response_encoding: str | None
    response_content_type: str | None
    spool_id: str
    segment: int
    offset: int
    length: int

    @property
    def size_bytes(self) -> int:
        """About what its bodies take in memory."""
        return (self.request_bytes or 0) + (self.response_bytes or 0)


def calls_of_cells(log: Log, keys: Sequence[str], purposes: Sequence[str]) -> dict[str, list[LoggedCall]]:
    """By key, the calls made for it: good ones first, each kind oldest first. Keys without a call are absent."""
    sql = f"""SELECT {_COLUMNS} FROM exchanges
              WHERE list_contains(?::VARCHAR[], purpose)
                AND (tags ->> '/cell') IN (SELECT unnest(?::VARCHAR[]))
              QUALIFY row_number() OVER (PARTITION BY tags ->> '/cell'
                                         ORDER BY outcome <> 'ok', started_at, request_id) <= {MAX_OF_ONE_KEY}
              ORDER BY outcome <> 'ok', started_at, request_id"""
    found: dict[str, list[LoggedCall]] = {}
    if keys:
        for call in _calls(log, sql, [list(purposes), list(keys[:MAX_KEYS])]):
            found.setdefault(call.cell or "", []).append(call)
    return found


def calls_of_ids(log: Log, request_ids: Sequence[str]) -> dict[str, LoggedCall]:
    """Calls by request id; ids that the log does not have are absent."""
    if not request_ids:
        return {}
    sql = f"""SELECT {_COLUMNS} FROM exchanges
              WHERE request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))"""
    return {call.request_id: call for call in _calls(log, sql, [list(request_ids)])}


def calls_of_prompt(
    log: Log, prompt: str, sha256: str, *, since: datetime, project: str | None, limit: int
) -> list[LoggedCall]:
    """Good calls of traffic that one version of a prompt answered, newest first, with variables that are kept."""
    sql = f"""SELECT {_COLUMNS} FROM exchanges
              WHERE purpose = 'traffic' AND prompt_name = ? AND prompt_sha256 = ? AND started_at >= ?
                AND outcome = 'ok' AND coalesce(status, 200) < 400 AND capture = 'full' AND prompt_vars IS NOT NULL
                AND started_at >= coalesce(?, TIMESTAMP '-infinity') AND (?::VARCHAR IS NULL OR project = ?)
              ORDER BY started_at DESC, request_id LIMIT ?"""
    return list(_calls(log, sql, [prompt, sha256, since, log.bodies_before, project, project, limit]))


def variables_of(log: Log, calls: Sequence[LoggedCall]) -> dict[str, str]:
    """The variables of these calls as JSON texts, by request id, where they are kept."""
    if not calls:
        return {}
    first, last = min(call.started_at for call in calls), max(call.started_at for call in calls)
    sql = """SELECT request_id::VARCHAR, prompt_vars FROM exchanges
             WHERE started_at BETWEEN ? AND ? AND prompt_vars IS NOT NULL
               AND started_at >= coalesce(?, TIMESTAMP '-infinity')
               AND request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))"""
    params = [first, last, log.bodies_before, [call.request_id for call in calls]]
    return {row[0]: row[1] for row in log.query(sql, params, timeout_s=_TIMEOUT_S).rows}


def is_expired(log: Log, call: LoggedCall) -> bool:
    """Whether the call's content is past its retention."""
    return log.bodies_before is not None and call.started_at < log.bodies_before


def bodies_of(log: Log, calls: Sequence[LoggedCall]) -> dict[str, Bodies]:
    """The bodies of these calls by request id, where they are kept; the caller bounds them (see ``batches``)."""
    found: dict[str, Bodies] = {}
    rest: list[LoggedCall] = []
    for call in calls:
        if call.capture not in ("full", "truncated") or call.length == 0 or is_expired(log, call):
            continue
        location = Location(spool_id=call.spool_id, segment=call.segment, offset=call.offset)
        bodies = log.spool_bodies(location) if log.spool_bodies else None
        if bodies is None:
            rest.append(call)
        else:
            found[call.request_id] = bodies
    if rest:
        first, last = min(call.started_at for call in rest), max(call.started_at for call in rest)
        paths = [
            log.bodies_directory / file.path
            for file in sealed_files(log)
            if file.has_bodies and file.min_started_at <= last and file.max_started_at >= first
        ]
        found |= log.archive.bodies_of_many(paths, [call.request_id for call in rest])
    return found


def batches(calls: Sequence[LoggedCall]) -> Iterator[list[LoggedCall]]:
    """The calls in runs whose bodies fit into memory together."""
    batch: list[LoggedCall] = []
    size = 0
    for call in calls:
        if batch and (size + call.size_bytes > BATCH_BYTES or len(batch) == BATCH_CALLS):
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += call.size_bytes
    if batch:
        yield batch


def stored_ids(log: Log, request_ids: Sequence[str]) -> set[str]:
    """Those of the ids that are stored, or were and are deleted."""
    return log.known(request_ids)


def scores_of(log: Log, request_ids: Sequence[str]) -> list[Mapping[str, object]]:
    """The scores of these requests, oldest first; comments past their request's retention are None."""
    sql = """SELECT s.request_id::VARCHAR AS request_id, s.name, s.value, s.label, s.source,
                    CASE WHEN e.started_at < coalesce(getvariable('bodies_before'), TIMESTAMP '-infinity') THEN NULL
                         ELSE s.comment END AS comment, s.created_at
             FROM scores AS s JOIN exchanges AS e USING (request_id)
             WHERE s.request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))
             ORDER BY s.created_at, s.rowid"""
    return list(log.query(sql, [list(request_ids)], timeout_s=_TIMEOUT_S).dicts())


def _calls(log: Log, sql: str, params: Sequence[object]) -> Iterator[LoggedCall]:
    for row in log.query(sql, params, timeout_s=_TIMEOUT_S).dicts():
        yield LoggedCall(**row)
