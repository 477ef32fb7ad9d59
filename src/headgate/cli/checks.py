"""The checks of ``headgate doctor``: each looks at one thing and returns what it found, with how to mend it."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headgate.cli.text import many, printable, seconds, size, usd
from headgate.core.errors import HeadgateError
from headgate.core.home import Home
from headgate.core.ids import now_us, utc

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.core.settings import Settings

Level = Literal["ok", "advice", "fault"]
_LEAST_FREE_BYTES = 1 << 30
_MOST_LAG_S = 10.0
_BUILT_IN = 2026  # no clock is right that shows an earlier year

_LOST_CLIENTS_SQL = """
SELECT path, any_value(client) AS client, count(*) AS requests
FROM requests
WHERE started_at > (SELECT max(started_at) FROM requests) - INTERVAL 7 DAY AND status = 404
  AND (starts_with(path, '/v1/v1/') OR regexp_matches(path, '^/(chat|responses|completions|embeddings)(/|$)'))
GROUP BY path ORDER BY requests DESC LIMIT 5
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found. ``mend`` says what to do; empty when nothing is to be done."""

    check: str
    level: Level
    what: str
    mend: str = ""


def _ok(check: str, what: str) -> Finding:
    return Finding(check=check, level="ok", what=what)


def settings_findings(settings: "Settings") -> Iterator[Finding]:
    """The configuration that was read, and the provider keys it needs."""
    from headgate.core.settings import secret_of, secret_source, secret_warnings

    where = settings.file or f"no file; upstreams from the {settings.source}"
    yield _ok("configuration", f"{where}: {len(settings.upstreams)} upstreams, {len(settings.routes)} routes")
    for warning in settings.warnings:
        yield Finding(check="configuration", level="advice", what=warning, mend="Correct it in headgate.toml.")
    for upstream in settings.upstreams.values():
        warnings = secret_warnings(upstream)
        for warning in warnings:
            # A key missing here may be set where the server runs, but then doctor is asked in the wrong place.
            is_missing = "is not set" in warning
            yield Finding(
                check="provider keys",
                level="fault" if is_missing else "advice",
                what=warning,
                mend=f"export {upstream.api_key_env}=... before headgate serve" if is_missing else "",
            )
        if not warnings:
            is_there = upstream.kind == "demo" or upstream.auth == "caller" or secret_of(upstream) is not None
            said = secret_source(upstream) if is_there else "no key configured, none is sent"
            yield _ok("provider keys", f'upstream "{upstream.name}": {said}')


def policy_findings(settings: "Settings") -> Iterator[Finding]:
    """The policy files that `[[protect]]` rules name."""
    from headgate.evals.rule_policies import policy_faults

    faults = policy_faults(settings)
    for fault in faults:
        yield Finding(
            check="policies", level="fault", what=fault, mend="Correct the file; nothing moves by it till then."
        )
    if settings.protect and not faults:
        yield _ok("policies", ", ".join(dict.fromkeys(rule.policy for rule in settings.protect)))


def home_findings(home: Path, max_disk_gb: float) -> Iterator[Finding]:
    """Rights of the data directory, and room on its disk."""
    if not home.is_dir():
        yield _ok("data directory", f"{home} is not there yet; headgate serve makes it")
    else:
        yield _rights(home)
    nearest = next(path for path in (home.absolute(), *home.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(nearest).free
    used_bytes = directory_bytes(home) if home.is_dir() else 0
    wanted_bytes = int(max_disk_gb * 1e9) - used_bytes
    if free_bytes < _LEAST_FREE_BYTES:
        yield Finding(
            check="disk",
            level="fault",
            what=f"Only {size(free_bytes)} are free where {home} is.",
            mend="Make room, or keep less: [log] body_days, max_disk_gb.",
        )
    elif free_bytes < wanted_bytes:
        yield Finding(
            check="disk",
            level="advice",
            what=f"{size(free_bytes)} are free, but [log] max_disk_gb = {max_disk_gb:g} lets the log grow by "
            f"{size(wanted_bytes)}.",
            mend="Lower max_disk_gb, or make room.",
        )
    else:
        yield _ok("disk", f"{size(free_bytes)} free, {size(used_bytes)} used by {home}")


def _rights(home: Path) -> Finding:
    facts = home.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        return Finding(
            check="data directory",
            level="fault",
            what=f"{home} is open to other users (mode {mode:04o}); it holds prompts and answers.",
            mend=f"chmod 700 {home}",
        )
    if not os.access(home, os.W_OK | os.X_OK):
        return Finding(
            check="data directory",
            level="fault",
            what=f"{home} is not writable for this user (owner: uid {facts.st_uid}).",
            mend=f"sudo chown -R {os.getuid()} {home}, or name another: --home DIR",
        )
    return _ok("data directory", f"{home} is yours alone (mode {mode:04o})")


def directory_bytes(path: Path) -> int:
    """What the files below a directory take on disk; files that vanish meanwhile count as nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total


def port_finding(settings: "Settings", home: Path) -> Finding:
    """Whether the port is free when no server of this home runs."""
    host, port = settings.server.host, settings.server.port
    running = Home(home).server()
    if running is not None:
        return _ok("port", f"this home's server (PID {running.pid}) listens at {running.url}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            return Finding(
                check="port",
                level="fault",
                what=f"{host}:{port} cannot be listened on: {error.strerror}.",
                mend=f"See who has it (ss -ltnp), or choose another: headgate serve --port {port + 1}",
            )
    return _ok("port", f"{host}:{port} is free")


def vocabulary_finding() -> Finding:
    """Whether token estimates work: the vocabularies shipped with the package are whole."""
    from headgate.pricing.tokens import count_tokens

    try:
        count_tokens("Headgate", "gpt-5-mini")
    except (OSError, HeadgateError, ValueError) as error:
        return Finding(
            check="vocabularies",
            level="fault",
            what=f"Token estimates do not work: {error}",
            mend="Install Headgate again: pip install --force-reinstall headgate",
        )
    return _ok("vocabularies", "present; token estimates work")


def clock_finding(newest: str | None) -> Finding:
    """Whether this machine's clock can be right: not before this version, not behind what is stored."""
    now = utc(now_us())
    if now.year < _BUILT_IN:
        what = f"The clock says {now:%Y-%m-%d %H:%M} UTC."
        return Finding(check="clock", level="fault", what=what, mend="Set it: timedatectl set-ntp true")
    if newest is not None:
        ahead_s = (datetime.fromisoformat(newest) - now).total_seconds()
        if ahead_s > 60:
            return Finding(
                check="clock",
                level="fault",
                what=f"The newest request was stored {seconds(ahead_s)} in the future: this clock or the server's is "
                "wrong, so times, expiry and prices are.",
                mend="timedatectl set-ntp true on both machines",
            )
    return _ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def server_findings(client: "Client") -> Iterator[Finding]:
    """What a running server tells: its store, how far it is behind, prices, and clients that miss it."""
    health = client.health()
    state = str(health.get("status"))
    lag_s = health.get("lag_s")
    if state == "down":
        problem = printable(health.get("store") or "no reason given")
        yield Finding(
            check="store",
            level="fault",
            what=f"The store does not answer ({problem}); requests are relayed and spooled meanwhile.",
            mend="See the server's own messages; restarting it loses nothing.",
        )
    elif isinstance(lag_s, int | float) and lag_s > _MOST_LAG_S:
        yield Finding(
            check="store",
            level="fault",
            what=f"Storing is {seconds(lag_s)} behind.",
            mend="It catches up by itself; if not, the disk or the one core storing is busy: headgate status",
        )
    else:
        yield _ok("store", f"{client.url} answers; storing is {seconds(lag_s)} behind")
    yield from damage_findings(client.status())
    yield from _price_findings(client.cost(["model"], {"since": "7d"}))
    yield from _lost_client_findings(client)
    newest = client.requests({"limit": "1", "purpose": "all"})["requests"]
    yield clock_finding(newest[0].get("started_at") if newest else None)


def damage_findings(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What of the spool could not be stored."""
    store, account = status.get("store") or {}, status.get("account") or {}
    damaged_bytes = max(account.get("damaged_bytes") or 0, store.get("damaged_bytes") or 0)
    if damaged_bytes:
        yield Finding(
            check="spool",
            level="advice",
            what=f"{size(damaged_bytes)} of the spool were damaged and could not be read.",
            mend="Which calls that cost: headgate verify. Look at the disk and the memory of the machine.",
        )
    if store.get("passed_over"):
        yield Finding(
            check="spool",
            level="advice",
            what=f"{many(store['passed_over'], 'spool segment')} could not be read here and stayed in the spool.",
            mend="*.newer: start the newer Headgate. *.misplaced: rename it back to its own place, or remove the copy.",
        )


def _price_findings(answer: Mapping[str, Any]) -> Iterator[Finding]:
    rows = [row for row in answer.get("rows") or [] if row.get("unpriced")]
    for row in rows[:5]:
        reasons = row.get("unpriced_reasons") or {}
        why = ", ".join(printable(reason) for reason in reasons) or "no price known"
        yield Finding(
            check="prices",
            level="advice",
            what=f"{many(row['unpriced'], 'request')} to {printable(row.get('model'))} had no cost in 7 days ({why}).",
            mend="Name its price under [[prices]] in headgate.toml, or the provider of its upstream.",
        )
    if not rows:
        total = answer.get("total") or {}
        cost = usd(total.get("cost_usd")) if total.get("priced") else "nothing to price"
        yield _ok("prices", f"every request of the last 7 days that could cost something has a price ({cost})")


def _lost_client_findings(client: "Client") -> Iterator[Finding]:
    for path, agent, requests in client.sql(_LOST_CLIENTS_SQL).get("rows") or []:
        doubled = str(path).startswith("/v1/v1/")
        base = client.url if doubled else f"{client.url}/v1"
        yield Finding(
            check="clients",
            level="advice",
            what=f"{many(requests, 'request')} went to {printable(path)} (client {printable(agent)}), which is "
            + ("one /v1 too many." if doubled else "missing /v1."),
            mend=f"Set that client's base URL to {base}.",
        )
