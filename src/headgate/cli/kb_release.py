"""``headgate kb promote --repin``: gates what lacks evidence, then moves a knowledge base and its prompts together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.alias_moves import move_words
from headgate.cli.eval_files import FoundSuite, find_suite, is_suite
from headgate.cli.eval_gate import EXIT_FAIL, EXIT_INCONCLUSIVE, print_verdict, run_sides
from headgate.cli.eval_kb import kb_sides
from headgate.cli.eval_sides import Side, limits_of
from headgate.cli.output import emit_json, note
from headgate.cli.text import many, printable

if TYPE_CHECKING:
    from headgate.client import Client

_NOTHING_MOVED = "Nothing was moved."
Step = Mapping[str, Any]


def promote_together(
    client: "Client",
    name: str,
    version: int | str,
    alias: str,
    *,
    only_plan: bool,
    budget: str | None,
    override: bool,
    reason: str | None,
    as_json: bool,
) -> int:
    """Plans, gathers the evidence that is missing, and moves everything at once or nothing; the exit code."""
    plan = client.release_kb(name, version, "plan", alias=alias)
    if only_plan:
        _print_plan(plan, as_json)
        return 0
    gates = _Gates(client=client, name=name, version=version, alias=alias, budget=budget, as_json=as_json)
    if not override:
        client.release_kb(name, version, "prepare", alias=alias, reason=reason)
        if (code := gates.gather()) is not None:
            note(_NOTHING_MOVED)
            return code
    done = client.release_kb(name, version, "move", alias=alias, reason=reason, override=override)
    if as_json:
        emit_json({**done, "verdicts": gates.verdicts})
        return 0
    for move in done.get("moves") or []:
        click.echo(move_words(move))
    for step in done.get("steps") or []:
        if step.get("alias") is None:
            click.echo(f"{printable(step['name'])} has a next version, which its bare name means.")
    if not done.get("steps"):
        click.echo(f"{printable(done.get('kb'))} is {printable(alias)} already, and every prompt reads it.")
    return 0


@dataclass(kw_only=True)
class _Gates:
    """The gates of one release, run as far as receipts are missing."""

    client: "Client"
    name: str
    version: int | str
    alias: str
    budget: str | None
    as_json: bool
    verdicts: list[Mapping[str, Any]] = field(default_factory=list)
    _runs: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # by suite

    def gather(self) -> int | None:
        """Runs what is missing, prompts first: where a pin is all that changed, that is evidence about the knowledge
        base too. None when every gate was passed, else the exit code."""
        for step in self._steps():
            for suite in step["suites"] if step["kind"] == "prompt" else ():
                code = self._judged(suite, step, self._prompt_sides(step))
                if code is not None:
                    return code
        for step in self._steps():
            for suite in step["suites"] if step["kind"] == "kb" else ():
                code = self._judged_kb(suite, step)
                if code is not None:
                    return code
        return None

    def _steps(self) -> Iterator[Step]:
        yield from self.client.release_kb(self.name, self.version, "plan", alias=self.alias)["steps"]

    def _prompt_sides(self, step: Step) -> tuple[Side, Side]:
        return Side(prompt=str(step["ref"])), Side(prompt=f"{step['name']}@{step['before']}")

    def _judged_kb(self, suite: str, step: Step) -> int | None:
        """By the runs that the prompts were judged by, where they are about the same two versions; else by its own."""
        if suite in self._runs:
            answer = self._verdict(*self._runs[suite], about="kb")
            if answer is not None and not any(suite in again["suites"] for again in self._steps()):
                return None
        prompt = self._suite(suite).suite.target.prompt
        return self._judged(suite, step, kb_sides(self.client, prompt, str(step["ref"]), self.alias))

    def _judged(self, suite: str, step: Step, sides: tuple[Side, Side | None]) -> int | None:
        found = self._suite(suite)
        if not self.as_json:
            against = "" if sides[1] is None else f" against {sides[1].kb or sides[1].prompt}"
            note(f"Judging {step['ref']}{against} on {suite}.")
        ran = run_sides(self.client, found, sides, limits_of(found.suite, self.budget, None), self.as_json)
        if isinstance(ran, int):
            return ran
        self._runs[suite] = ran
        answer = self._verdict(*ran, about=str(step["kind"]))
        if answer is None:
            return EXIT_FAIL
        verdict = str((answer.get("verdict") or {}).get("verdict"))
        return {"pass": None, "fail": EXIT_FAIL}.get(verdict, EXIT_INCONCLUSIVE)

    def _verdict(self, candidate: str, baseline: str | None, *, about: str) -> Mapping[str, Any] | None:
        """The verdict of two runs; None when they are not about that."""
        from headgate.client import GatewayRefused

        try:
            answer = self.client.gate(candidate, baseline, alias=self.alias, about=about)
        except GatewayRefused as error:
            if error.code == "not_about_it":
                return None
            raise
        self.verdicts.append(answer)
        if not self.as_json:
            print_verdict(answer, is_last=False)
        return answer

    def _suite(self, named: str) -> FoundSuite:
        """The suite of this directory, else the one that is stored under that name."""
        if is_suite(named):
            return find_suite(named)
        from headgate.evals.suite import load_suite

        stored = self.client.suite(named)
        file = str(stored.get("file") or f"{named}.yaml")
        return FoundSuite(suite=load_suite(str(stored["text"]), file, folder=None), path=Path(file))


def _print_plan(plan: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(plan)
        return
    steps = plan.get("steps") or []
    for step in steps:
        was = "" if step.get("before") is None else f" (now {step['before']})"
        if step.get("alias") is None:
            click.echo(f"{printable(step['name'])}: a next version{was}; callers of its bare name get it")
            continue
        what = printable(step.get("ref") or f"a next version of {step['name']}")
        click.echo(f"{what} becomes {printable(step['alias'])}{was}: {_needs(step)}")
        for missing in step.get("missing") or []:
            click.echo(f"  {printable(missing['reason'])}")
    if not steps:
        click.echo(f"{printable(plan.get('kb'))} is {printable(plan.get('alias'))} already, and every prompt reads it.")


def _needs(step: Step) -> str:
    if step.get("policy") is None:
        return "nothing protects it"
    policy = f"policy {printable(step['policy'])}"
    if step.get("ref") is None:
        return f"{policy} asks for evidence about it, once it is made"
    if step.get("missing"):
        suites = ", ".join(map(printable, step.get("suites") or []))
        return f"{policy} is not satisfied yet" + (f"; would be run: {suites}" if suites else "")
    return f"{policy} is satisfied by {many(len(step.get('receipts') or []), 'receipt')}"
