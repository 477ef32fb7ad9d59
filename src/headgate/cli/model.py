"""``headgate model``: the group, and its commands ``list`` and ``show``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import Column, column, emit_json, facts, heading, listing
from headgate.cli.text import MISSING, count, local_time, many, printable, size

COMMANDS = {
    "register": Entry(target="headgate.cli.model_register:register", help="An ONNX file becomes a version."),
    "list": Entry(target="headgate.cli.model:list_models", help="All models, and what their aliases mean."),
    "show": Entry(target="headgate.cli.model:show", help="One model, or one version: signature, lineage, evidence."),
    "test": Entry(target="headgate.cli.model_test:test", help="Sample again, or the gate on a labelled dataset."),
    "alias": Entry(target="headgate.cli.model_moves:alias", help="Point an alias to a version, or remove it."),
    "promote": Entry(target="headgate.cli.model_moves:promote", help="Make a version champion."),
    "rollback": Entry(target="headgate.cli.model_moves:rollback", help="Back to the version before."),
    "approve": Entry(target="headgate.cli.model_moves:approve", help="Agree to a version, as someone else."),
    "archive": Entry(target="headgate.cli.model_moves:archive", help="Take a version out of service, or back."),
    "performance": Entry(
        target="headgate.cli.model_performance:performance", help="Realised metrics by version, from labels."
    ),
}


@click.group(cls=LazyGroup, entries=COMMANDS)
def model() -> None:
    """Classic models behind the gateway: ONNX files become immutable numbered versions, each run in a process of its
    own and called over the Open Inference Protocol (/v2) or MLflow's scoring (/models/NAME/invocations).

    A version is written name@7, name@champion or name@latest. A bare name means champion, or the newest version while
    there is no champion and nothing protects it.
    """


@click.command("list")
@click.option("--as-of", metavar="TIME", help="As it was at this time: 24h (ago), or 2026-11-23T08:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def list_models(as_of: str | None, as_json: bool, home: Path | None) -> None:
    """List all models with their aliases.

    \b
    Example:
      headgate model list
    """
    with connect(home) as client:
        answer = client.models(as_of)
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Name", "name", least=16),
        Column(title="Champion", pick=lambda row: (row.get("aliases") or {}).get("champion"), right=True),
        column("Latest", "latest", right=True),
        Column(title="Aliases", pick=lambda row: row.get("aliases"), show=_other_aliases, rank=1, least=12),
        column("Task", "task", rank=2, least=12),
        column("Versions", "version_count", count, right=True, rank=3),
        column("Updated", "updated_at", local_time, rank=2),
        column("Protected", "protected", only="pipe"),
    )
    empty = "No models yet. Add one: headgate model register NAME FILE.onnx"
    listing(columns, answer.get("models") or [], empty=empty)


def _other_aliases(row: Mapping[str, Any]) -> str:
    others = {name: number for name, number in (row.get("aliases") or {}).items() if name != "champion"}
    return aliases_text(others)


def aliases_text(aliases: Mapping[str, Any]) -> str:
    """``challenger=8, staging=7``."""
    return ", ".join(f"{printable(name)}={printable(number)}" for name, number in aliases.items()) or MISSING


def split_reference(ref: str) -> tuple[str, int | str | None]:
    """``name@7`` as its name and what follows: a number, an alias, or None for the bare name."""
    name, at, which = ref.partition("@")
    if not name or (at and not which):
        raise click.UsageError(f"{ref!r} names no model. Write name@champion, name@7 or name.")
    if not at:
        return name, None
    return name, int(which) if which.isascii() and which.isdigit() else which


@click.command("show")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the model, or the version.")
@home_option
def show(ref: str, as_json: bool, home: Path | None) -> None:
    """Show a model. REF is name, name@7 or name@alias; the bare name shows all versions.

    \b
    Examples:
      headgate model show churn
      headgate model show churn@7
      headgate model show churn@champion --json
    """
    name, which = split_reference(ref)
    with connect(home) as client:
        found = client.model(name) if which is None else client.model_version(name, which)
    if as_json:
        emit_json(found)
    elif which is None:
        _print_model(found)
    else:
        _print_version(found)


def _print_model(found: Mapping[str, Any]) -> None:
    current = found.get("current")
    means = f"@{current['number']} ({printable(current['alias'])})" if current else "nothing: it has no champion"
    facts(
        [
            ("Model", printable(found.get("name"))),
            *([("Description", printable(found["description"]))] if found.get("description") else []),
            ("Aliases", aliases_text(found.get("aliases") or {})),
            ("Bare name", means),
            ("Champion", "protected by the server's [[protect]]" if found.get("protected") else "not protected"),
        ]
    )
    heading("Versions")
    columns = (
        column("Version", "number", right=True),
        Column(title="Aliases", pick=lambda row: ", ".join(row.get("aliases") or []) or None, rank=1, least=10),
        Column(title="Runner", pick=lambda row: (row.get("runner") or {}).get("state"), rank=1),
        column("Registered", "created_at", local_time),
        Column(title="Metrics", pick=lambda row: row.get("metrics"), show=_metrics_of, rank=2, least=16),
        column("Author", "author", rank=2, least=12),
        column("Message", "message", rank=1, least=16),
        column("Sha256", "sha256", only="pipe"),
    )
    listing(columns, found.get("versions") or [], empty="No version yet.")
    click.echo()


def _metrics_of(row: Mapping[str, Any]) -> str:
    return metrics_text(row.get("metrics") or {})


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """``auc=0.91, brier=0.08``."""
    shown = (f"{printable(name)}={value:.4g}" if isinstance(value, float) else f"{printable(name)}={printable(value)}"
             for name, value in metrics.items())  # fmt: skip
    return ", ".join(shown) or MISSING


def _print_version(found: Mapping[str, Any]) -> None:
    signature = found.get("signature") or {}
    runner = found.get("runner") or {}
    pairs: list[tuple[str, Any]] = [
        ("Version", found.get("ref")),
        ("Aliases", ", ".join(found.get("aliases") or []) or None),
        ("Archived", "yes" if found.get("archived") else None),
        ("Hash", found.get("sha256")),
        ("Size", size(found.get("bytes"))),
        ("Task", found.get("task")),
        ("Inputs", "; ".join(_spec(spec) for spec in signature.get("inputs") or [])),
        ("Outputs", "; ".join(_spec(spec) for spec in signature.get("outputs") or [])),
        ("Features", ", ".join(signature.get("features") or []) or None),
        ("Classes", ", ".join(signature.get("classes") or []) or None),
        ("Registered", f"{local_time(found.get('created_at'))} by {printable(found.get('registered_by'))}"),
        ("Author", found.get("author")),
        ("Commit", found.get("git_commit")),
        ("Message", found.get("message")),
        ("Metrics", metrics_text(found.get("metrics") or {}) + " (as recorded by the author)"
         if found.get("metrics") else None),
        ("Runner", " ".join(str(part) for part in (runner.get("state"), runner.get("reason")) if part) or None),
    ]  # fmt: skip
    facts([(name, printable(value)) for name, value in pairs if value is not None])
    _print_lists(found)


def _spec(spec: Mapping[str, Any]) -> str:
    return f"{spec.get('name')} {spec.get('datatype')} {spec.get('shape')}"


def _print_lists(found: Mapping[str, Any]) -> None:
    if lineage := found.get("lineage"):
        heading("Lineage")
        for entry in lineage:
            click.echo("  " + " ".join(printable(value) for value in entry.values() if value is not None))
    heading("Evidence")
    for one in found.get("evidence") or []:
        click.echo(f"  {local_time(one.get('at'))}  {evidence_text(one)}")
    for one in found.get("approvals") or []:
        click.echo(
            f"  {local_time(one.get('at'))}  approved for {printable(one.get('alias'))} by {printable(one.get('who'))}"
            f"{': ' + printable(one['reason']) if one.get('reason') else ''}"
        )


def _gate_text(report: Mapping[str, Any]) -> str:
    against = "nothing in force" if report.get("against") is None else f"version {report['against']}"
    receipt = f", receipt {printable(report['receipt'])}" if report.get("receipt") else ""
    return (
        f"gate {printable(report.get('verdict'))} on {printable(report.get('dataset'))} against {against}{receipt} "
        f"(headgate model test)"
    )


def evidence_text(one: Mapping[str, Any]) -> str:
    """One piece of evidence in a line."""
    report = one.get("report") or {}
    if one.get("kind") == "gate":
        return _gate_text(report)
    parity = report if one.get("kind") == "parity" else report.get("parity")
    words = "passed" if one.get("passed") else "FAILED"
    if not parity:
        return (
            f"{printable(one.get('kind'))} {words}: {many(report.get('rows'), 'row')} ({report.get('sample')} sample)"
        )
    worst = parity.get("max_difference")
    far = "not comparable" if worst is None else f"{worst:.3g}"
    return (
        f"{printable(one.get('kind'))} {words}: {parity.get('rows_equal')} of {many(parity.get('rows'), 'row')} equal, "
        f"largest difference {far}, tolerance {parity.get('tolerance')}"
    )
