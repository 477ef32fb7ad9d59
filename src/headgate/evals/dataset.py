"""Datasets: JSON Lines of cases, read with faults by line, named by a hash that order and spacing do not change."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

import msgspec

from headgate.core.settings_file import nearest
from headgate.evals.canonical import NotCanonical, canonical_json, digest
from headgate.evals.faults import DatasetFault
from headgate.prompts.faults import quoted

MAX_ROWS = 100_000
MAX_ROW_BYTES = 1 << 20
MAX_DATASET_BYTES = 64 << 20
MOST_TAGS = 64
SPLIT_TAG = "split"
NAME = re.compile(r"(?!.*(?://|\.\.|/$))[a-z0-9][a-z0-9._/-]{0,127}", re.ASCII)
_ID_DIGITS = 12
_MAX_ID_CHARS = 200


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One case: what the prompt is given, and what is known about a good answer.

    ``input`` holds the prompt's variables; its ``messages`` (a list of role and content) are sent after the prompt's
    own. ``relevant`` are the documents (`returns.md`), sections (`returns.md#Time`) or ids of chunks that a search
    should find, or a mapping of them to what each is worth. ``tags`` cut slices, rows of one ``cluster`` are not
    independent, ``source`` says where the row came from.
    """

    id: str = ""
    input: dict[str, Any]
    expected: Any = None
    context: tuple[str, ...] = ()
    relevant: tuple[str, ...] | dict[str, float] = ()
    tags: dict[str, str] = {}
    cluster: str | None = None
    weight: float = 1.0
    source: dict[str, Any] = {}
    notes: str = ""

    @property
    def messages(self) -> list[dict[str, Any]] | None:
        """The messages of the input, None when it has variables only."""
        found = self.input.get("messages")
        return found if is_messages(found) else None

    @property
    def variables(self) -> dict[str, Any]:
        """The input without its messages."""
        if self.messages is None:
            return self.input
        return {name: value for name, value in self.input.items() if name != "messages"}

    @property
    def sha256(self) -> str:
        """The hash of the whole row, defaults left out."""
        return digest(as_plain(self))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows with distinct ids, in the order of the file."""

    name: str
    rows: tuple[Row, ...]

    @cached_property
    def sha256(self) -> str:
        """The version: a hash over the hashes of the rows, sorted, so that their order does not matter."""
        hashes = sorted(row.sha256 for row in self.rows)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def split(self, name: str | None) -> "Dataset":
        """The rows whose tag ``split`` is ``name``; all of them for None. DatasetFault when there are none."""
        if name is None:
            return self
        rows = tuple(row for row in self.rows if row.tags.get(SPLIT_TAG) == name)
        if not rows:
            known = sorted({row.tags[SPLIT_TAG] for row in self.rows if SPLIT_TAG in row.tags})
            there = f"its splits are {', '.join(map(quoted, known[:20]))}" if known else "no row has a tag split"
            raise DatasetFault([f"dataset {self.name} has no rows of split {quoted(name)}: {there}."])
        return Dataset(name=self.name, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed from one dataset to another, by row id; ``changed`` names the fields that differ."""

    added: tuple[Row, ...]
    removed: tuple[Row, ...]
    changed: tuple["ChangedRow", ...]
    same: int


@dataclass(frozen=True, kw_only=True)
class ChangedRow:
    """A row of the same id with another content."""

    id: str
    before: Row
    after: Row
    fields: tuple[str, ...]


def is_messages(value: Any) -> bool:
    """Whether a value is a list of messages: mappings with a role and a content."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one for one in value)
    )


def as_plain(row: Row) -> dict[str, Any]:
    """The row as JSON values, defaults left out."""
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain


def rows_jsonl(dataset: Dataset) -> bytes:
    """The dataset as JSON Lines in canonical form; reading it again gives the same rows."""
    return b"".join(canonical_json(as_plain(row)) + b"\n" for row in dataset.rows)


def dataset_of(name: str, rows: Iterable[Row]) -> Dataset:
    """A dataset of rows made in code: ids filled in; DatasetFault for ids that are there twice."""
    lines = (canonical_json(as_plain(row)) for row in rows)
    return read_dataset(lines, f"{name}.jsonl", name=name)


def read_dataset(lines: Iterable[bytes], file: str, *, name: str | None = None) -> Dataset:
    """The dataset in ``lines``; DatasetFault lists what is wrong as `file:line what`.

    ``name`` is the file's name without its ending when it is not given. Empty lines are skipped.
    """
    own_name = name if name is not None else PurePath(file).name.removesuffix(".jsonl")
    reading = _Reading(file)
    if not NAME.fullmatch(own_name):
        reading.faults.append(
            f"{file} {quoted(own_name)} is not a dataset's name: small letters, digits and . _ / - "
            "after the first character"
        )
    rows = tuple(reading.rows(lines))
    if not rows and not reading.faults:
        reading.faults.append(f"{file} the dataset has no rows")
    if reading.faults:
        raise DatasetFault(reading.faults)
    return Dataset(name=own_name, rows=rows)


_FIELDS = Row.__struct_fields__
_decoder = msgspec.json.Decoder(dict[str, Any])


class _Reading:
    def __init__(self, file: str) -> None:
        self._file = file
        self._seen: dict[str, int] = {}
        self._size = 0
        self.faults: list[str] = []

    def rows(self, lines: Iterable[bytes]) -> Iterator[Row]:
        count = 0
        for number, line in enumerate(lines, 1):
            self._size += len(line)
            if self._size > MAX_DATASET_BYTES:
                self._fault(number, f"a dataset has at most {MAX_DATASET_BYTES >> 20} MB")
                return
            if not line.strip():
                continue
            count += 1
            if count > MAX_ROWS:
                self._fault(number, f"a dataset has at most {MAX_ROWS:,} rows")
                return
            row = self._row(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            if row is not None:
                yield row

    def _fault(self, line: int, what: str) -> None:
        self.faults.append(f"{self._file}:{line} {what}")

    def _row(self, number: int, line: bytes) -> Row | None:
        if len(line) > MAX_ROW_BYTES:
            self._fault(number, f"a row has at most 1 MB; this one has {len(line):,} bytes")
            return None
        try:
            line.decode()
        except UnicodeDecodeError as error:
            self._fault(number, f"byte {error.start + 1} is not UTF-8; save the file as UTF-8")
            return None
        try:
            data = _decoder.decode(line)
            if problem := _problem_of(data):
                self._fault(number, problem)
                return None
            row = msgspec.convert(data, Row)
            plain = as_plain(row)
            if not row.id:
                row = msgspec.structs.replace(row, id=digest(plain)[:_ID_DIGITS])
            canonical_json(plain)
        except (msgspec.MsgspecError, RecursionError, NotCanonical) as error:
            self._fault(number, f"the row does not fit: {_words(error)}")
            return None
        return self._distinct(number, row)

    def _distinct(self, number: int, row: Row) -> Row | None:
        if row.id in self._seen:
            self._fault(number, f"the id {quoted(row.id)} is in line {self._seen[row.id]} already")
            return None
        self._seen[row.id] = number
        return row


def _words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "values are nested too deep"
    return str(error).replace(" - at `$", " at `").rstrip(".")


def _problem_of(data: dict[str, Any]) -> str | None:
    """What types cannot say about a row."""
    for key in data:
        if key not in _FIELDS:
            close = nearest(key, list(_FIELDS))
            meant = f"did you mean {close}?" if close else f"known: {', '.join(_FIELDS)}"
            return f"unknown key {quoted(key)}; {meant}"
    if "input" not in data:
        return "input is missing: the prompt's variables, or messages"
    given_id = data.get("id")
    if isinstance(given_id, str) and (len(given_id) > _MAX_ID_CHARS or not given_id.isprintable()):
        return f"an id is printable and has at most {_MAX_ID_CHARS} characters"
    weight = data.get("weight", 1)
    if isinstance(weight, int | float) and not 0 < weight < float("inf"):
        return f"a weight is above 0, not {weight}"
    relevant = data.get("relevant")
    worth = relevant.values() if isinstance(relevant, dict) else ()
    if not all(isinstance(one, int | float) and 0 < one < float("inf") for one in worth):
        return "what is relevant has a worth above 0"
    if isinstance(data.get("tags"), dict) and len(data["tags"]) > MOST_TAGS:
        return f"a row has at most {MOST_TAGS} tags"
    return None


def difference(before: Dataset, after: Dataset) -> Difference:
    """What was added, removed and changed from ``before`` to ``after``, by id, in the order of ``after``."""
    old = {row.id: row for row in before.rows}
    new = {row.id: row for row in after.rows}
    changed = [_changed(old[row.id], row) for row in after.rows if row.id in old and old[row.id].sha256 != row.sha256]
    return Difference(
        added=tuple(row for row in after.rows if row.id not in old),
        removed=tuple(row for row in before.rows if row.id not in new),
        changed=tuple(changed),
        same=len(old.keys() & new.keys()) - len(changed),
    )


def _changed(before: Row, after: Row) -> ChangedRow:
    one, other = as_plain(before), as_plain(after)
    fields = tuple(name for name in _FIELDS if digest(one.get(name)) != digest(other.get(name)))
    return ChangedRow(id=after.id, before=before, after=after, fields=fields)


def repeated_inputs(dataset: Dataset) -> list[tuple[str, ...]]:
    """Ids of rows that have the same input, group by group: they are answered once, and are not independent."""
    groups: dict[str, list[str]] = {}
    for row in dataset.rows:
        groups.setdefault(digest(row.input), []).append(row.id)
    return [tuple(ids) for ids in groups.values() if len(ids) > 1]


def tag_values(rows: Sequence[Row], path: str) -> dict[str, str]:
    """Row id to the value of a slice: ``tags.lang`` or ``lang``; rows without it are left out."""
    name = path.removeprefix("tags.")
    return {row.id: row.tags[name] for row in rows if name in row.tags}
