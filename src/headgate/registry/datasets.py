"""Datasets in the registry: immutable, numbered versions whose rows are files named by their own hash."""

import os
import re
import sqlite3
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from headgate.core.errors import HomeError, MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.targets import shown

FOLDER = "datasets"
_NAME = re.compile(r"(?!.*(?://|\.\.|/$))[a-z0-9][a-z0-9._/-]{0,127}", re.ASCII)
RESERVED = ("diff", "from-log", "push", "rows")
"""Last parts of a name that are addresses of the API."""
_COLUMNS = "dataset, number, sha256, file_sha256, rows, bytes, message, who, created_at_us"


@dataclass(frozen=True, kw_only=True)
class PushedDataset:
    """Checked rows as they are kept: ``data`` is JSON Lines, ``sha256`` that of the rows whatever their order."""

    name: str
    sha256: str
    rows: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """One version of a dataset."""

    name: str
    number: int
    sha256: str
    file_sha256: str
    rows: int
    bytes: int
    message: str | None
    who: str
    created_at_us: int


def push(
    database: Database, home: Path, pushed: PushedDataset, *, who: str, message: str | None = None
) -> tuple[DatasetVersion, bool]:
    """Stores the rows; the same rows in any order are the same version. Returns it and whether it is new.

    The file is on the disk before a version names it. Raises MalformedRequest, HomeError.
    """
    if not _NAME.fullmatch(pushed.name) or pushed.name.rpartition("/")[2] in RESERVED:
        raise MalformedRequest(
            f"The dataset name {shown(pushed.name)} is not allowed.",
            hint=f"Use small letters, digits and . _ - /, at most 128; the last part is none of {', '.join(RESERVED)}.",
        )
    digest = sha256(pushed.data).hexdigest()
    _write(home / FOLDER, digest, pushed.data)
    with database.write() as connection:
        known = _find(connection, pushed.name, "sha256 = ?", pushed.sha256)
        if known is not None:
            return known, False
        now = now_us()
        connection.execute("INSERT INTO dataset VALUES (?, ?) ON CONFLICT DO NOTHING", (pushed.name, now))
        number = (
            1
            + connection.execute(
                "SELECT coalesce(max(number), 0) FROM dataset_version WHERE dataset = ?", (pushed.name,)
            ).fetchone()[0]
        )
        connection.execute(
            f"INSERT INTO dataset_version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(pushed.name, number, pushed.sha256, digest, pushed.rows, len(pushed.data)),
                *(None if message is None else history.kept_text(message), who, now),
            ),
        )
        history.append(
            connection,
            who=who,
            action="dataset.push",
            object=f"dataset:{pushed.name}",
            reason=message,
            detail={"version": number, "sha256": pushed.sha256, "rows": pushed.rows},
        )
        made = _find(connection, pushed.name, "number = ?", number)
        assert made is not None
        return made, True


def list_datasets(database: Database) -> list[DatasetVersion]:
    """The newest version of every dataset, by name."""
    sql = f"""SELECT {_COLUMNS} FROM dataset_version AS one WHERE number =
              (SELECT max(number) FROM dataset_version WHERE dataset = one.dataset) ORDER BY dataset"""
    with database.read() as connection:
        return [_version(row) for row in connection.execute(sql)]


def versions(database: Database, name: str) -> list[DatasetVersion]:
    """All versions of a dataset, newest first; raises NotFound."""
    with database.read() as connection:
        sql = f"SELECT {_COLUMNS} FROM dataset_version WHERE dataset = ? ORDER BY number DESC"
        found = [_version(row) for row in connection.execute(sql, (history.kept_text(name[:300]),))]
        if not found:
            raise _no_dataset(connection, name)
        return found


def get(database: Database, name: str, version: int | str | None = None) -> DatasetVersion:
    """The version with a number, or whose hash begins with `sha256:` and at least 8 signs; the newest unless told."""
    found = versions(database, name)
    if version is None:
        return found[0]
    text = str(version)
    if re.fullmatch(r"[0-9]{1,9}", text):
        chosen = [one for one in found if one.number == int(text)]
    else:
        prefix = text.removeprefix("sha256:")
        chosen = [one for one in found if re.fullmatch(r"[0-9a-f]{8,64}", prefix) and one.sha256.startswith(prefix)]
    if len(chosen) != 1:
        numbers = ", ".join(str(one.number) for one in reversed(found[:20]))
        raise NotFound(
            f"The dataset {name} has no version {shown(text)}. Versions: {numbers}.",
            code="dataset_version_missing",
            hint=f"headgate dataset show {name}",
        )
    return chosen[0]


def rows_of(home: Path, version: DatasetVersion) -> bytes:
    """The rows as JSON Lines; raises HomeError when the file is gone or no longer what was pushed."""
    path = home / FOLDER / f"{version.file_sha256}.jsonl"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HomeError(
            f"The rows of {version.name}@{version.number} cannot be read from {path} ({error.strerror}).",
            hint="Put the file back from a copy, or push the dataset again.",
        ) from error
    if sha256(data).hexdigest() != version.file_sha256:
        raise HomeError(
            f"{path} was changed: it is no longer the rows of {version.name}@{version.number}.",
            hint="Put the file back from a copy, or push the dataset again.",
        )
    return data


def _write(folder: Path, digest: str, data: bytes) -> None:
    """A file of mode 0600 under the hash of its bytes, complete or not there; a damaged one is replaced."""
    path, temporary = folder / f"{digest}.jsonl", folder / f"{digest}.tmp"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and sha256(path.read_bytes()).hexdigest() == digest:
            return
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, stat.S_IRUSR | stat.S_IWUSR), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        raise HomeError(f"{path} cannot be written ({error.strerror}).", hint="Check the disk's room.") from error


def _find(connection: sqlite3.Connection, name: str, condition: str, value: object) -> DatasetVersion | None:
    sql = f"SELECT {_COLUMNS} FROM dataset_version WHERE dataset = ? AND {condition}"
    row = connection.execute(sql, (name, value)).fetchone()
    return None if row is None else _version(row)


def _no_dataset(connection: sqlite3.Connection, name: str) -> NotFound:
    known = [row[0] for row in connection.execute("SELECT name FROM dataset ORDER BY name LIMIT 20")]
    return NotFound(
        f"There is no dataset {shown(name)}. Datasets: {', '.join(known) or 'none'}.",
        code="dataset_missing",
        hint="Push it: headgate dataset push FILE.jsonl",
    )


def _version(row: tuple[str, int, str, str, int, int, str | None, str, int]) -> DatasetVersion:
    return DatasetVersion(
        name=row[0],
        number=row[1],
        sha256=row[2],
        file_sha256=row[3],
        rows=row[4],
        bytes=row[5],
        message=row[6],
        who=row[7],
        created_at_us=row[8],
    )
