"""A run judged from the log: every cell's answer, every score, computed here and never taken from a client."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from headgate.control.eval_runs import Loaded, load
from headgate.control.eval_shapes import OwnScore
from headgate.control.evidence import Found, Wanted, answers, chosen, output_from
from headgate.control.read_chunks import ChunkTexts
from headgate.control.rows import clean, money
from headgate.control.state import ControlApp
from headgate.evals.canonical import digest
from headgate.evals.cells import Cell, ask_key
from headgate.evals.output import Output
from headgate.evals.results import Result, write_results
from headgate.evals.scorer import Ask, Score, Scorer, failed, unscored
from headgate.evals.suite import cluster_of
from headgate.registry import runs
from headgate.registry.database import Database
from headgate.registry.runs import Finish, Run, StoredCell, StoredResult
from headgate.store import lookup
from headgate.store.log import Log
from headgate.store.lookup import LoggedCall

CHUNK_CELLS = 64
MAX_MISSING = 500

OwnScores = Mapping[tuple[str, int, str], OwnScore]


@dataclass
class _Tally:
    """What the evidence cost, and what is not there; ``all_usd`` is None once a price is unknown."""

    run: str
    calls: int = 0
    cached: int = 0
    asks: int = 0
    cost: Decimal = Decimal(0)
    judge_cost: Decimal = Decimal(0)
    all_usd: Decimal = Decimal(0)
    unpriced: int = 0
    answered: int = 0
    failed: int = 0
    missing: list[dict[str, Any]] = field(default_factory=list)
    missing_count: int = 0
    unasked: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, call: LoggedCall, *, is_ask: bool) -> None:
        """Count a call once, however many cells rest on it."""
        if call.request_id in self.seen:
            return
        self.seen.add(call.request_id)
        self.asks += is_ask
        is_own = call.run == self.run
        self.calls += is_own
        self.cached += not is_own
        if call.cost_usd is None:
            self.unpriced += 1
            return
        self.all_usd += call.cost_usd
        if is_own and is_ask:
            self.judge_cost += call.cost_usd
        elif is_own:
            self.cost += call.cost_usd

    def miss(self, cell: Cell, found: Found, scorer: str | None, key: str) -> None:
        """Note what has no answer that counts."""
        self.missing_count += 1
        self.unasked += not found.was_asked
        if len(self.missing) < MAX_MISSING:
            reason = clean(found.problem or "it was not asked")
            named = {"item": cell.item, "repeat": cell.repeat, "key": key, "reason": reason}
            self.missing.append({**named, "scorer": scorer} if scorer else named)

    def json(self, cells: int) -> dict[str, Any]:
        """For the run."""
        return {
            "cells": cells,
            "answered": self.answered,
            "failed": self.failed,
            "asks": self.asks,
            "calls": self.calls,
            "cached": self.cached,
            "cost_usd": money(self.cost),
            "judge_cost_usd": money(self.judge_cost),
            "full_cost_usd": money(self.all_usd) if not self.unpriced else None,
            "unpriced": self.unpriced,
            "missing": self.missing,
            "missing_count": self.missing_count,
        }


def finish(control: ControlApp, run: Run, own: Sequence[OwnScore], stopped: str | None) -> Run:
    """Blocking: judge what the log has of a run and store it; cells without an answer are named, not invented.

    Posted scores count only for scorers that run on the client.
    """
    loaded = load(control, run)
    registry, log = control.publisher.registry, control.log
    posted = {(one.item, one.repeat, one.scorer): one for one in own}
    tally = _Tally(run=run.id)
    cells: list[StoredCell] = []
    results: list[StoredResult] = []
    keys = list(dict.fromkeys(cell.key for cell in loaded.cells))
    calls = lookup.calls_of_cells(log, keys, ["eval"])
    baseline = _baseline_requests(registry, run)
    texts = ChunkTexts(control.home.path, registry) if any(one.reads_chunks for one in loaded.scorers) else None
    for first in range(0, len(loaded.cells), CHUNK_CELLS):
        chunk = loaded.cells[first : first + CHUNK_CELLS]
        judged = _Chunk(loaded, log, tally, chunk, calls, baseline, posted, texts)
        for cell, found in judged.cells():
            cells.append(stored_cell(loaded, cell, found))
        results.extend(judged.results())
    done = Finish(
        status="complete" if tally.unasked == 0 else "partial",
        stopped=stopped,
        totals=tally.json(len(loaded.cells)),
        scorers={one.spec.id: scorer_json(one) for one in loaded.scorers},
        result_sha256=result_sha256(neutral(run, cells, results)),
        cells=cells,
        results=results,
    )
    return runs.finish(registry, run, done)


class _Chunk:
    """Some cells of a run: their answers, the answers to what scorers ask about them, and their scores."""

    def __init__(
        self,
        loaded: Loaded,
        log: Log,
        tally: _Tally,
        chunk: Sequence[Cell],
        calls: Mapping[str, Sequence[LoggedCall]],
        baseline: Mapping[tuple[str, int], str] | None,
        posted: OwnScores,
        texts: ChunkTexts | None,
    ) -> None:
        self._loaded, self._log, self._tally, self._chunk, self._posted = loaded, log, tally, chunk, posted
        run = loaded.run
        wanted = {
            cell.key: Wanted(
                prompt=run.prompt,
                sha256=run.prompt_sha256,
                reads=loaded.reads,
                variables=cell.row.variables,
                messages=cell.row.messages,
            )
            for cell in chunk
        }
        found = chosen(log, wanted, calls)
        self._found = found if texts is None else {key: texts.added(one) for key, one in found.items()}
        self._baseline = None if baseline is None else _outputs(log, chunk, baseline)

    def cells(self) -> Iterator[tuple[Cell, Found]]:
        """Each cell with its answer."""
        for cell in self._chunk:
            found = self._found[cell.key]
            if found.call is not None:
                self._tally.answered += 1
                self._tally.add(found.call, is_ask=False)
            else:
                self._tally.failed += found.was_asked
                self._tally.miss(cell, found, None, cell.key)
            yield cell, found

    def results(self) -> Iterator[StoredResult]:
        """Every score; for a call that failed an error of each scorer, for one not made nothing."""
        asked = self._ask_all()
        for cell in self._chunk:
            found = self._found[cell.key]
            for scorer in self._loaded.scorers:
                if scorer.needs_baseline and self._baseline is None:
                    continue
                if found.output is not None:
                    score = self._score(cell, scorer, found.output, asked)
                elif found.was_asked:
                    score = failed(found.problem or "there is no answer")
                else:
                    continue
                yield StoredResult(
                    item=cell.item,
                    repeat=cell.repeat,
                    system=self._loaded.run.system,
                    scorer=scorer.spec.id,
                    value=score.value,
                    status=score.status,
                    reason=clean(score.reason) or None,
                )

    def _other(self, cell: Cell) -> Output | None:
        return None if self._baseline is None else self._baseline.get((cell.item, cell.repeat))

    def _keyed(self, asks: Iterable[Ask]) -> list[tuple[str, Ask, str | None]]:
        """Key, ask and the judge's content of everything that a scorer asks."""
        found = []
        for ask in asks:
            judge = self._loaded.run.judges.get(ask.judge or "", {})
            sha256 = judge.get("sha256") if ask.kind == "judge" else None
            found.append((ask_key(ask, sha256), ask, sha256))
        return found

    def _asks(self, cell: Cell, scorer: Scorer, output: Output) -> list[tuple[str, Ask, str | None]]:
        return self._keyed(scorer.asks(cell.row, output, self._other(cell)))

    def _follow_ups(
        self, cell: Cell, scorer: Scorer, output: Output, asked: Mapping[str, Found]
    ) -> list[tuple[str, Ask, str | None]]:
        heard = [asked[key].output for key, _, _ in self._asks(cell, scorer, output)]
        return self._keyed(scorer.follow_ups(cell.row, output, heard))

    def _ask_all(self) -> dict[str, Found]:
        asking = [
            (cell, scorer, output)
            for cell in self._chunk
            if (output := self._found[cell.key].output) is not None
            for scorer in self._loaded.scorers
            if scorer.source != "client" and not (scorer.needs_baseline and self._other(cell) is None)
        ]
        asked = self._answers(one for three in asking for one in self._asks(*three))
        return asked | self._answers(one for three in asking for one in self._follow_ups(*three, asked))

    def _answers(self, keyed: Iterable[tuple[str, Ask, str | None]]) -> dict[str, Found]:
        wanted: dict[str, dict[str, Wanted]] = {"judge": {}, "embedding": {}}
        for key, ask, sha256 in keyed:
            wanted[ask.kind][key] = self._wanted(ask, sha256)
        return {
            key: found
            for kind in wanted
            if wanted[kind]
            for key, found in answers(self._log, wanted[kind], [kind]).items()
        }

    def _wanted(self, ask: Ask, sha256: str | None) -> Wanted:
        if ask.kind == "embedding":
            return Wanted(model=ask.model, input=ask.input, is_ask=True)
        judge = self._loaded.run.judges[ask.judge or ""]
        name = str(judge["ref"]).rpartition("@")[0]
        reads = self._loaded.judge_reads[str(judge["ref"])]
        return Wanted(prompt=name, sha256=sha256, reads=reads, variables=ask.variables, is_ask=True)

    def _score(self, cell: Cell, scorer: Scorer, output: Output, asked: Mapping[str, Found]) -> Score:
        if scorer.source == "client":
            return self._own(cell, scorer)
        other = self._other(cell)
        if scorer.needs_baseline and other is None:
            return unscored("the baseline has no answer to this case")
        heard: list[Output | None] = []
        for key, _, _ in [*self._asks(cell, scorer, output), *self._follow_ups(cell, scorer, output, asked)]:
            found = asked[key]
            heard.append(found.output)
            if found.call is not None:
                self._tally.add(found.call, is_ask=True)
            else:
                self._tally.miss(cell, found, scorer.spec.id, key)
        try:
            return scorer.score(cell.row, output, other, heard)
        except Exception as error:  # the border of a plug-in: one scorer's defect must not take the run's results
            return failed(f"the scorer failed ({type(error).__name__})")

    def _own(self, cell: Cell, scorer: Scorer) -> Score:
        one = self._posted.get((cell.item, cell.repeat, scorer.spec.id))
        if one is None:
            return unscored("the client sent no score")
        is_ok = one.status == "ok" and one.value is not None
        return Score(
            value=one.value if is_ok else None,
            status=one.status if is_ok or one.status != "ok" else "unscored",
            reason=one.reason[:1000],
        )


def stored_cell(loaded: Loaded, cell: Cell, found: Found) -> StoredCell:
    """A cell as the registry keeps it: no text, only where it is and its hash."""
    call, output = found.call, found.output
    return StoredCell(
        item=cell.item,
        repeat=cell.repeat,
        place=cell.order,
        key=cell.key,
        request_id=None if call is None else call.request_id,
        output_sha256=None if output is None else output.sha256,
        cost_usd=None if call is None or call.cost_usd is None else money(call.cost_usd),
        latency_ms=None if call is None else call.latency_ms,
        tags=cell.row.tags,
        cluster=cluster_of(loaded.suite, cell.row),
        problem=None if call is not None else clean(found.problem or ""),
    )


def neutral(run: Run, cells: Iterable[StoredCell], results: Iterable[StoredResult]) -> list[Result]:
    """Results in their neutral form, in an order that only their names decide."""
    by_cell = {(cell.item, cell.repeat): cell for cell in cells}
    found = []
    for one in results:
        cell = by_cell[one.item, one.repeat]
        found.append(
            Result(
                run=run.id,
                item=one.item,
                repeat=one.repeat,
                system=one.system,
                scorer=one.scorer,
                value=one.value,
                status=one.status,  # type: ignore[arg-type]  # checked by the table
                tags=dict(cell.tags),
                cluster=cell.cluster,
                cost_usd=None if cell.cost_usd is None else Decimal(cell.cost_usd),
                latency_ms=cell.latency_ms,
                output_sha256=cell.output_sha256,
                reason=one.reason,
            )
        )
    found.sort(key=lambda result: (result.system, result.item, result.repeat, result.scorer))
    return found


def result_sha256(results: Iterable[Result]) -> str:
    """What a receipt binds: every value and its evidence, not the words about it (retention takes those)."""
    hashed = hashlib.sha256()
    for line in write_results(msgspec.structs.replace(result, reason=None) for result in results):
        hashed.update(line)
    return hashed.hexdigest()


def scorer_json(scorer: Scorer) -> dict[str, Any]:
    """What the gate must know of a scorer."""
    return {
        "id": scorer.spec.id,
        "type": scorer.spec.type,
        "version": str(scorer.version),
        "direction": scorer.spec.direction,
        "must_pass": scorer.spec.must_pass,
        "role": scorer.spec.role,
        "source": scorer.source,
        "judge": scorer.spec.judge,
        "equal_at": 0.0 if scorer.needs_baseline else None,
        "params_sha256": digest(scorer.spec.params),
    }


def outputs_of(
    log: Log, requests: Mapping[tuple[str, int], str], project: str | None = None
) -> dict[tuple[str, int], Output]:
    """The answers of stored cells, as far as the log still has them and the project may be seen (None: all).

    The caller bounds how many.
    """
    found: dict[tuple[str, int], Output] = {}
    calls = {
        request_id: call
        for request_id, call in lookup.calls_of_ids(log, list(dict.fromkeys(requests.values()))).items()
        if project is None or call.project == project
    }
    by_id: dict[str, Output] = {}
    for batch in lookup.batches(list(calls.values())):
        for request_id, bodies in lookup.bodies_of(log, batch).items():
            by_id[request_id] = output_from(calls[request_id], bodies)
    for place, request_id in requests.items():
        if request_id in by_id:
            found[place] = by_id[request_id]
    return found


def _outputs(log: Log, chunk: Sequence[Cell], baseline: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], Output]:
    places = {(cell.item, cell.repeat) for cell in chunk}
    return outputs_of(log, {place: request for place, request in baseline.items() if place in places})


def _baseline_requests(registry: Database, run: Run) -> dict[tuple[str, int], str] | None:
    if run.baseline_run is None:
        return None
    cells = runs.cells_of(registry, run.baseline_run)
    return {(cell.item, cell.repeat): cell.request_id for cell in cells if cell.request_id is not None}
