"""How this home is doing: the store, the workers' counters, disk, coverage, and what it is configured to do."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from headgate.control import queries
from headgate.control.account import accounts
from headgate.control.rows import iso, value_json
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.core.ids import now_us, utc
from headgate.core.settings import secret_source
from headgate.spool.counters import read_counters
from headgate.spool.reader import SET_ASIDE

_MAX_FILES = 200_000


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether what is answered is stored: `behind` while the spool holds it, `down` when the log does not answer."""

    status: Literal["ok", "behind", "down"]
    lag_s: float
    problem: str | None


def health_of(control: ControlApp) -> Health:
    """Blocking: asks the log a real query."""
    problem = control.ingest.problem
    try:
        is_answering = control.log.ping()
    except HeadgateError as error:
        return Health(status="down", lag_s=control.ingest.lag_s, problem=error.sentence)
    if not is_answering:
        return Health(status="down", lag_s=control.ingest.lag_s, problem="The log gave a wrong answer.")
    return Health(status="behind" if control.ingest.is_behind else "ok", lag_s=control.ingest.lag_s, problem=problem)


def counters_of(home: Path) -> dict[str, dict[str, int]]:
    """Every worker's counters, by the name of its file."""
    found = {path.stem: read_counters(path) for path in sorted((home / "run").glob("*.counters"))}
    return {name: counters for name, counters in found.items() if counters}


def summed(counters: dict[str, dict[str, int]]) -> dict[str, int]:
    """All workers together."""
    total: dict[str, int] = {}
    for values in counters.values():
        for name, value in values.items():
            total[name] = total.get(name, 0) + value
    return total


def status_of(control: ControlApp, project: str | None = None) -> dict[str, Any]:
    """Blocking: everything `headgate status` prints; with a project, without what others' requests show in."""
    health = health_of(control)
    answer: dict[str, Any] = {
        "version": _version(),
        "home": str(control.home.path),
        "started_at": _time(control.started_at_us),
        "uptime_s": round((now_us() - control.started_at_us) / 1e6, 1),
        "health": {"status": health.status, "lag_s": round(health.lag_s, 3), "problem": health.problem},
        "keys": control.keyring.count(project),
        **_configured(control),
    }
    if project is None:
        answer |= _inside(control)
    return answer | _stored(control, project)


def _inside(control: ControlApp) -> dict[str, Any]:
    """The workers, the store and the disk: sums over everyone's requests."""
    counters = counters_of(control.home.path)
    return {
        "workers": counters,
        "counters": summed(counters),
        "store": {
            "stored_since_start": control.ingest.stored,
            "damaged_bytes": control.ingest.damaged_bytes,
            "passed_over": passed_over(control.home.path),
            "set_aside": control.ingest.set_aside,
            "damaged_wal": str(control.log.damaged_wal) if control.log.damaged_wal else None,
        },
        "account": _account(control),
        "jobs": {job.name: job.problem for job in control.jobs.jobs} if control.jobs else {},
        "disk": disk_of(control),
        "snapshot": {
            "generation": control.publisher.generation,
            "published_at": _time(control.publisher.published_at_us),
        },
    }


def _account(control: ControlApp) -> dict[str, int] | None:
    """Every call that was begun, by what became of it; None when the log does not answer."""
    try:
        found = accounts(control.log, control.ingest)
    except HeadgateError:
        return None
    counts = {name: found.total(name) for name in ("started", "recorded", "interrupted", "in_flight", "dropped")}
    return counts | {
        "missing": found.missing,
        "twice": found.total("twice"),
        "damaged_bytes": found.total("damaged_bytes"),
    }


def passed_over(home: Path) -> int:
    """How many spool segments were set aside: of a newer format, or put where another one belongs; they are kept."""
    return sum(path.suffix in SET_ASIDE for path in (home / "spool").glob("*/*"))


def disk_of(control: ControlApp) -> dict[str, Any]:
    """What the home takes on disk, and what is left."""
    home = control.home.path
    log_bytes = sum(_size(home / name) for name in ("requests.duckdb", "requests.duckdb.wal"))
    bodies_bytes, spool_bytes = _tree_size(home / "bodies"), _tree_size(home / "spool")
    facts = os.statvfs(home)
    return {
        "log_bytes": log_bytes,
        "bodies_bytes": bodies_bytes,
        "spool_bytes": spool_bytes,
        "registry_bytes": _size(home / "control.db"),
        "total_bytes": log_bytes + bodies_bytes + spool_bytes,
        "limit_bytes": int(control.settings.log.max_disk_gb * 1e9),
        "free_bytes": facts.f_bavail * facts.f_frsize,
    }


def _stored(control: ControlApp, project: str | None) -> dict[str, Any]:
    """What the log knows of itself; nothing of it when the log does not answer."""
    try:
        since = utc(now_us()).replace(tzinfo=None) - timedelta(hours=24)
        total = queries.coverage_since(control.log, since, project)
        facts = (
            queries.log_facts(control.log, since) if project is None else queries.project_facts(control.log, project)
        )
    except HeadgateError as error:
        return {"requests": None, "last_24h": None, "growth_bytes_per_day": None, "log_problem": error.sentence}
    growth = {"growth_bytes_per_day": facts["growth_bytes"]} if project is None else {}
    return {
        "requests": facts["requests"],
        "oldest": iso(facts["oldest"]) if facts["oldest"] else None,
        "newest": iso(facts["newest"]) if facts["newest"] else None,
        "last_24h": value_json(total),
        **growth,
    }


def _configured(control: ControlApp) -> dict[str, Any]:
    settings = control.settings
    return {
        "server": {
            "host": settings.server.host,
            "port": settings.server.port,
            "workers": settings.server.workers,
            "require_key": settings.server.require_key,
        },
        "log": {
            "capture": settings.log.capture,
            "body_days": settings.log.body_days,
            "row_days": settings.log.row_days,
            "max_disk_gb": settings.log.max_disk_gb,
            "durability": settings.log.durability,
        },
        "upstreams": [
            {
                "name": upstream.name,
                "kind": upstream.kind,
                "provider": upstream.provider,
                "base_url": upstream.base_url,
                "key": secret_source(upstream),
            }
            for upstream in settings.upstreams.values()
        ],
        "routes": [
            {
                "model": route.model,
                "targets": [{"upstream": target.upstream, "model": target.model} for target in route.targets],
            }
            for route in settings.routes
        ],
        "configuration": {"source": settings.source, "file": settings.file, "warnings": list(settings.warnings)},
    }


def _version() -> str:
    from headgate import __version__

    return __version__


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else iso(utc(at_us).replace(tzinfo=None))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tree_size(directory: Path) -> int:
    """Allocated bytes below a directory: a spool segment is preallocated, so its length says little."""
    total = 0
    for number, path in enumerate(directory.rglob("*")):
        if number >= _MAX_FILES:
            break
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except OSError:
            continue
    return total
