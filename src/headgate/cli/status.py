"""``headgate status``: how the gateway is doing, on one screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from headgate.cli.connect import OFFLINE_URL, connect, home_option
from headgate.cli.log import total_line
from headgate.cli.output import emit_json, facts
from headgate.cli.text import MISSING, count, local_time, many, percent, printable, seconds, size

_COLOURS = {"ok": "green", "behind": "yellow", "down": "red"}
_ALWAYS_SAID = ("started", "recorded", "dropped", "in_flight")
Answer = Mapping[str, Any]


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@home_option
def status(as_json: bool, home: Path | None) -> int:
    """Health of the store, workers, spool, disk growth, upstreams, and how much of the cost is known.

    Exit code 1 when the store is down or behind, so that scripts can watch it.

    \b
    Examples:
      headgate status
      headgate status --json | jq .disk
      headgate status --home /var/lib/headgate
    """
    with connect(home) as client:
        answer = client.status()
        where = client.url
    state = str((answer.get("health") or {}).get("status"))
    if as_json:
        emit_json(answer)
    else:
        facts([*_server(answer, where), *_stored(answer), *_disk(answer), *_configured(answer), *_troubles(answer)])
    return 0 if state == "ok" else 1


def _server(answer: Answer, where: str) -> list[tuple[str, str]]:
    health = answer.get("health") or {}
    state = printable(health.get("status"))
    problem = f": {printable(health['problem'])}" if health.get("problem") else ""
    workers: Mapping[str, Mapping[str, Any]] = answer.get("workers") or {}
    is_running = where != OFFLINE_URL
    place = f"{where}, running for {seconds(answer.get('uptime_s'))}" if is_running else "not running; read from files"
    return [
        ("Headgate", f"{printable(answer.get('version'))}, {place}"),
        ("Home", printable(answer.get("home"))),
        ("Store", f"{click.style(state, fg=_COLOURS.get(state))}, {seconds(health.get('lag_s'))} behind{problem}"),
        *([("Workers", _workers(workers, answer.get("counters") or {}))] if is_running and workers else []),
    ]


def _workers(workers: Mapping[str, Mapping[str, Any]], summed: Mapping[str, Any]) -> str:
    said = ", ".join(
        f"{printable(name).replace('_', ' ')} {count(value)}"
        for name, value in summed.items()
        if isinstance(value, int) and name != "generation" and (value or name in _ALWAYS_SAID)
    )
    return f"{len(workers)}; {said}" if said else str(len(workers))


def _stored(answer: Answer) -> list[tuple[str, str]]:
    total = answer.get("last_24h")
    span = " to ".join(local_time(answer.get(name)) for name in ("oldest", "newest") if answer.get(name))
    return [
        ("Requests", f"{count(answer.get('requests'))} stored" + (f", {span}" if span else "")),
        ("Last 24 h", total_line(total) if isinstance(total, dict) else MISSING),
    ]


def _disk(answer: Answer) -> list[tuple[str, str]]:
    disk = answer.get("disk")
    if not disk:  # a key that is bound to a project is not told
        return []
    used = f"{size(disk.get('total_bytes'))} of {size(disk.get('limit_bytes'))}"
    share = percent(disk.get("total_bytes"), disk.get("limit_bytes"))
    parts = ", ".join(
        f"{title} {size(disk[name])}"
        for title, name in (("log", "log_bytes"), ("bodies", "bodies_bytes"), ("spool", "spool_bytes"))
        if name in disk
    )
    return [
        ("Disk", f"{used} ({share}): {parts}; {size(disk.get('free_bytes'))} free"),
        ("Growth", f"{size(answer.get('growth_bytes_per_day'))} a day"),
    ]


def _configured(answer: Answer) -> list[tuple[str, str]]:
    shown = []
    for upstream in answer.get("upstreams") or []:
        name = f"{printable(upstream.get('name'))} -> {printable(upstream.get('base_url'))}"
        shown.append(("Upstream", f"{name} ({printable(upstream.get('key'))})"))
    server = answer.get("server") or {}
    needed = "a key is required" if server.get("require_key") else "no key required"
    shown.append(("Keys", f"{count(answer.get('keys'))}; {needed}"))
    configuration = answer.get("configuration") or {}
    shown.append(("Settings", printable(configuration.get("file") or f"from the {configuration.get('source')}")))
    return shown


def _troubles(answer: Answer) -> list[tuple[str, str]]:
    """What lost or hid something; nothing when all is well."""
    store = answer.get("store") or {}
    shown = []
    account = answer.get("account") or {}
    if account.get("dropped"):
        shown.append(("Dropped", f"{count(account['dropped'])} records: the spool could not be written"))
    if account.get("missing") or account.get("twice"):
        shown.append(("Missing", f"{count(account['missing'])} calls without a record: headgate verify"))
    damaged_bytes = max(account.get("damaged_bytes") or 0, store.get("damaged_bytes") or 0)
    if damaged_bytes:
        shown.append(("Damaged", f"{size(damaged_bytes)} of the spool could not be read: headgate verify"))
    if store.get("set_aside"):
        shown.append(("Damaged", f"{count(store['set_aside'])} records could not be stored in full"))
    if store.get("passed_over"):
        segments = many(store["passed_over"], "spool segment")
        shown.append(("Set aside", f"{segments}: *.newer for a newer Headgate, *.misplaced (copied, renamed) unread"))
    if store.get("damaged_wal"):
        shown.append(("Damaged", f"a journal of the log was set aside: {printable(store['damaged_wal'])}"))
    shown += [("Job", f"{printable(n)}: {printable(p)}") for n, p in (answer.get("jobs") or {}).items() if p]
    warnings = (answer.get("configuration") or {}).get("warnings") or []
    return shown + [("Warning", printable(warning)) for warning in warnings]
