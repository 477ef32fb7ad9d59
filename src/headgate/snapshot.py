"""The snapshot: everything a gateway worker serves from, in one checksummed file that is replaced whole.

File: 8 bytes magic, u32 version, u64 generation, u64 body length, 32 bytes SHA-256 over all the rest, msgpack body.
"""

import contextlib
import difflib
import logging
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from headgate.core.errors import HomeError, NotFound
from headgate.core.protection import LATEST, PRODUCTION
from headgate.core.served_models import FoundModel, ModelEntry, no_model
from headgate.core.settings import Settings

Role = Literal["app", "developer", "approver", "admin"]
ROLES: tuple[Role, ...] = ("app", "developer", "approver", "admin")  # each may do what the ones before it may

_MAGIC = b"HGSNAP\r\n"
_VERSION = 1
_HEAD = struct.Struct("<8sIQQ")
_DIGEST_BYTES = 32
MAX_BYTES = 256 << 20
_logger = logging.getLogger("headgate.snapshot")


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one Headgate key; the key itself is nowhere."""

    id: str
    name: str
    role: Role
    project: str = "default"
    models: tuple[str, ...] = ()  # globs; empty: every model
    created_at_us: int = 0
    expires_at_us: int | None = None
    revoked_at_us: int | None = None

    def is_valid(self, at_us: int) -> bool:
        """Whether the key opens anything at ``at_us``."""
        return (self.revoked_at_us is None or at_us < self.revoked_at_us) and (
            self.expires_at_us is None or at_us < self.expires_at_us
        )

    def may(self, role: Role) -> bool:
        """Whether the key's role includes ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


class PromptVersionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a prompt that can be called."""

    number: int
    sha256: str
    content_json: str  # canonical; `prompts.model` reads it


class PromptEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A prompt with everything it can be called by."""

    name: str
    aliases: dict[str, int] = {}
    latest: int | None = None  # None: every version is archived
    protected: bool = False  # a [[protect]] covers `production`
    versions: dict[int, PromptVersionEntry] = {}  # those that are not archived
    archived: tuple[int, ...] = ()

    def resolve(self, number: int | None = None, alias: str | None = None) -> "FoundPrompt":
        """The version that ``name@number``, ``name@alias`` or the bare name means; raises NotFound with the reason.

        A bare name is `production`; while there is no such alias and no rule protects it, `latest`.
        """
        if number is None and alias is None:
            alias = LATEST if PRODUCTION not in self.aliases and not self.protected else PRODUCTION
        if number is None and alias is not None:
            number = self.latest if alias == LATEST else self.aliases.get(alias)
        version = None if number is None else self.versions.get(number)
        if version is None:
            raise self._missing(number, alias)
        return FoundPrompt(name=self.name, version=version, alias=alias)

    def _missing(self, number: int | None, alias: str | None) -> NotFound:
        known = f"Aliases: {', '.join(self.aliases) or 'none'}; versions: {spans(self.versions)}."
        if number is not None:
            what = "is archived" if number in self.archived else "does not exist"
            code = "prompt_version_archived" if number in self.archived else "prompt_version_missing"
            return NotFound(f"{self.name}@{number} {what}. {known}", code=code, hint="Call one of these.")
        if alias == LATEST:
            return NotFound(
                f"Every version of {self.name} is archived.", code="prompt_version_archived", hint="Push a new one."
            )
        shown = "".join(c if c.isprintable() else "?" for c in (alias or "")[:64])
        command = "promote" if alias == PRODUCTION else "alias"
        to = "" if alias == PRODUCTION else f" {shown}"
        return NotFound(
            f'{self.name} has no alias "{shown}". {known}',
            code="prompt_alias_missing",
            hint=f"Call {self.name}@latest or a version by its number; or move the alias: "
            f"headgate prompt {command} {self.name}@NUMBER{to}",
        )


@dataclass(frozen=True, kw_only=True)
class FoundPrompt:
    """What a reference means."""

    name: str
    version: PromptVersionEntry
    alias: str | None  # None: called by number


class KbVersionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a knowledge base that can be searched."""

    number: int
    sha256: str  # of its manifest
    embedder: str  # lexical, or the routed model that embeds a question
    embed_asks: int | None = None  # dimensions asked of that model


class KbEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A knowledge base with everything it can be called by."""

    name: str
    aliases: dict[str, int] = {}
    latest: int | None = None
    protected: bool = False  # a [[protect]] covers `production`
    versions: dict[int, KbVersionEntry] = {}

    def resolve(self, number: int | None = None, alias: str | None = None) -> KbVersionEntry:
        """The version that ``name@number``, ``name@alias`` or the bare name means, as with prompts; raises NotFound."""
        if number is None and alias is None:
            alias = LATEST if PRODUCTION not in self.aliases and not self.protected else PRODUCTION
        if number is None and alias is not None:
            number = self.latest if alias == LATEST else self.aliases.get(alias)
        version = None if number is None else self.versions.get(number)
        if version is None:
            raise no_kb_version(self.name, alias if alias is not None else number or 0, self.aliases, self.versions)
        return version


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of what workers know; holds no secret."""

    generation: int
    published_at_us: int
    settings: Settings
    keys: dict[str, KeyEntry]  # by SHA-256 hex digest of the key
    prompts: dict[str, PromptEntry] = {}  # by name
    kbs: dict[str, KbEntry] = {}  # by name
    models: dict[str, ModelEntry] = {}  # by name

    def prompt(self, name: str, *, number: int | None = None, alias: str | None = None) -> FoundPrompt:
        """The prompt version that a reference means; raises NotFound, naming the nearest prompt or alias."""
        entry = self.prompts.get(name)
        if entry is None:
            raise no_prompt(name, self.prompts)
        return entry.resolve(number, alias)

    def kb(self, name: str, *, number: int | None = None, alias: str | None = None) -> KbVersionEntry:
        """The version of a knowledge base that a reference means; raises NotFound, naming the nearest."""
        entry = self.kbs.get(name)
        if entry is None:
            raise no_kb(name, self.kbs)
        return entry.resolve(number, alias)

    def model(self, name: str, *, number: int | None = None, alias: str | None = None) -> FoundModel:
        """The model version that a reference means; raises NotFound, naming the nearest model or alias."""
        entry = self.models.get(name)
        if entry is None:
            raise no_model(name, self.models)
        return entry.resolve(number, alias)


def no_prompt(name: str, known: Iterable[str]) -> NotFound:
    """There is no prompt of this name."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:100])
    near = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.5)
    nearest = f" Nearest: {near[0]}." if near else ""
    hint = "List them: headgate prompt list. Push files: headgate prompt push"
    return NotFound(f'There is no prompt "{shown}".{nearest}', code="prompt_missing", hint=hint)


def no_kb(name: str, known: Iterable[str]) -> NotFound:
    """There is no knowledge base of this name."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:100])
    near = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.5)
    nearest = f" Nearest: {near[0]}." if near else ""
    hint = "List them: headgate kb list. Push a folder: headgate kb push NAME DIR"
    return NotFound(f'There is no knowledge base "{shown}".{nearest}', code="kb_missing", hint=hint)


def no_kb_version(name: str, ref: int | str, aliases: Iterable[str], numbers: Iterable[int]) -> NotFound:
    """The knowledge base has no such version or alias."""
    shown = "".join(c if c.isprintable() else "?" for c in str(ref)[:64])
    what = f"version {shown}" if isinstance(ref, int) else f'alias "{shown}"'
    known = f"Aliases: {', '.join(aliases) or 'none'}; versions: {spans(numbers)}."
    code = "kb_version_missing" if isinstance(ref, int) else "kb_alias_missing"
    return NotFound(f"{name} has no {what}. {known}", code=code, hint=f"headgate kb show {name}")


def spans(numbers: Iterable[int]) -> str:
    """Numbers as people read them: ``1-5, 7``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found[-20:]) or "none"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a stat tells of a file: another file or another writing gives another stamp."""

    inode: int
    mtime_ns: int
    size_bytes: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def snapshot_path(home: Path) -> Path:
    """The file that workers serve from."""
    return home / "snapshot" / "current"


def previous_path(home: Path) -> Path:
    """The generation before it, for the day the newest is damaged."""
    return home / "snapshot" / "previous"


def publish(home: Path, snapshot: Snapshot) -> None:
    """Replaces the published snapshot in one step and keeps the one before; on disk when this returns.

    One process publishes (control). Raises HomeError when the generation does not increase or the disk refuses.
    """
    current = snapshot_path(home)
    try:
        before = _generation_of(current)
        if before is not None and snapshot.generation <= before:
            raise HomeError(f"Snapshot generation {snapshot.generation} is not newer than the published {before}.")
        current.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = current.with_name(f"new.{os.getpid()}")
        _write_durably(temporary, encode(snapshot))
        if before is not None:  # a damaged file must not displace a good previous one
            _keep_as_previous(home)
        temporary.replace(current)
        _sync_directory(current.parent)
    except OSError as error:
        raise HomeError(
            f"The snapshot {current} cannot be written ({error.strerror}).",
            hint="Workers go on with the last one. Make room or mend the rights of the directory.",
        ) from error


def next_generation(home: Path) -> int:
    """The generation to publish next: one above every readable one."""
    found = [_generation_of(path) for path in (snapshot_path(home), previous_path(home))]
    return max((g for g in found if g is not None), default=0) + 1


def encode(snapshot: Snapshot) -> bytes:
    """The file's bytes."""
    body = _encoder.encode(snapshot)
    head = _HEAD.pack(_MAGIC, _VERSION, snapshot.generation, len(body))
    return head + sha256(head + body).digest() + body


def decode(data: bytes) -> Snapshot:
    """The snapshot in a file's bytes; raises ValueError with the reason when one bit of it is wrong."""
    start = _HEAD.size + _DIGEST_BYTES
    if len(data) < start:
        raise ValueError(f"it ends after {len(data)} bytes")
    magic, version, generation, body_bytes = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("it is no snapshot")
    if version != _VERSION:
        raise ValueError(f"it has format {version}, this Headgate reads {_VERSION}")
    if len(data) != start + body_bytes:
        raise ValueError(f"it has {len(data) - start} bytes where {body_bytes} are announced")
    body = memoryview(data)[start:]
    check = sha256(data[: _HEAD.size])
    check.update(body)
    if check.digest() != data[_HEAD.size : start]:
        raise ValueError("its checksum is wrong")
    try:
        snapshot = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"it does not fit this Headgate ({error})") from error
    if snapshot.generation != generation:
        raise ValueError("its generation is stated twice and differs")
    return snapshot


class SnapshotReader:
    """Reads the published snapshot, keeps the last good one, and tells when a new one is there."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._current = snapshot_path(home)
        self._last: Snapshot | None = None
        self._stamp: Stamp | None = None
        self.fault: str | None = None  # why the newest file is not the one in use

    def changed(self) -> bool:
        """Whether the file differs from the one last looked at; one stat, no read."""
        return stamp_of(self._current) != self._stamp

    def load(self) -> Snapshot:
        """The newest good snapshot: the published one, else the last good one, else the previous one on disk.

        Raises HomeError when there is none. A generation older than the one in use is not taken.
        """
        current = self._current
        self._stamp = stamp_of(current)
        try:
            found = _read(current)
        except ValueError as error:
            self._note(f"{current}: {error}")
            return self._fallback()
        if self._last is not None and found.generation < self._last.generation:
            self._note(f"{current}: generation {found.generation} is older than {self._last.generation}, in use")
            return self._last
        self.fault = None
        self._last = found
        return found

    def _note(self, fault: str) -> None:
        """Keep, and say once, why the newest file is not the one in use."""
        if fault != self.fault:
            self.fault = fault
            if self._last is not None:
                _logger.warning("The snapshot in use stays: %s.", fault)

    def _fallback(self) -> Snapshot:
        if self._last is None:
            previous = previous_path(self._home)
            try:
                self._last = _read(previous)
            except ValueError as error:
                raise HomeError(
                    f"No snapshot to serve from: {self.fault}; {previous}: {error}.",
                    hint="Start the control process (headgate serve): it publishes a new one.",
                ) from error
        return self._last


def _read(path: Path) -> Snapshot:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return decode(data)


def _generation_of(path: Path) -> int | None:
    """The generation of a good snapshot file; None when it is missing or damaged."""
    try:
        return _read(path).generation
    except ValueError:
        return None


def _keep_as_previous(home: Path) -> None:
    """A second name for the current file, put in place in one step: `current` is never absent."""
    link = previous_path(home).with_name(f"old.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    os.link(snapshot_path(home), link)
    link.replace(previous_path(home))


def stamp_of(path: Path) -> Stamp | None:
    """What a stat tells of a file; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(inode=found.st_ino, mtime_ns=found.st_mtime_ns, size_bytes=found.st_size)


def _write_durably(path: Path, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
