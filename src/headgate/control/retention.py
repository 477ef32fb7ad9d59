"""What is kept for how long: bodies, rows, and how much disk they may take."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from headgate.control.seal import replace_files, unlink_files
from headgate.core.ids import now_us, utc
from headgate.core.settings_types import Log as LogSettings
from headgate.store.files import SealedFile, record_files, sealed_files
from headgate.store.log import Log

_logger = logging.getLogger("headgate.retention")
_STEP = timedelta(hours=1)
"""Watermarks move in steps of this, so that they do not become a row each minute."""


def retain(home: Path, log: Log, settings: LogSettings) -> None:
    """Apply ``[log]``: expire bodies and rows by age, then the oldest bodies while the disk limit is exceeded."""
    now = utc(now_us()).replace(tzinfo=None)
    with log.upkeep:
        _expire_rows(log, now - timedelta(days=settings.row_days))
        _expire_bodies(log, now - timedelta(days=settings.body_days))
        _hold_disk_limit(home, log, settings.max_disk_gb)


def _expire_rows(log: Log, before: datetime) -> None:
    oldest = log.query("SELECT min(started_at) FROM exchanges").rows[0][0]
    if oldest is not None and oldest < before:
        log.expire("rows", before)
    gone = [file.path for file in sealed_files(log) if file.max_started_at < before]
    if gone:
        record_files(log, removed=gone)
        unlink_files(log, gone)


def _expire_bodies(log: Log, before: datetime) -> None:
    reached = log.bodies_before
    oldest = log.query("SELECT min(started_at) FROM exchanges").rows[0][0]
    if oldest is not None and oldest < before and (reached is None or before - reached >= _STEP):
        log.expire("bodies", before)
    _strip(log, [file for file in sealed_files(log) if file.has_bodies and file.max_started_at < before])


def _strip(log: Log, files: list[SealedFile]) -> None:
    """Rewrite files to metadata only, a day at a time."""
    by_day: dict[str, list[SealedFile]] = {}
    for file in files:
        by_day.setdefault(file.day, []).append(file)
    for day_files in by_day.values():
        replace_files(log, day_files, has_bodies=False)


def _hold_disk_limit(home: Path, log: Log, max_disk_gb: float) -> None:
    """Drop the oldest bodies until everything fits; rows stay for ``row_days``."""
    excess = used_bytes(home) - int(max_disk_gb * 1024**3)
    if excess <= 0:
        return
    chosen: list[SealedFile] = []
    for file in sealed_files(log):
        if excess <= 0:
            break
        if file.has_bodies:
            chosen.append(file)
            excess -= file.bytes
    if not chosen:
        _logger.warning("The home is over [log] max_disk_gb = %g and holds no sealed bodies to drop.", max_disk_gb)
        return
    before = max(file.max_started_at for file in chosen) + timedelta(microseconds=1)
    if log.bodies_before is None or before > log.bodies_before:
        log.expire("bodies", before)
    _strip(log, [file for file in sealed_files(log) if file.has_bodies and file.max_started_at < before])


def used_bytes(home: Path) -> int:
    """What the log takes on disk: spool, sealed files and database."""
    total = 0
    for path in (*home.glob("spool/*/*"), *home.glob("bodies/*/*"), *home.glob("requests.duckdb*")):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue
    return total
