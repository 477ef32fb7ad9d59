"""One run of a suite: finds what the log has, calls for the rest through the gateway, and says that it is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec

from headgate.client import Client, GatewayRefused
from headgate.core.errors import ConfigurationError, HeadgateError
from headgate.evals.cells import Cell, ask_key, cells_of
from headgate.evals.dataset import Dataset
from headgate.evals.output import Output, output_of
from headgate.evals.own_scorer import OwnScorer
from headgate.evals.runner.calls import Answered, Call, Gateway, embedding_call, prompt_call
from headgate.evals.runner.purse import Purse
from headgate.evals.runner.work import Failure, Progress, StopReason, Work, failures_in_words
from headgate.evals.scorer import Ask, Scorer
from headgate.evals.scorers.own import Own
from headgate.evals.suite import Suite, scorers_of
from headgate.pricing.reasons import group_of

_TAIL_LIMIT = "1000"
_LAST_COSTS_S = 5.0
_STORED_S = 10.0
_LOOK_S = 0.25
_CHAT_ENDPOINTS = ("openai.chat", "anthropic.messages")
_STOPPED: Mapping[StopReason, str] = {
    "budget": "budget",
    "judge_budget": "budget",
    "wall": "wall",
    "interrupted": "interrupted",
    "upstream": "upstream",
    "denied": "upstream",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run may take."""

    usd: Decimal | None = None  # judges included
    judge_usd: Decimal | None = None
    wall_s: float | None = None
    concurrency: int = 8


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a run: the gateway's answer to its end, and what this client did for it."""

    run: str
    system: str
    status: str  # complete | partial
    answer: Mapping[str, Any]  # of finish_run: results, missing, totals
    cached: int
    called: int
    spent_usd: Decimal
    unpriced: int
    stopped: StopReason | None
    why: str
    faults: tuple[str, ...] = ()


@dataclass(kw_only=True)
class SideRun:
    """A run that the gateway has started (``started``: its answer), to be carried out."""

    client: Client
    suite: Suite
    dataset: Dataset  # the wanted split
    started: Mapping[str, Any]
    baseline: Mapping[tuple[str, int], Output] = field(default_factory=dict)
    limits: Limits = Limits()
    on_progress: Callable[[Progress], None] = lambda _: None
    on_work: Callable[[Work], None] = lambda _: None
    _cached: int = 0
    _called: int = 0
    _request_ids: list[str] = field(default_factory=list)
    _failures: dict[str, Failure] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.started["run"])

    async def carry_out(self) -> Ran:
        """Makes the calls that the log lacks, in two phases (answers, then what scorers ask), and ends the run."""
        scorers = scorers_of(self.suite)
        cells = cells_of(self.suite, self.dataset, self.started["prompt_sha256"], self.started.get("kb_sha256"))
        gateway = Gateway(
            self.client.url, api_key=self.client.api_key, run=self.run, connections=self.limits.concurrency
        )
        work = Work(
            gateway,
            concurrency=self.limits.concurrency,
            wall_s=self.limits.wall_s,
            on_progress=self.on_progress,
            seed=self.suite.run.seed,
        )
        self.on_work(work)
        answers = Purse(self.limits.usd, slots=self.limits.concurrency)
        judges = Purse(None, slots=self.limits.concurrency)
        try:
            async with self._costs(work, answers, judges):
                outputs = await self._answers(work, cells, answers)
                if any(scorer.reads_chunks and scorer.needs_judge for scorer in scorers):
                    outputs = await self._with_chunks(outputs)
                judges.limit_usd = _least(
                    self.limits.judge_usd, None if self.limits.usd is None else self.limits.usd - answers.spent_usd
                )
                await self._asks(work, scorers, cells, outputs, judges)
        finally:
            await gateway.close()
        own = await asyncio.to_thread(self._own_scores, scorers, cells, outputs)
        stopped = None if work.stopped is None else _STOPPED[work.stopped]
        answer = await asyncio.to_thread(
            self.client.finish_run, self.run, self._request_ids, own_scores=own, stopped=stopped
        )
        return Ran(
            run=self.run,
            system=str(self.started["system"]),
            status=str(answer.get("status")),
            answer=answer,
            cached=self._cached,
            called=self._called,
            spent_usd=answers.spent_usd + judges.spent_usd,
            unpriced=answers.unpriced + judges.unpriced,
            stopped=work.stopped,
            why=work.why,
            faults=tuple(failures_in_words(self._failures)),
        )

    # -- answers of the prompt -----------------------------------------------------------------------------------

    async def _answers(self, work: Work, cells: Sequence[Cell], purse: Purse) -> dict[str, Output]:
        """Cell key to output, of all that are answered."""
        outputs = await self._found([cell.key for cell in cells])
        missing = list({cell.key: cell for cell in cells if cell.key not in outputs}.values())
        if not missing:
            await work.perform("answers", [], purse, cached=len(outputs))
        elif work.stopped is None:
            name, number = str(self.started["prompt"]), int(self.started["prompt_version"])
            endpoint = await self._prepared(f"{name}@{number}", missing[0].row.variables, purse)
            calls = [
                prompt_call(
                    cell.key,
                    "eval",
                    name=name,
                    number=number,
                    endpoint=endpoint,
                    variables=cell.row.variables,
                    messages=cell.row.messages,
                    kb=self.started.get("kb"),
                )
                for cell in missing
            ]
            await self._made(work, "answers", calls, purse, outputs)
        return outputs

    async def _with_chunks(self, outputs: dict[str, Output]) -> dict[str, Output]:
        """The same outputs as the log has them, with what they read: a judge is asked about that."""
        found: dict[str, Output] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STORED_S):
                while missing := [key for key in outputs if key not in found]:
                    found |= await asyncio.to_thread(outputs_in_log, self.client, missing, with_chunks=True)
                    if len(found) < len(outputs):
                        await asyncio.sleep(_LOOK_S)
        return {**outputs, **found}

    # -- what scorers ask ----------------------------------------------------------------------------------------

    async def _asks(
        self,
        work: Work,
        scorers: Sequence[Scorer],
        cells: Sequence[Cell],
        outputs: Mapping[str, Output],
        purse: Purse,
    ) -> None:
        asking = [
            (cell, scorer, output, self.baseline.get((cell.item, cell.repeat)))
            for cell in cells
            if (output := outputs.get(cell.key)) is not None
            for scorer in scorers
            if not scorer.needs_baseline or (cell.item, cell.repeat) in self.baseline
        ]
        first = [scorer.asks(cell.row, output, baseline) for cell, scorer, output, baseline in asking]
        known = await self._asked(
            work, [(asked[0].key, ask) for asked, asks in zip(asking, first, strict=True) for ask in asks], purse
        )
        then = [
            scorer.follow_ups(cell.row, output, [known.get(self._key(ask)) for ask in asks])
            for (cell, scorer, output, _), asks in zip(asking, first, strict=True)
        ]
        await self._asked(
            work, [(asked[0].key, ask) for asked, asks in zip(asking, then, strict=True) for ask in asks], purse
        )

    async def _asked(self, work: Work, asks: Iterable[tuple[str, Ask]], purse: Purse) -> dict[str, Output]:
        """By key, the answers to what is asked about a cell: those of the log, and what was called for now."""
        wanted: dict[str, Ask] = {}
        about: dict[str, str] = {}
        for cell_key, ask in asks:
            key = self._key(ask)
            wanted.setdefault(key, ask)
            about.setdefault(key, cell_key)
        known = await self._found(list(wanted))
        missing = {key: ask for key, ask in wanted.items() if key not in known}
        if known and not missing:
            await work.perform("judges", [], purse, cached=len(known))
        elif missing and work.stopped is None:
            calls = [replace(call, about=about[call.key]) async for call in self._ask_calls(missing, purse)]
            await self._made(work, "judges", calls, purse, known)
        return known

    def _key(self, ask: Ask) -> str:
        return ask_key(ask, self._judge(ask).get("sha256"))

    def _judge(self, ask: Ask) -> Mapping[str, Any]:
        if ask.kind == "embedding":
            return {}
        judges: Mapping[str, Mapping[str, Any]] = self.started.get("judges") or {}
        return judges[str(ask.judge)]

    async def _ask_calls(self, missing: Mapping[str, Ask], purse: Purse) -> AsyncIterator[Call]:
        endpoints: dict[str, str] = {}
        for key, ask in missing.items():
            if ask.kind == "embedding":
                yield embedding_call(key, model=str(ask.model), texts=list(ask.input))
                continue
            ref = str(self._judge(ask)["ref"])
            if ref not in endpoints:
                endpoints[ref] = await self._prepared(ref, ask.variables, purse)
            name, _, number = ref.partition("@")
            yield prompt_call(
                key, "judge", name=name, number=int(number), endpoint=endpoints[ref], variables=ask.variables
            )

    def _own_scores(
        self, scorers: Iterable[Scorer], cells: Sequence[Cell], outputs: Mapping[str, Output]
    ) -> list[dict[str, Any]]:
        """Blocking: what scorers that run here say of each answer."""
        found: list[dict[str, Any]] = []
        for scorer in scorers:
            if not isinstance(scorer, Own):
                continue
            with OwnScorer(scorer) as own:
                for cell in cells:
                    if (output := outputs.get(cell.key)) is not None:
                        score = own.score(cell.row, output)
                        said = {"value": score.value, "status": score.status, "reason": score.reason}
                        found.append({"item": cell.item, "repeat": cell.repeat, "scorer": scorer.spec.id, **said})
        return found

    # -- what both share -----------------------------------------------------------------------------------------

    async def _found(self, keys: Sequence[str]) -> dict[str, Output]:
        found = await asyncio.to_thread(outputs_in_log, self.client, keys)
        self._cached += len(found)
        return found

    async def _made(
        self, work: Work, phase: str, calls: Sequence[Call], purse: Purse, outputs: dict[str, Output]
    ) -> None:
        """Makes the calls and adds their outputs."""

        def fault(call: Call, answered: Answered) -> str | None:
            output = output_of(call.endpoint, answered.body, answered.content_type)
            if output.text or output.tool_calls or output.vectors or output.refusal or output.finish_reason:
                outputs[call.key] = msgspec.structs.replace(
                    output, latency_ms=answered.latency_ms, request_id=answered.request_id
                )
                return None
            return "an answer that cannot be read"

        done = await work.perform(phase, calls, purse, cached=len(outputs), is_readable=fault)
        self._called += done.attempts
        self._request_ids += done.request_ids
        self._failures |= done.failures

    async def _prepared(self, ref: str, variables: Mapping[str, Any], purse: Purse) -> str:
        """The endpoint at which a prompt can be called; tells the purse what one call may cost."""
        for endpoint in _CHAT_ENDPOINTS:
            try:
                rendered = await asyncio.to_thread(self.client.render_prompt, ref, variables, endpoint=endpoint)
            except GatewayRefused as error:
                if error.code == "no_target" and endpoint != _CHAT_ENDPOINTS[-1]:
                    continue
                raise
            price = rendered.get("price") or {}
            if price.get("input_usd") is None and purse.limit_usd is not None:
                raise ConfigurationError(
                    f"What {rendered.get('model')} costs is unknown ({price.get('reason')}), so a budget of "
                    f"${purse.limit_usd:f} cannot be held.",
                    hint="Give it a price: [[prices]] in headgate.toml. Or take the limit away: --budget none.",
                )
            if price.get("most_usd") is not None:
                purse.expect(Decimal(str(price["most_usd"])))
            return endpoint
        raise AssertionError("the last endpoint either answers or raises")

    @contextlib.asynccontextmanager
    async def _costs(self, work: Work, answers: Purse, judges: Purse) -> AsyncIterator[None]:
        """Tells the purses what the log says their calls cost, as long as it is entered and a little longer."""
        start = await asyncio.to_thread(self.client.tail)
        tail = asyncio.create_task(self._follow(start["next"], work, answers, judges))
        try:
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_COSTS_S):
                    while (answers.waits or judges.waits) and not tail.done():
                        await asyncio.sleep(0.05)
        finally:
            tail.cancel()
            await asyncio.gather(tail, return_exceptions=True)
            answers.forget()
            judges.forget()

    async def _follow(self, after: int, work: Work, answers: Purse, judges: Purse) -> None:
        filters = {"tag.run": self.run, "purpose": "all", "limit": _TAIL_LIMIT}
        while True:
            try:
                page = await asyncio.to_thread(self.client.tail, after, filters)
            except HeadgateError:  # what cannot be asked now is asked again; reservations hold until then
                await asyncio.sleep(4 * _LOOK_S)
                continue
            after = page["next"]
            for row in page["requests"]:
                purse = answers if row.get("purpose") == "eval" else judges
                purse.priced(str(row["request_id"]), cost_of(row))
            if page["requests"]:
                work.tell_again()
            await asyncio.sleep(_LOOK_S)


def cost_of(row: Mapping[str, Any]) -> Decimal | None:
    """What a request cost: 0 where nobody charged, None where money may be missing."""
    if row.get("cost_usd") is not None:
        return Decimal(str(row["cost_usd"]))
    return None if group_of(row.get("cost_reason")) == "unpriced" else Decimal(0)


def outputs_in_log(client: Client, keys: Sequence[str], *, with_chunks: bool = False) -> dict[str, Output]:
    """Blocking: the outputs of those cells and asks that the log has an answer to."""
    found = client.find_answers(list(dict.fromkeys(keys)), with_chunks=with_chunks)
    return {key: msgspec.convert(answer["output"], Output, strict=False) for key, answer in found.items()}


def baseline_outputs(
    client: Client, suite: Suite, dataset: Dataset, baseline: Mapping[str, Any]
) -> dict[tuple[str, int], Output]:
    """Blocking: what the system of another run answered to the same cases, by item and repeat."""
    cells = cells_of(suite, dataset, baseline["prompt_sha256"], baseline.get("kb_sha256"))
    found = outputs_in_log(client, [cell.key for cell in cells])
    return {(cell.item, cell.repeat): found[cell.key] for cell in cells if cell.key in found}


def _least(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    given = [limit for limit in (one, other) if limit is not None]
    return min(given) if given else None
