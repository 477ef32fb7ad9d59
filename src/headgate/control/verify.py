"""The proof that nothing is lost or there twice: spool, log, sealed files and objects against each other."""

from collections.abc import Iterator
from typing import Any

from headgate.control.account import Accounts, SpoolAccount, accounts_while_paused
from headgate.control.ingest import BATCH_BYTES, BATCH_RECORDS
from headgate.control.registry_check import object_faults
from headgate.control.remake import remake
from headgate.control.state import ControlApp
from headgate.control.tally import Tally, add_to, tallies_of
from headgate.core import spans
from headgate.core.errors import HeadgateError
from headgate.core.spans import said
from headgate.spool.reader import Position, SpoolReader, spools
from headgate.store.files import sealed_files
from headgate.store.log import Log
from headgate.store.tallies import Segment, file_digests, log_digests

_MAX_FAULTS = 100
_COUNTS = ("started", "recorded", "interrupted", "in_flight", "dropped", "twice", "rows", "damaged_bytes")


def verify(control: ControlApp, *, with_rebuild: bool = False) -> dict[str, Any]:
    """Blocking: `{proven, faults, notes, totals, spools, rebuild}`; nothing is stored or sealed meanwhile.

    ``with_rebuild`` makes the log anew first, and proves the one that is in use afterwards.
    """
    remade = remake(control) if with_rebuild else None
    log, ingest = control.log, control.ingest
    ingest.catch_up()
    with log.upkeep, ingest.paused() as pending:
        found = accounts_while_paused(log, pending, with_rows=True)
        faults = [
            *(f"Made anew: {text}" for text in (remade or {}).get("differences", ())),
            *(fault for account in found.spools for fault in _account_faults(account)),
            *_row_faults(found),
            *_spool_faults(control, found),
            *_file_faults(log),
            *object_faults(control.publisher.registry, control.home.path),
        ]
        files = sealed_files(log)
    return {
        "proven": not faults,
        "faults": faults[:_MAX_FAULTS],
        "faults_in_all": len(faults),
        "notes": list(_notes(control, found)),
        "totals": {name: found.total(name) for name in _COUNTS}
        | {
            "missing": found.missing,
            "rows_removed": sum(found.stored.removed.values()),
            "rows_in_log": sum(found.stored.rows.values()),
            "sealed_files": len(files),
            "sealed_rows": sum(file.rows for file in files),
        },
        "spools": [spool_json(account) for account in found.spools],
        "rebuild": remade,
    }


def spool_json(account: SpoolAccount) -> dict[str, Any]:
    """One spool, as the API tells it."""
    return {
        "spool": account.spool_id,
        "worker": int(account.spool_id.partition("-")[0]),
        "ended": account.is_ended,
        "complete": not account.is_partial,
        **{name: getattr(account, name) for name in _COUNTS},
        "missing": spans.size(account.missing),
        "missing_numbers": said(account.missing),
        "holds": account.holds,
    }


def _account_faults(account: SpoolAccount) -> Iterator[str]:
    name = f"Spool {account.spool_id}"
    if account.missing:
        yield (
            f"{name}: {spans.size(account.missing)} of {account.started} calls left no record "
            f"(numbers {said(account.missing)})."
        )
    if account.twice:
        yield f"{name}: {account.twice} calls have more than one end."
    if account.is_ended and account.in_flight:
        yield f"{name}: its writer has ended, but {account.in_flight} calls have no end (numbers {said(account.open)})."
    if account.damaged_bytes:
        yield f"{name}: {account.damaged_bytes} bytes were damaged and could not be read."


def _row_faults(found: Accounts) -> Iterator[str]:
    """The log has exactly the rows that were read, minus those taken out."""
    if found.stored.twice:
        yield f"{len(found.stored.twice)} or more requests have several rows: {', '.join(found.stored.twice[:3])}."
    for segment, tally in sorted(found.tallies.items()):
        have = found.stored.rows.get(segment, 0) + found.stored.removed.get(segment, 0)
        if have != tally.rows:
            yield f"Segment {_name(segment)}: {tally.rows} rows were stored, the log accounts for {have}."
    for segment in sorted(found.stored.rows.keys() - found.tallies.keys() - set(found.not_tallied)):
        yield f"Segment {_name(segment)}: the log has {found.stored.rows[segment]} rows of which no record was read."


def _name(segment: Segment) -> str:
    return f"{segment[0]}/{segment[1]:08d}"


def _spool_faults(control: ControlApp, found: Accounts) -> Iterator[str]:
    """What is still in the spool, read once more, is what was read before."""
    for spool_id in spools(control.ingest.spool_dir):
        until = found.stored.positions.get(spool_id)
        try:
            if until is not None:
                yield from _reread_faults(control, found, spool_id, Position(*until))
        except OSError as error:
            yield f"Spool {spool_id} cannot be read: {error}."
    for path in sorted(control.ingest.spool_dir.glob("*/*.newer")):
        yield (
            f"spool/{path.parent.name}/{path.name} has a format that only a newer Headgate reads; it is not in the log."
        )


def _reread_faults(control: ControlApp, found: Accounts, spool_id: str, until: Position) -> Iterator[str]:
    tallies: dict[int, Tally] = {}
    ids: list[str] = []
    for batch in _batches_before(SpoolReader(control.ingest.spool_dir, spool_id), until):
        for segment, tally in tallies_of(batch, frozenset()).items():
            add_to(tallies, segment, tally)
        ids = [entry.final.request_id for entry in batch.entries if entry.final is not None]
        lost = control.log.never_stored(ids)
        if lost:
            yield f"Spool {spool_id}: {len(lost)} recorded requests are not in the log: {', '.join(sorted(lost)[:3])}."
    for segment, tally in sorted(tallies.items()):
        stored = found.tallies.get((spool_id, segment))
        if stored is None or segment == until.segment or (spool_id, segment) in found.not_tallied:
            continue
        if (tally.started, tally.ended, tally.direct) != (stored.started, stored.ended, stored.direct):
            yield f"Segment {_name((spool_id, segment))} no longer reads as it did when it was stored."


def _batches_before(reader: SpoolReader, until: Position) -> Iterator[Any]:
    position: Position | None = None
    while position is None or position < until:
        batch = reader.read(position, BATCH_RECORDS, BATCH_BYTES)
        batch.entries = [entry for entry in batch.entries if Position(entry.segment, entry.offset) < until]
        if not batch.entries:
            return
        yield batch
        position = batch.position


def _file_faults(log: Log) -> Iterator[str]:
    """Each sealed file is there and whole, and says of its rows what the log says."""
    there = []
    for file in sealed_files(log):
        try:
            examined = log.archive.examine(file.path).file
        except FileNotFoundError:
            yield f"bodies/{file.path} is missing; {file.rows} requests have no bodies."
            continue
        except (HeadgateError, OSError) as error:
            yield f"bodies/{file.path} cannot be read: {error}"
            continue
        if file.sha256 is not None and examined.sha256 != file.sha256:
            yield f"bodies/{file.path} was changed: its SHA-256 is not the one it was written with."
        elif examined.rows != file.rows:
            yield f"bodies/{file.path} has {examined.rows} rows; {file.rows} were written."
        there.append(file.path)
    try:
        in_files, in_log = file_digests(log, there), log_digests(log)
    except HeadgateError as error:
        yield f"The sealed files cannot be compared with the log: {error}"
        return
    for segment in sorted(in_files.keys() | in_log.keys()):
        one, other = in_files.get(segment, (0, 0)), in_log.get(segment, (0, 0))
        if one[0] != other[0]:
            yield f"Segment {_name(segment)}: {one[0]} rows in sealed files, {other[0]} in the log."
        elif one != other:
            yield f"Segment {_name(segment)}: sealed files and log differ in what they say of its {one[0]} requests."


def _notes(control: ControlApp, found: Accounts) -> Iterator[str]:
    partial = [account.spool_id for account in found.spools if account.is_partial]
    if partial or found.not_tallied:
        yield (
            f"{len(found.not_tallied)} segments were stored before an account was kept, or the log was lost since: "
            "their rows are there, their numbers cannot be proven."
        )
    dropped = found.total("dropped")
    if dropped:
        yield f"{dropped} calls were counted instead of recorded: the disk was full."
    for path in sorted(control.ingest.spool_dir.glob("*/*.misplaced")):
        yield (
            f"spool/{path.parent.name}/{path.name} is another segment than its name says: rename it to its own number, "
            "or remove it when it is a copy."
        )
    if control.ingest.problem:
        yield f"Not everything is stored yet: {control.ingest.problem}"
