"""What the commands that run suites share: starting or resuming one, carrying it out, and what its ending means."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headgate.cli.eval_files import FoundSuite, push, stored_dataset
from headgate.cli.eval_progress import Watch
from headgate.cli.output import note
from headgate.cli.text import count, many, printable, usd
from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.dataset import Dataset
    from headgate.evals.output import Output
    from headgate.evals.runner.side import Limits, Ran, SideRun
    from headgate.evals.runner.work import Work
    from headgate.evals.suite import Suite

_Command = TypeVar("_Command", bound=Callable[..., Any])
EXIT_BUDGET = 4
EXIT_UPSTREAM = 5
EXIT_INTERRUPTED = 130
_EXITS = {"budget": EXIT_BUDGET, "judge_budget": EXIT_BUDGET, "wall": EXIT_BUDGET, "interrupted": EXIT_INTERRUPTED}


def limit_options(command: _Command) -> _Command:
    """The options that bound a run."""
    command = click.option("--concurrency", type=click.IntRange(1, 256), help="Calls at once; less when limited.")(
        command
    )
    return click.option(
        "--budget", metavar="USD|none", help="What a run may cost, judges included, instead of the suite's budget."
    )(command)


def limits_of(suite: "Suite", budget: str | None, concurrency: int | None) -> "Limits":
    """The suite's limits, with what the command line says instead."""
    from headgate.evals.runner.side import Limits

    usd_limit = suite.budget.usd
    if budget is not None:
        try:
            usd_limit = None if budget == "none" else Decimal(budget.removeprefix("$"))
        except InvalidOperation:
            raise click.UsageError(f'--budget {budget!r} is no amount. Write dollars (2.50), or "none".') from None
        if usd_limit is not None and not (usd_limit.is_finite() and usd_limit >= 0):
            raise click.UsageError(f"--budget {budget} is no amount. Write dollars: 2.50")
    return Limits(
        usd=usd_limit,
        judge_usd=suite.budget.judge_usd if budget != "none" else None,
        wall_s=suite.budget.wall_s,
        concurrency=concurrency or suite.run.concurrency,
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side of a comparison calls: a prompt version, and what it reads instead of its pin."""

    prompt: str
    kb: str | None = None


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run that the gateway knows, with the suite and the rows it is made of."""

    suite: "Suite"
    dataset: "Dataset"
    facts: Mapping[str, Any]
    baseline: "Mapping[tuple[str, int], Output]"

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.facts["run"])

    @property
    def system(self) -> str:
        """The version that is judged: ``name@8``."""
        return str(self.facts["system"])


def start(
    client: "Client",
    found: FoundSuite,
    prompt: str | None,
    *,
    baseline_run: str | None = None,
    kb: str | None = None,
    suite_sha256: str | None = None,
) -> Started:
    """Stores suite and dataset and starts a run; an unfinished one of the same contents is gone on with."""
    sha256 = suite_sha256 or push(client, found)
    facts = client.start_run(sha256, prompt or found.suite.target.prompt, kb=kb, baseline_run=baseline_run)
    return known(client, found.suite, facts, baseline_run)


def known(client: "Client", suite: "Suite", facts: Mapping[str, Any], baseline_run: str | None) -> Started:
    """A run with its rows, and with what its baseline answered to them."""
    from headgate.evals.runner.side import baseline_outputs

    dataset = stored_dataset(client, facts["dataset"], suite.dataset.split)
    outputs = {} if baseline_run is None else baseline_outputs(client, suite, dataset, client.eval_run(baseline_run))
    return Started(suite=suite, dataset=dataset, facts=facts, baseline=outputs)


def carry_out(client: "Client", started: Started, limits: "Limits", *, as_json: bool) -> "Ran":
    """Makes the run's calls with whoever watches; Ctrl-C and SIGTERM end it in order, and it can be gone on with."""
    import asyncio  # not at the top: --help must not wait for it

    from headgate.evals.runner.side import SideRun

    with Watch(started.system, as_json=as_json) as watch:
        side = SideRun(
            client=client,
            suite=started.suite,
            dataset=started.dataset,
            started=started.facts,
            baseline=started.baseline,
            limits=limits,
            on_progress=watch,
            on_work=_stop_on_signals,
        )
        return asyncio.run(_interruptible(side))


async def _interruptible(side: "SideRun") -> "Ran":
    import asyncio

    try:
        return await side.carry_out()
    finally:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _stop_on_signals(work: "Work") -> None:
    """The first signal stops in order; after it the usual handling is back, so that a second one ends at once."""
    import asyncio

    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        work.stop("interrupted", "interrupted")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def exit_code(ran: "Ran") -> int:
    """What the ending of a run means for a script."""
    if ran.stopped is not None:
        return _EXITS.get(ran.stopped, EXIT_UPSTREAM)
    return 0 if ran.status == "complete" else EXIT_UPSTREAM


def say_ending(ran: "Ran") -> None:
    """How a run ended, on stderr: what was called and spent, what is missing, how to go on."""
    unpriced = f", {many(ran.unpriced, 'call')} unpriced" if ran.unpriced else ""
    note(f"{ran.system}: {many(ran.called, 'call')}, {count(ran.cached)} cached, {usd(ran.spent_usd)}{unpriced}.")
    for fault in ran.faults:
        note(f"  failed: {fault}")
    missing = ran.answer.get("missing") or []
    if missing:
        said = ", ".join(printable(one.get("item") if isinstance(one, dict) else one) for one in missing[:5])
        note(f"  missing: {many(len(missing), 'case')} ({said}{' …' if len(missing) > 5 else ''})")
    if ran.stopped is not None:
        note(f"  stopped: {ran.why}.")
    if ran.stopped is not None or ran.status != "complete":
        note(f"Go on with it: headgate eval resume {ran.run}")


def suite_of_run(client: "Client", facts: Mapping[str, Any]) -> FoundSuite:
    """The suite that a stored run was made with, as it was then."""
    from pathlib import Path

    from headgate.evals.suite import load_suite

    sha256 = facts.get("suite_sha256")
    if not sha256:
        raise HeadgateError(
            f"Run {facts.get('run')} was imported: there is nothing to call again.", code="imported_run"
        )
    stored = client.suite(str(sha256))
    name = str(stored.get("file") or f"{stored.get('suite')}.yaml")
    return FoundSuite(suite=load_suite(str(stored["text"]), name, folder=None), path=Path(name))
