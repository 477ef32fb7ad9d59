"""``headgate eval validate`` and ``plan``: what a suite asks for, before anything is spent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import FOLDER, FoundSuite, find_suite, local_dataset, suite_names
from headgate.cli.eval_kb import KB, kb_side
from headgate.cli.output import emit_json, facts, note
from headgate.cli.text import count, many, printable, usd

if TYPE_CHECKING:
    from headgate.client import Client


@click.command("validate")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: suites, faults.")
def validate(suites: Sequence[str], as_json: bool) -> int:
    """Check suites and their datasets: every fault by file and line, with the nearest key. Needs no server.

    Default: all suites in evals/. Exit code 2 when one is faulty.

    \b
    Examples:
      headgate eval validate
      headgate eval validate support-answer evals/other.yaml --json
    """
    from headgate.evals.faults import EvaluationFault

    wanted = list(suites) or suite_names(FOLDER)
    if not wanted:
        raise click.UsageError("There is no suite in evals/. Name one, or make one: headgate eval init NAME")
    sound: list[dict[str, Any]] = []
    faults: list[str] = []
    for named in wanted:
        try:
            found = find_suite(named)
            dataset = local_dataset(found)
        except EvaluationFault as fault:
            faults += str(fault).splitlines()
            continue
        cases = None if dataset is None else len(dataset.rows)
        facts_of = {"suite": found.suite.name, "file": str(found.path), "target": found.suite.target.prompt}
        sound.append({**facts_of, "cases": cases, "sha256": found.suite.sha256})
        for warning in found.suite.warnings:
            note(f"warning: {warning}")
    if as_json:
        emit_json({"suites": sound, "faults": faults})
    else:
        for one in sound:
            number = "its dataset is stored, not here" if one["cases"] is None else many(one["cases"], "case")
            click.echo(f"ok  {printable(one['suite'])}  {printable(one['file'])}  {number}")
        for fault_line in faults:
            click.echo(printable(fault_line), err=True)
    return 2 if faults else 0


@click.command("plan")
@click.argument("suite")
@click.option("--prompt", metavar="NAME@REF", help="The version to run.  [default: the suite's target]")
@KB
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def plan(suite: str, prompt: str | None, kb: str | None, as_json: bool, home: Path | None) -> None:
    """What a run would call and cost: cells, how many the log answers already, the price. Nothing is sent.

    \b
    Examples:
      headgate eval plan support-answer
      headgate eval plan support-answer --prompt support-answer@8 --json
      headgate eval plan support-answer --kb handbook@4
    """
    found = find_suite(suite)
    with connect(home) as client:
        answer = _planned(client, found, prompt, kb)
    if as_json:
        emit_json(answer)
        return
    price = answer["most_usd"]
    facts(
        [
            ("Suite", f"{printable(answer['suite'])} on {printable(answer['system'])}"),
            ("Cases", count(answer["cases"])),
            ("Answers", f"{many(answer['cells'], 'call')}, {count(answer['cached'])} of them cached"),
            ("Price", f"answers at most {usd(price)}" if price else "the most is unknown"),
            ("Judges", ", ".join(map(printable, answer["judged_by"])) or "none"),
        ]
    )


def _planned(client: "Client", found: FoundSuite, prompt: str | None, kb: str | None) -> dict[str, Any]:
    from decimal import Decimal

    from headgate.cli.prompt_text import version_of
    from headgate.evals.cells import cells_of
    from headgate.evals.dataset import read_dataset

    suite = found.suite
    version = version_of(client, prompt or suite.target.prompt)
    dataset = local_dataset(found)
    if dataset is None:
        name = suite.dataset.name
        lines = b"".join(client.dataset_rows(name, suite.dataset.version)).splitlines()
        dataset = read_dataset(lines, name, name=name)
    rows = dataset.split(suite.dataset.split)
    ref, kb_sha256 = str(version["ref"]), None
    if kb is not None:
        ref, kb_sha256 = _with_kb(client, version, kb)
    cells = cells_of(suite, rows, str(version["sha256"]), kb_sha256)
    keys = list(dict.fromkeys(cell.key for cell in cells))
    cached = len(client.find_answers(keys))
    rendered = client.render_prompt(str(version["ref"]), rows.rows[0].variables)
    most = (rendered.get("price") or {}).get("most_usd")
    return {
        "suite": suite.name,
        "system": ref,
        "cases": len(rows.rows),
        "cells": len(keys),
        "cached": cached,
        "most_usd": None if most is None else f"{Decimal(str(most)) * (len(keys) - cached):f}",
        "judged_by": [judge.prompt for judge in suite.judges.values()],
    }


def _with_kb(client: "Client", version: Mapping[str, Any], kb: str) -> tuple[str, str | None]:
    """How a run that reads another version is called, and the hash of that; the pinned one changes neither."""
    ref = str(version["ref"])
    side, _ = kb_side(client, ref, kb)
    if side.kb == version["content"]["knowledge"]["kb"]:
        return ref, None
    name, _, number = str(side.kb).partition("@")
    return f"{ref} with {side.kb}", str(client.kb(name, number)["shown"]["sha256"])
