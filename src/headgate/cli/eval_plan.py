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
@click.option(
    "--policy", metavar="NAME|FILE", help="starter, standard, strict or a file.  [default: the server's rule]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def plan(suite: str, prompt: str | None, kb: str | None, policy: str | None, as_json: bool, home: Path | None) -> None:
    """What a run would call and cost, and the smallest difference it could show. Nothing is called, nothing stored.

    Prices are from the shortest case and an empty answer to the longest case and the longest answer that the prompt
    allows, judges included. How differences vary is taken from earlier runs of the suite; the answer says from which,
    or what is assumed.

    \b
    Examples:
      headgate eval plan support-answer
      headgate eval plan support-answer --prompt support-answer@8 --policy strict --json
      headgate eval plan support-answer --kb handbook@4
    """
    from headgate.cli.eval_gate import policy_text

    found = find_suite(suite)
    rules = policy_text(policy)
    with connect(home) as client:
        answer = _planned(client, found, prompt, kb, rules)
    if as_json:
        emit_json(answer)
        return
    facts(
        [
            ("Suite", f"{printable(answer['suite'])} on {printable(answer['system'])}"),
            ("Cases", count(answer["cases"])),
            ("Answers", f"{many(answer['cells'], 'call')}, {count(answer['cached'])} of them cached"),
            *_judge_lines(answer["judges"]),
            ("Price", _range(answer["least_usd"], answer["most_usd"], answer["unpriced"])),
        ]
    )
    _say_detectable(answer["detectable"])


def _judge_lines(judges: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    if not judges:
        return [("Judges", "none")]
    return [
        (
            "Judges",
            f"{printable(one['scorer'])}: {many(one['calls'], 'call')} to {printable(one['judge'])}, "
            f"{_range(one['least_usd'], one['most_usd'], one['unpriced'])}",
        )
        for one in judges
    ]


def _range(least: str | None, most: str | None, unpriced: str | None) -> str:
    if most is not None:
        return f"{usd(least)} to {usd(most)}"
    from_least = f"at least {usd(least)}; " if least is not None else ""
    return f"{from_least}the most is unknown: {printable(unpriced)}"


def _say_detectable(answer: Mapping[str, Any]) -> None:
    """What the planned cases could show, rule by rule."""
    power, alpha = answer["power"], answer["alpha"]
    click.echo(f"Policy {printable(answer['policy'])}, with a power of {power:.0%} at alpha {alpha:g}:")
    if answer["min_items"] is not None and answer["cases"] < answer["min_items"]:
        click.echo(f"  it asks for {count(answer['min_items'])} cases; the suite has {count(answer['cases'])}")
    if not answer["rules"]:
        click.echo("  it compares no scorer of the suite with what is in force")
    for rule in answer["rules"]:
        smallest = "no difference at all" if rule["smallest"] is None else f"a difference of {rule['smallest']:.3g}"
        asked = ""
        if rule["power_at_margin"] is not None:
            needed = "no number of cases" if rule["needed_items"] is None else many(rule["needed_items"], "case")
            asked = f"; {rule['margin']:g} is asked: power {rule['power_at_margin']:.0%}, {needed} for {power:.0%}"
        click.echo(f"  {printable(rule['metric'])}: could show {smallest}{asked}")
        click.echo(f"    {printable(rule['assumed'])}")


def _planned(
    client: "Client", found: FoundSuite, prompt: str | None, kb: str | None, policy: str | None
) -> dict[str, Any]:
    from headgate.cli.plan_prices import priced
    from headgate.cli.prompt_text import version_of
    from headgate.evals.cells import cells_of
    from headgate.evals.dataset import read_dataset
    from headgate.evals.suite import cluster_of

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
    keys = list(dict.fromkeys(cell.key for cell in cells_of(suite, rows, str(version["sha256"]), kb_sha256)))
    cached = len(client.find_answers(keys))
    clusters = [cluster_of(suite, row) for row in rows.rows]
    named = {cluster for cluster in clusters if cluster is not None}
    return {
        "suite": suite.name,
        "system": ref,
        "cases": len(rows.rows),
        "cells": len(keys),
        "cached": cached,
        **priced(client, suite, rows, str(version["ref"]), answers=len(keys) - cached),
        "detectable": client.detectable(
            {
                "suite": suite.name,
                "prompt": suite.target.prompt,
                "cases": len(rows.rows),
                "clusters": len(named) + clusters.count(None) if named else None,
                "primary": [one.id for one in suite.scorers if one.role == "primary" and not one.must_pass],
                "must_pass": [one.id for one in suite.scorers if one.must_pass],
                "policy": policy,
            }
        ),
    }


def _with_kb(client: "Client", version: Mapping[str, Any], kb: str) -> tuple[str, str | None]:
    """How a run that reads another version is called, and the hash of that; the pinned one changes neither."""
    ref = str(version["ref"])
    side, _ = kb_side(client, ref, kb)
    if side.kb == version["content"]["knowledge"]["kb"]:
        return ref, None
    name, _, number = str(side.kb).partition("@")
    return f"{ref} with {side.kb}", str(client.kb(name, number)["shown"]["sha256"])
