"""``headgate key``: create, list, revoke and rotate API keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.output import column, emit_json, is_terminal, listing
from headgate.cli.text import local_time, printable
from headgate.core.durations import BadTime, parse_duration

_REASON = click.option("--reason", metavar="TEXT", help="Kept in the history.")

COMMANDS = {
    "create": Entry(target="headgate.cli.keys:create", help="A new key, shown once."),
    "list": Entry(target="headgate.cli.keys:list_keys", help="All keys, without their secrets."),
    "revoke": Entry(target="headgate.cli.keys:revoke", help="Refuse a key from now on."),
    "rotate": Entry(target="headgate.cli.keys:rotate", help="A successor; the old key works a while longer."),
}


@click.group(cls=LazyGroup, entries=COMMANDS)
def key() -> None:
    """API keys of the gateway (hg_...). Roles: app calls /v1; developer also reads the log; approver also approves;
    admin also manages keys.
    """


@click.command("create")
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--role",
    type=click.Choice(["app", "developer", "approver", "admin"]),
    default="app",
    show_default=True,
    help="What it may do; each role includes those before it.",
)
@click.option("--project", metavar="NAME", help="The project its requests count to. Default: default.")
@click.option("--models", metavar="GLOB,...", help="Only these models; * and ? match. Default: all.")
@click.option("--expires", metavar="SPAN", help="Refused after this time: 12h, 90d. Default: never.")
@_REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def create(
    name: str,
    role: str,
    project: str | None,
    models: str | None,
    expires: str | None,
    reason: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Create a key. It is shown once and stored only as a digest. Works on every worker within two seconds.

    On a pipe the key alone goes to stdout.

    \b
    Examples:
      headgate key create --name my-app
      headgate key create --name ci --role developer --expires 90d
      export HEADGATE_API_KEY=$(headgate key create --name me --role admin)
    """
    fields: dict[str, Any] = {"name": name, "role": role, "reason": reason}
    if project:
        fields["project"] = project
    if models:
        fields["models"] = [glob.strip() for glob in models.split(",") if glob.strip()]
    if expires:
        fields["expires_s"] = _span_s(expires, "--expires")
    with connect(home) as client:
        answer = client.create_key(fields)
    _print_new(answer, as_json)


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def list_keys(as_json: bool, home: Path | None) -> None:
    """List all keys with their role, project, models and state."""
    with connect(home) as client:
        answer = client.keys()
    if as_json:
        emit_json(answer)
        return
    columns = (
        column("Id", "id"),
        column("Name", "name", least=12),
        column("Role", "role"),
        column("Project", "project", rank=2, least=10),
        column("Models", "models", _models, rank=1, least=12),
        column("Created", "created_at", local_time, rank=3),
        column("Expires", "expires_at", local_time, rank=2),
        column("Revoked", "revoked_at", local_time, rank=1),
    )
    listing(columns, answer.get("keys") or [], empty="No keys yet. Create one: headgate key create --name my-app")


@click.command("revoke")
@click.argument("wanted", metavar="ID|NAME")
@_REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def revoke(wanted: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Refuse a key from now on, on every worker within two seconds. It stays listed, and so do its requests.

    \b
    Example:
      headgate key revoke my-app
    """
    with connect(home) as client:
        answer = client.revoke_key(_named(wanted), reason=reason)
    if as_json:
        emit_json(answer)
    else:
        entry = answer.get("key") or {}
        click.echo(f"Revoked: {printable(entry.get('id'))} ({printable(entry.get('name'))}).")


@click.command("rotate")
@click.argument("wanted", metavar="ID|NAME")
@click.option(
    "--overlap", default="24h", show_default=True, metavar="SPAN", help="How long the old key is still accepted."
)
@_REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@home_option
def rotate(wanted: str, overlap: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Create a successor with the same name, role, project and models; the old key expires after --overlap.

    \b
    Examples:
      headgate key rotate my-app
      headgate key rotate my-app --overlap 0s
    """
    overlap_s = 0.0 if overlap.strip() in ("0", "0s") else _span_s(overlap, "--overlap")
    with connect(home) as client:
        answer = client.rotate_key(_named(wanted), overlap_s=overlap_s, reason=reason)
    _print_new(answer, as_json)


def _named(wanted: str) -> str:
    """The id or name as given; a key itself must not travel in an address."""
    if wanted.startswith("hg_"):
        raise click.UsageError("That is a key itself. Name it by its id or name: headgate key list")
    return wanted


def _span_s(text: str, option: str) -> float:
    try:
        return parse_duration(text)
    except BadTime as error:
        raise click.UsageError(f"{option}: {error.sentence}") from None


def _models(models: Any) -> str:
    return ", ".join(printable(glob) for glob in models) if models else "all"


def _print_new(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        emit_json(answer)
        return
    secret = printable(answer.get("plaintext"))
    if not is_terminal():
        click.echo(secret)
        return
    entry = answer.get("key") or {}
    click.echo(f"{secret}\n")
    expires = f", expires {local_time(entry['expires_at'])}" if entry.get("expires_at") else ""
    click.echo(
        f"{printable(entry.get('id'))} ({printable(entry.get('name'))}, {printable(entry.get('role'))}{expires})"
    )
    click.echo("This is the only time it is shown; Headgate keeps a digest.")
