"""Reads a `headgate.toml` into checked plain values; says for every fault its line and what is allowed."""

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from headgate.core.errors import ConfigurationError
from headgate.core.secret_shapes import looks_like_secret, shown
from headgate.core.settings_table import Setting, all_settings, settings_of
from headgate.core.toml_lines import Path as TomlPath
from headgate.core.toml_lines import lines_of

MAX_FILE_BYTES = 1 << 20
MAX_FAULTS = 20
NAME = re.compile(r"[a-z0-9_-]{1,64}")
_TOML_FAULT = re.compile(r"(.*?) ?\(at (?:line (\d+), column (\d+)|end of document)\)\.?", re.DOTALL)
_SECRET_KEYS = re.compile(r"(?:.*[_-])?(?:api_?key|apikey|key|secret|token|password|authorization|credentials?)")


def nearest(name: str, known: list[str]) -> str | None:
    """The known name most like ``name``, None when none is like it."""
    found = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
    return found[0] if found else None


class ConfigFile:
    """The parsed file; collects faults, each with its line, until :meth:`refuse_faults`."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.directory = path.absolute().parent
        self.data, self._lines = _parsed(_text_of(path), self.name)
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def where(self, *path: str | int) -> str:
        """``headgate.toml line 12`` for the deepest part of ``path`` that is in the file."""
        full: TomlPath = path
        while full and full not in self._lines:
            full = full[:-1]
        return f"{self.name} line {self._lines[full]}" if full else self.name

    def fault(self, path: TomlPath, what: str) -> None:
        """Notes one fault at ``path``."""
        self.faults.append(f"{self.where(*path)}: {what}")

    def refuse_faults(self) -> None:
        """Raises ConfigurationError with the faults found, in the order of the file."""
        if not self.faults:
            return
        faults = sorted(dict.fromkeys(self.faults), key=_line_number)
        more = [f"… and {len(faults) - MAX_FAULTS} more."] if len(faults) > MAX_FAULTS else []
        raise ConfigurationError("\n".join(faults[:MAX_FAULTS] + more))

    def table(self, data: Mapping[str, Any], path: TomlPath, table: str) -> dict[str, Any]:
        """The checked values of one table by key, defaults filled in; a faulty or missing one is its default."""
        known = settings_of(table)
        meant = [self._unknown_key(data, (*path, key), table) for key in data if key not in known]
        values: dict[str, Any] = {}
        for key, setting in known.items():
            values[key] = dict(setting.default) if isinstance(setting.default, dict) else setting.default
            if key in data:
                faults = len(self.faults)
                value = self._value(setting, data[key], (*path, key))
                if len(self.faults) == faults:
                    values[key] = value
            elif setting.required and key not in meant:
                self.fault(path, f"{_label(path)} lacks {key}. Allowed: {setting.allowed}.")
        return values

    def tables(self, data: object, path: TomlPath, table: str, most: int) -> list[dict[str, Any]]:
        """The checked values of each table of an array."""
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            return []  # the kind was faulted where the array itself was checked
        if len(data) > most:
            self.fault(path, f"{len(data)} entries in {_label(path)}; at most {most} are allowed.")
            return []
        return [self.table(item, (*path, number), table) for number, item in enumerate(data)]

    def _unknown_key(self, data: Mapping[str, Any], path: TomlPath, table: str) -> str | None:
        """Notes an unknown key; returns the key that was probably meant."""
        key = str(path[-1])
        known = list(settings_of(table))
        if isinstance(data[key], str) and _SECRET_KEYS.fullmatch(key.lower()):
            self.fault(path, f"{_label(path[:-1])} holds a secret in {shown(key)}. {SECRET_ADVICE}")
            return None
        elsewhere = [s for s in all_settings() if s.key == key and s.table != table]
        close = nearest(key, known)
        if close is not None:
            advice = f"Nearest: {close}."
        elif elsewhere:
            advice = f"It belongs to {_table_label(elsewhere[0].table)}."
        else:
            advice = f"Known: {', '.join(known)}."
        place = f" in {_label(path[:-1])}" if len(path) > 1 else " at the top of the file"
        self.fault(path, f"unknown key {shown(key)}{place}. {advice}")
        return close

    def _value(self, setting: Setting, value: Any, path: TomlPath) -> Any:
        """``value`` as the setting's type; notes a fault and returns None otherwise."""
        match setting.kind:
            case "texts":
                return self._texts(setting, value, path)
            case "map":
                return self._map(setting, value, path)
            case "statuses":
                is_right = isinstance(value, list) and len(value) <= 32 and all(map(_is_fallback, value))
                return tuple(value) if is_right else self._wrong(setting, value, path)
            case "table":
                return value if isinstance(value, dict) else self._wrong(setting, value, path)
            case "tables":
                is_right = isinstance(value, list) and all(isinstance(item, dict) for item in value)
                return value if is_right else self._wrong(setting, value, path)
            case "integer" | "number" | "money":
                return self._number(setting, value, path)
            case _:
                return value if _is_scalar(setting, value) else self._wrong(setting, value, path)

    def _number(self, setting: Setting, value: Any, path: TomlPath) -> Any:
        if not _is_number(value, setting) or not (setting.low or 0) <= value <= (setting.high or math.inf):
            return self._wrong(setting, value, path)
        if setting.kind == "money":
            return Decimal(value)
        return value if isinstance(value, int) else float(value)

    def _texts(self, setting: Setting, value: Any, path: TomlPath) -> tuple[str, ...] | None:
        if not isinstance(value, list) or len(value) > 1000:
            self._wrong(setting, value, path)
            return None
        for number, item in enumerate(value):
            if not _is_text(item):
                self._wrong(setting, item, (*path, number))
        return tuple(value)

    def _map(self, setting: Setting, value: Any, path: TomlPath) -> dict[str, str] | None:
        if not isinstance(value, dict) or len(value) > 100:
            self._wrong(setting, value, path)
            return None
        for key, item in value.items():
            if not _is_text(item):
                self._wrong(setting, item, (*path, key))
        return dict(value)

    def _wrong(self, setting: Setting, value: object, path: TomlPath) -> None:
        self.fault(path, f"{_dotted(path)} = {_kind_shown(value)} is not allowed. Allowed: {setting.allowed}.")


SECRET_ADVICE = (
    'Secrets are not kept in this file: export it and name the variable (api_key_env = "OPENAI_API_KEY"), '
    'or name a file of mode 0600 that holds it (api_key_file = "openai.key").'
)


def _text_of(path: Path) -> str:
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {name}.", hint="Write one: headgate init.") from None
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read ({error.strerror}).") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{name} is larger than {MAX_FILE_BYTES >> 20} MiB; that is no configuration file.")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{name} line {line}: the file is not UTF-8 text (byte {error.start}).") from None


def _parsed(text: str, name: str) -> tuple[dict[str, Any], dict[TomlPath, int]]:
    try:
        return tomllib.loads(text, parse_float=Decimal), lines_of(text)
    except RecursionError:
        raise ConfigurationError(f"{name}: the values are nested too deeply.") from None
    except ValueError as error:  # TOMLDecodeError, and numbers longer than int() takes
        raise ConfigurationError(_syntax_fault(str(error), text, name)) from None


def _syntax_fault(fault: str, text: str, name: str) -> str:
    found = _TOML_FAULT.fullmatch(fault)
    what = found[1] if found else fault.partition(":")[0]
    place = f" line {text.count(chr(10)) + 1}"
    if found and found[2]:
        place = f" line {found[2]}, column {found[3]}"
    elif not found:
        place = ""
    return f"{name}{place}: not valid TOML: {what[:1].lower()}{what[1:]}."


def _is_number(value: object, setting: Setting) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, Decimal):
        return setting.kind != "integer" and value.is_finite()
    return isinstance(value, int)


def _is_scalar(setting: Setting, value: object) -> bool:
    match setting.kind:
        case "boolean":
            return isinstance(value, bool)
        case "choice":
            return value in setting.choices if isinstance(value, str) else False
        case "date":
            return isinstance(value, date) and not isinstance(value, datetime)
        case "name":
            return isinstance(value, str) and NAME.fullmatch(value) is not None
        case _:
            return _is_text(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 2000 and value.isprintable()


def _is_fallback(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return 400 <= value <= 599
    return isinstance(value, str) and value in ("connect", "timeout")


def _kind_shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if any(isinstance(v, dict | list) for v in value) else f"[{', '.join(map(shown, value[:10]))}]"
    return shown(value)


def _dotted(path: TomlPath) -> str:
    """``server.port``, ``routes[2].model`` (elements count from 1 for people)."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{_safe(part)}" if text else _safe(part)
    return text


def _safe(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) and not looks_like_secret(key) else shown(key)


def _label(path: TomlPath) -> str:
    if path and isinstance(path[-1], int):
        return f"[[{_dotted(path[:-1])}]] number {path[-1] + 1}"
    return f"[{_dotted(path)}]" if path else "the file"


def _table_label(table: str) -> str:
    if not table:
        return "the top of the file"
    return f"[[{table[:-2]}]]" if table.endswith("[]") else f"[{table}]"


def _line_number(fault: str) -> int:
    found = re.search(r" line (\d+)", fault)
    return int(found[1]) if found else 0
