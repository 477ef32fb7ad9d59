"""The judge of a run with faults: what clients were told, what the upstream saw and what is stored is one story."""

import time
from dataclasses import dataclass
from typing import Any

from support.load import CountingUpstream, Load
from support.server import RunningServer

_PATIENCE_S = 20.0
_ENDINGS = ("interrupted", "ok", "client_closed", "upstream_aborted", "upstream_error", "timeout")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The three sets, compared. Calls are known by the name in their prompt, stored as `session_id`."""

    sent: int
    acknowledged: int
    seen: int  # by the upstream
    rows: list[dict[str, Any]]
    lost: frozenset[str]  # acknowledged, or seen by the upstream, and not stored
    lost_acknowledged: frozenset[str]
    duplicated: int  # rows beyond the first of a call
    wrong: list[str]  # what a row says that is not what happened

    @property
    def holds(self) -> bool:
        """Acknowledged = stored = distinct, and each row says what happened."""
        return not self.lost and not self.duplicated and not self.wrong


def judge(server: RunningServer, load: Load, upstream: CountingUpstream, *, dropped: int = 0) -> Judgement:
    """Compare, once all is stored or nothing more comes. ``dropped``: how many the server says it could not keep."""
    names_seen = set(upstream.names())
    wanted = set(load.acknowledged) | names_seen
    rows = _rows_once_there_are(server, len(wanted) - dropped)
    by_name: dict[str, dict[str, Any]] = {row["session_id"]: row for row in rows}
    lost = frozenset(wanted - by_name.keys())
    return Judgement(
        sent=len(load.sent),
        acknowledged=len(load.acknowledged),
        seen=len(names_seen),
        rows=rows,
        lost=lost,
        lost_acknowledged=lost & load.acknowledged.keys(),
        duplicated=len(rows) - len({*by_name}),
        wrong=[*load.wrong, *_wrong_rows(load, by_name, names_seen)],
    )


def _wrong_rows(load: Load, by_name: dict[str, dict[str, Any]], names_seen: set[str]) -> list[str]:
    wrong = [f"{name} was never sent" for name in by_name.keys() - set(load.sent)]
    for name, request_id in load.acknowledged.items():
        row = by_name.get(name)
        if row is not None and (row["request_id"], row["outcome"], row["output_tokens"]) != (request_id, "ok", 3):
            wrong.append(f"{name} was answered as {request_id}, its row is {row}")
    for name in (names_seen - load.acknowledged.keys()) & by_name.keys():
        if by_name[name]["outcome"] not in _ENDINGS:
            wrong.append(f"{name} was called, its row is {by_name[name]}")
    return wrong


def assert_nothing_is_lost(server: RunningServer, load: Load, upstream: CountingUpstream) -> list[dict[str, Any]]:
    """Fails with what helps to find out why; returns the rows."""
    found = judge(server, load, upstream)
    assert not found.lost, _story_of_a_loss(server, found)
    assert not found.duplicated, "stored twice"
    assert not found.wrong, found.wrong[:3]
    assert all(row["cost_usd"] is not None for row in found.rows if row["session_id"] in load.acknowledged)
    return found.rows


def _rows_once_there_are(server: RunningServer, count: int) -> list[dict[str, Any]]:
    """All rows, as soon as there are so many, or once no more have come for some time: late is not lost."""
    most, patient_until_s = 0, time.monotonic() + _PATIENCE_S
    while True:
        total = int(server.api("/api/requests", {"limit": 1})["total"]["requests"])
        if total > most:
            most, patient_until_s = total, time.monotonic() + _PATIENCE_S
        if total >= count or time.monotonic() > patient_until_s:
            return server.rows()
        time.sleep(0.05)


def _story_of_a_loss(server: RunningServer, found: Judgement) -> str:
    status = server.api("/api/status")
    known = {name: status.get(name) for name in ("health", "store", "jobs", "counters")}
    return (
        f"{len(found.lost)} calls are not in the log, {len(found.lost_acknowledged)} of them acknowledged: "
        f"{sorted(found.lost)[:10]}. {known}. The last words: {server.err.lines[-20:]}"
    )
