"""The log made anew from sealed files and spool, compared with the one in use, and put in its place when equal."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headgate.control.ingest import Ingest
from headgate.control.moves import MoveCopy
from headgate.control.prediction_rows import PredictionRows
from headgate.control.pricing_step import pricer
from headgate.control.run_copy import RunCopy
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.core.ids import monotonic_s, now_us
from headgate.store.compare import Comparison, LogDamaged, compare
from headgate.store.database import DATABASE_NAME
from headgate.store.files import sealed_files
from headgate.store.log import Log
from headgate.store.table_copies import FOLDER, write_copy

_MEMORY_MB = 256
_logger = logging.getLogger("headgate.rebuild")


def remake(control: ControlApp) -> dict[str, Any]:
    """Blocking: `{equal, replaced, differences, rows, seconds, ...}`; nothing is stored meanwhile, the spool keeps it.

    The fresh log takes the old one's place when it is equal, or when the old one cannot be read, which is then kept
    beside it. Otherwise nothing changes and the differences are told.
    """
    began_s = monotonic_s()
    control.ingest.catch_up()
    with control.log.upkeep, control.ingest.paused(), _workshop(control) as place:
        is_damaged = False
        try:
            write_copy(control.log)
        except HeadgateError as error:
            _logger.warning("%s", error.sentence)
        rows = _make(control, place)
        fresh = Log.open(place, memory_limit_mb=_MEMORY_MB)
        try:
            beyond = _beyond(control.log)
            same_files = _paths(fresh) == _paths(control.log)
            found = compare(control.log, fresh, place / "tmp", beyond)
            differences = _differences(found, same_files=same_files)
        except LogDamaged as error:
            found, is_damaged, differences = None, True, [error.sentence]
        finally:
            fresh.close()
        # What was priced by the prices of its day keeps them.
        is_replaced = is_damaged or (found is not None and not differences and found.repriced == 0)
        if is_replaced:
            kept = control.home.path / f"{DATABASE_NAME}.damaged-{now_us()}" if is_damaged else None
            control.log.replace_by(place / DATABASE_NAME, keep_as=kept)
    return {
        "equal": not differences,
        "replaced": is_replaced,
        "differences": differences,
        "rows": rows,
        "compared": 0 if found is None else found.compared,
        "repriced": 0 if found is None else found.repriced,
        "seconds": round(monotonic_s() - began_s, 3),
    }


@contextmanager
def _workshop(control: ControlApp) -> Iterator[Path]:
    """A home beside the real one: the same sealed files under second names, the same spool, no log."""
    home = control.home.path
    place = home / "tmp" / f"remake-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        for folder in (place, place / "tmp", place / "bodies"):
            folder.mkdir(mode=0o700)
        for file in sealed_files(control.log):
            source, target = home / "bodies" / file.path, place / "bodies" / file.path
            if source.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.link(source, target)
        for name in ("spool", FOLDER):
            (home / name).mkdir(mode=0o700, exist_ok=True)
            (place / name).symlink_to(home / name, target_is_directory=True)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _make(control: ControlApp, place: Path) -> int:
    """The log of the workshop, from its files; how many rows it has."""
    registry = control.publisher.registry
    log = Log.open(place, memory_limit_mb=_MEMORY_MB)
    try:
        MoveCopy(log, registry).bring_up_to_date()
        RunCopy(log, registry).bring_up_to_date()
        ingest = Ingest(place, log, pricer(control.catalog), predictions=PredictionRows(registry))
        while ingest.step() and not _is_as_far(log, control.log):
            continue  # under load the spool has no end
        log.checkpoint()
        return int(log.query("SELECT count(*) FROM exchanges").rows[0][0])
    finally:
        log.close()


def _is_as_far(fresh: Log, old: Log) -> bool:
    """Whether the fresh log has read all that the old one has; False when the old one cannot say."""
    try:
        reached, closed = fresh.positions(), fresh.closed_spools()
        is_closed = old.closed_spools() <= closed
        return is_closed and all(name in reached and reached[name] >= at for name, at in old.positions().items())
    except HeadgateError:
        return False


def _beyond(log: Log) -> str:
    """Rows that only a log that reads on can have: records behind a mark, and calls closed since."""
    closed = log.closed_spools()
    parts = ["false"]
    for spool_id, (segment, offset) in log.positions().items():
        if spool_id not in closed:
            is_behind = f'(segment, "offset") >= ({segment}, {offset})'
            parts.append(f"(spool_id = '{spool_id}' AND ({is_behind} OR outcome = 'interrupted'))")
    known = ", ".join(f"'{spool_id}'" for spool_id in log.positions()) or "''"
    return " OR ".join([*parts, f"spool_id NOT IN ({known})"])


def _paths(log: Log) -> set[str]:
    return {file.path for file in sealed_files(log)}


def _differences(found: Comparison, *, same_files: bool) -> list[str]:
    said = []
    if found.lost:
        said.append(f"{found.lost} rows of the log are neither in sealed files nor in the spool.")
    if found.extra:
        said.append(f"{found.extra} rows of sealed files and spool are not in the log.")
    said += [f"{count} rows differ in {name}." for name, count in found.columns.items()]
    said += [f"{count} rows of {table} could not be made anew." for table, count in found.tables.items() if count]
    if not same_files and not said:
        said.append("The sealed files that count are not the same.")
    return said
