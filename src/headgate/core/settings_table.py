"""Every setting of `headgate.toml` as one table: the reader checks by it, the reference page is written from it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Kind = Literal[
    "text",
    "integer",
    "number",
    "money",
    "boolean",
    "choice",
    "texts",
    "map",
    "date",
    "statuses",
    "name",
    "table",
    "tables",
]

_WORDS: dict[Kind, str] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "money": "a number",
    "boolean": "true | false",
    "choice": "text",
    "texts": "a list of texts",
    "map": "a table of texts",
    "date": "a date such as 2026-01-01",
    "statuses": 'a list of "connect", "timeout" and HTTP statuses from 400 to 599',
    "name": "a name of a-z, 0-9, _ and -, at most 64 long",
    "table": "a table",
    "tables": "a list of tables",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One key of one table of the file."""

    table: str  # "" is the top level; NAME stands for a name of the user's own, [] for an array of tables
    key: str
    kind: Kind
    help: str
    default: object = None  # None: none; lists are tuples
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    required: bool = False

    @property
    def path(self) -> str:
        """How people write it: ``upstreams.NAME.base_url``."""
        return f"{self.table}.{self.key}" if self.table else self.key

    @property
    def allowed(self) -> str:
        """What may stand there, in words."""
        if self.choices:
            return " | ".join(f'"{choice}"' for choice in self.choices)
        words = _WORDS[self.kind]
        if self.low is not None and self.high is not None:
            words += f" from {self.low:g} to {self.high:.0f}"
        return words


@cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting, in the order of the reference page."""
    data = tomllib.loads(files("headgate.core").joinpath("settings.toml").read_text(encoding="utf-8"))
    return tuple(_setting(row) for row in data["setting"])


@cache
def settings_of(table: str) -> dict[str, Setting]:
    """The settings of one table, by key; empty for a table that does not exist."""
    return {s.key: s for s in all_settings() if s.table == table}


def _setting(row: dict[str, Any]) -> Setting:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Setting(**values)
