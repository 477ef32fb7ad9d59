"""What prompts and classic models have in common: numbered versions, archived instead of removed, that aliases mean."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us
from headgate.core.protection import LATEST
from headgate.registry import history


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version: its content by hash, and who brought it from where; times in µs since 1970."""

    name: str
    number: int
    sha256: str
    message: str | None
    author: str | None
    git_commit: str | None
    who: str
    created_at_us: int
    archived_at_us: int | None

    def is_archived(self, as_of_us: int | None = None) -> bool:
        """Whether it is (or was, at a time) archived."""
        return self.archived_at_us is not None and (as_of_us is None or self.archived_at_us <= as_of_us)


V = TypeVar("V", bound=Version)


@dataclass(frozen=True, kw_only=True)
class Versioned(Generic[V]):
    """An object with its versions, newest first, and its aliases: now, or as of a time."""

    BARE: ClassVar[str]
    """The alias that the bare name means."""

    name: str
    description: str
    aliases: Mapping[str, int]
    versions: tuple[V, ...]
    as_of_us: int | None = None

    @property
    def latest(self) -> int | None:
        """The newest version that is not archived."""
        return next((version.number for version in self.versions if not version.is_archived(self.as_of_us)), None)

    def current(self, *, is_protected: bool) -> tuple[int, str] | None:
        """The version a bare name means, and by which alias; None when it means none."""
        if self.BARE in self.aliases:
            return self.aliases[self.BARE], self.BARE
        return None if is_protected or self.latest is None else (self.latest, LATEST)

    def version(self, number: int) -> V | None:
        """The version with this number."""
        return next((version for version in self.versions if version.number == number), None)


def set_archived(
    connection: sqlite3.Connection,
    kind: Literal["prompt", "model"],
    found: Versioned[V],
    version: V,
    *,
    who: str,
    reason: str | None,
    archived: bool,
) -> bool:
    """Takes a version out of service, or back; whether that changed anything. Raises MalformedRequest while an alias
    means it.
    """
    if version.is_archived() == archived:
        return False
    standing = [alias for alias, meant in found.aliases.items() if meant == version.number]
    if archived and standing:
        raise MalformedRequest(
            f"{version.name}@{version.number} is {', '.join(standing)} and cannot be archived.",
            hint="Move or remove the alias first.",
        )
    connection.execute(
        f"UPDATE {kind}_version SET archived_at_us = ? WHERE {kind} = ? AND number = ?",
        (now_us() if archived else None, version.name, version.number),
    )
    action = f"{kind}.archive" if archived else f"{kind}.unarchive"
    detail = {"version": version.number, "sha256": version.sha256}
    history.append(connection, who=who, action=action, object=f"{kind}:{version.name}", reason=reason, detail=detail)
    return True
