"""Classic models as the snapshot carries them: versions, aliases, and what a reference means."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headgate.core.errors import NotFound
from headgate.core.protection import LATEST
from headgate.core.signature import Signature

CHAMPION = "champion"
"""What a bare model name means."""


@dataclass(frozen=True, kw_only=True)
class ModelVersionEntry:
    """One version that can be called."""

    number: int
    sha256: str
    signature: Signature
    joins: bool  # calls may be run together


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A classic model with everything it can be called by."""

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest: int | None = None  # None: every version is archived
    protected: bool = False  # a [[protect]] covers `champion`
    versions: Mapping[int, ModelVersionEntry] = field(default_factory=dict)  # those that are not archived
    archived: tuple[int, ...] = ()

    def resolve(self, number: int | None = None, alias: str | None = None) -> "FoundModel":
        """The version that ``name@number``, ``name@alias`` or the bare name means; raises NotFound with the reason.

        A bare name is `champion`; while there is no such alias and no rule protects it, `latest`.
        """
        if number is None and alias is None:
            alias = LATEST if CHAMPION not in self.aliases and not self.protected else CHAMPION
        if number is None and alias is not None:
            number = self.latest if alias == LATEST else self.aliases.get(alias)
        version = None if number is None else self.versions.get(number)
        if version is None:
            raise self._missing(number, alias)
        return FoundModel(name=self.name, version=version, alias=alias)

    def pinned(self) -> set[int]:
        """The versions that an alias points to: these are kept running."""
        return set(self.aliases.values()) & set(self.versions)

    def _missing(self, number: int | None, alias: str | None) -> NotFound:
        numbers = ", ".join(map(str, sorted(self.versions)[-20:])) or "none"
        known = f"Aliases: {', '.join(self.aliases) or 'none'}; versions: {numbers}."
        if number is not None:
            what = "is archived" if number in self.archived else "does not exist"
            code = "model_version_archived" if number in self.archived else "model_version_missing"
            return NotFound(f"{self.name}@{number} {what}. {known}", code=code, hint="Call one of these.")
        if alias == LATEST:
            return NotFound(
                f"Every version of {self.name} is archived.", code="model_version_archived", hint="Register a new one."
            )
        shown = _shown(alias or "")
        command = "promote" if alias == CHAMPION else "alias"
        to = "" if alias == CHAMPION else f" {shown}"
        return NotFound(
            f'{self.name} has no alias "{shown}". {known}',
            code="model_alias_missing",
            hint=f"Call a version by its number, or move the alias: headgate model {command} {self.name}@NUMBER{to}",
        )


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """What a reference means."""

    name: str
    version: ModelVersionEntry
    alias: str | None  # None: called by number

    def __str__(self) -> str:
        return f"{self.name}@{self.version.number}"


def no_model(name: str, known: Iterable[str]) -> NotFound:
    """There is no model of this name."""
    near = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.5)
    nearest = f" Nearest: {near[0]}." if near else ""
    hint = "List them: headgate model list. Add one: headgate model register NAME FILE.onnx"
    return NotFound(f'There is no model "{_shown(name)}".{nearest}', code="model_missing", hint=hint)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:100])
