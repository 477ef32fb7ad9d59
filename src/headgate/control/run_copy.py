"""The log's copy of finished runs, so that `headgate sql` can lay their results beside the requests."""

import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from headgate.core.errors import HeadgateError
from headgate.core.ids import utc
from headgate.registry import runs
from headgate.registry.database import Database
from headgate.registry.runs import Run
from headgate.store.log import Log
from headgate.store.small_tables import oldest_id

_logger = logging.getLogger("headgate.control")


class _Imported(msgspec.Struct):
    item: str
    system: str
    scorer: str
    value: float | None
    status: str
    repeat: int = 0
    tags: dict[str, str] = {}
    cluster: str | None = None
    order: int | None = None
    cost_usd: Decimal | None = None
    latency_ms: float | None = None
    output_sha256: str | None = None
    reason: str | None = None


_decoder = msgspec.json.Decoder(_Imported)


class RunCopy:
    """Brings finished runs from the registry to the views `eval_runs` and `eval_results`; a run finished again replaces
    what was there of it."""

    def __init__(self, log: Log, registry: Database) -> None:
        self._log, self._registry = log, registry
        self._copied: tuple[int, int] | None = None  # the log's generation, and when the newest copied was finished

    def bring_up_to_date(self) -> None:
        """Blocking: copy what the log lacks. What cannot be copied now is copied with the next run."""
        try:
            self._copy()
        except HeadgateError as error:
            self._copied = None
            _logger.warning("eval_runs is behind the registry: %s", error.sentence)

    def _copy(self) -> None:
        generation = self._log.generation
        if self._copied is None or self._copied[0] != generation:
            row = self._log.query("SELECT coalesce(max(epoch_us(finished_at)), 0) FROM eval_runs").rows[0]
            self._copied = (generation, int(row[0]))
        while found := runs.finished_after(self._registry, self._copied[1], limit=10):
            for run in found:
                self._log.replace_run(_run_row(run), list(_result_rows(self._registry, run)))
                assert run.finished_at_us is not None
                self._copied = (generation, run.finished_at_us)


def forget_deleted(log: Log, registry: Database) -> None:
    """Blocking: take what was said of the requests deleted last out of the registry's runs too."""
    sql = "SELECT request_id::VARCHAR FROM deletions WHERE number = (SELECT max(number) FROM deletions)"
    runs.forget(registry, [row[0] for row in log.query(sql).rows], None)


def forget_expired(log: Log, registry: Database) -> None:
    """Blocking: take the words about requests whose bodies have expired out of the registry's runs too."""
    if log.bodies_before is not None:
        runs.forget(registry, [], oldest_id(log.bodies_before))


def _run_row(run: Run) -> dict[str, object]:
    assert run.finished_at_us is not None
    return {
        "run": run.id,
        "suite": run.suite,
        "system": run.system,
        "status": run.status,
        "created_at": utc(run.created_at_us).replace(tzinfo=None),
        "finished_at": utc(run.finished_at_us).replace(tzinfo=None),
    }


def _result_rows(registry: Database, run: Run) -> Iterator[Mapping[str, Any]]:
    if run.kind == "import":
        for line in runs.imported_lines(registry, run.id):
            one = _decoder.decode(line)
            yield {
                **msgspec.structs.asdict(one),
                "run": run.id,
                "tags": _tags(one.tags),
            }
        return
    cells = {(cell.item, cell.repeat): cell for cell in runs.cells_of(registry, run.id)}
    for result in runs.results_of(registry, run.id):
        cell = cells[result.item, result.repeat]
        yield {
            "run": run.id,
            "item": result.item,
            "repeat": result.repeat,
            "system": result.system,
            "scorer": result.scorer,
            "value": result.value,
            "status": result.status,
            "tags": _tags(cell.tags),
            "cluster": cell.cluster,
            "order": cell.place,
            "cost_usd": None if cell.cost_usd is None else Decimal(cell.cost_usd),
            "latency_ms": cell.latency_ms,
            "output_sha256": cell.output_sha256,
            "reason": result.reason,
            "request_id": cell.request_id,
        }


def _tags(tags: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(tags)).decode()
