"""Logged calls of a prompt made into rows of a dataset: de-duplicated, with what people said the answer should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.control.access import Principal
from headgate.control.eval_shapes import MAX_LOG_ROWS, FromLog
from headgate.control.evidence import extra_fields, kept_problem, request_fields
from headgate.control.filters import FILTERS, request_filter, single_values
from headgate.control.queries import TIMEOUT_S
from headgate.control.rows import iso
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest
from headgate.evals.canonical import NotCanonical, digest
from headgate.evals.dataset import Row, dataset_of, is_messages, rows_jsonl
from headgate.store import lookup
from headgate.store.lookup import LoggedCall
from headgate.store.values import Bodies

CORRECTION = "correction"
"""The score whose comment is the answer that should have been given."""
_LOOKED_AT = 4


@dataclass(frozen=True, kw_only=True)
class LogRows:
    """Rows with the calls they came from, newest first, and how many calls were left out for which reason."""

    rows: tuple[Row, ...]
    calls: Mapping[str, LoggedCall]  # by row id
    skipped: Mapping[str, int]
    jsonl: str = ""


def rows_from_log(control: ControlApp, who: Principal, wanted: FromLog) -> LogRows:
    """Blocking: rows from the calls that a filter chooses; raises MalformedRequest."""
    if not 1 <= wanted.limit <= MAX_LOG_ROWS:
        raise MalformedRequest(f"limit={wanted.limit} is not from 1 to {MAX_LOG_ROWS}.")
    values = single_values(list(wanted.filter.items()), FILTERS, tags=True)
    key_ids = control.keyring.ids_of(values["key"]) if "key" in values else None
    chosen = request_filter(values, projects=who.sees_project, key_ids=key_ids, default_purpose="traffic")
    chosen.add("prompt_name IS NOT NULL AND outcome = 'ok'")
    sql = f"SELECT request_id::VARCHAR FROM requests {chosen.where} ORDER BY request_id DESC LIMIT ?"
    ids = [
        row[0] for row in control.log.query(sql, [*chosen.params, wanted.limit * _LOOKED_AT], timeout_s=TIMEOUT_S).rows
    ]
    calls = lookup.calls_of_ids(control.log, ids)
    found = rows_of_calls(control, [calls[one] for one in ids if one in calls], wanted.limit)
    jsonl = rows_jsonl(dataset_of("from-log", found.rows)).decode() if found.rows else ""
    return LogRows(rows=found.rows, calls=found.calls, skipped=found.skipped, jsonl=jsonl)


def rows_of_calls(control: ControlApp, calls: Sequence[LoggedCall], limit: int) -> LogRows:
    """Blocking: the calls as rows, each input once (its newest call), in the order given."""
    rows: dict[str, Row] = {}
    sources: dict[str, LoggedCall] = {}
    skipped: dict[str, int] = {}
    for batch in lookup.batches(calls):
        if len(rows) >= limit:
            break
        variables = lookup.variables_of(control.log, batch)
        bodies = lookup.bodies_of(control.log, batch)
        corrections = _corrections(control, batch)
        for call in batch:
            kept = bodies.get(call.request_id)
            found = _input(control, call, variables.get(call.request_id), kept)
            if isinstance(found, str):
                skipped[found] = skipped.get(found, 0) + 1
                continue
            try:
                row_id = digest(found)[:12]
            except NotCanonical:
                skipped["its variables have no canonical form"] = 1
                continue
            if row_id in rows:
                skipped["the same was asked again"] = skipped.get("the same was asked again", 0) + 1
                if row_id in rows and rows[row_id].expected is None and call.request_id in corrections:
                    rows[row_id] = msgspec.structs.replace(rows[row_id], expected=corrections[call.request_id])
            elif len(rows) < limit:
                rows[row_id] = _row(row_id, found, call, corrections.get(call.request_id))
                sources[row_id] = call
    return LogRows(rows=tuple(rows.values()), calls=sources, skipped=skipped)


def _row(row_id: str, found: dict[str, Any], call: LoggedCall, expected: str | None) -> Row:
    return Row(
        id=row_id,
        input=found,
        expected=expected,
        cluster=call.session_id,
        source={
            "request_id": call.request_id,
            "captured_at": iso(call.started_at),
            "prompt": f"{call.prompt_name}@{call.prompt_version}",
        },
    )


def _input(control: ControlApp, call: LoggedCall, variables: str | None, bodies: Bodies | None) -> dict[str, Any] | str:
    """The input of a call, or why it is none for a dataset."""
    if problem := kept_problem(control.log, call):
        return problem
    if variables is None or bodies is None:
        return "it was called without variables, or they were not kept"
    fields = request_fields(call, bodies)
    if fields is None:
        return "its request cannot be read"
    if extra_fields(fields):
        return "it changed parameters of the prompt"
    found: dict[str, Any] = msgspec.json.decode(variables)
    messages = fields.get("messages")
    if messages:
        if not is_messages(messages) or "messages" in found:
            return "its messages are not of the usual form"
        found["messages"] = messages
    return found


def _corrections(control: ControlApp, calls: Sequence[LoggedCall]) -> dict[str, str]:
    """The newest correction of each call."""
    found: dict[str, str] = {}
    for score in lookup.scores_of(control.log, [call.request_id for call in calls]):
        if score["name"] == CORRECTION and score["comment"]:
            found[str(score["request_id"])] = str(score["comment"])
    return found
