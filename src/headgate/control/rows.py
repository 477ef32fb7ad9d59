"""A stored request as JSON shows it: CONTRACT's column names, money and ids as strings, times with Z."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from headgate.store.table import json_value

_JSON_COLUMNS = frozenset({"tags", "usage_raw", "prompt_vars", "features"})


def request_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row ready for JSON; columns that hold JSON text are embedded as they stand."""
    return {name: _column_json(name, value) for name, value in row.items() if name != "seq"}


def value_json(value: Any) -> Any:
    """One value of any SQL type, or a list or map of them, as JSON can hold it."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Decimal):
        return money(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): value_json(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [value_json(item) for item in value]
    return json_value(value)


def money(value: Decimal) -> str:
    """An amount without exponent or trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(value: datetime) -> str:
    """A stored time (UTC without a zone) in ISO 8601 with Z."""
    return value.isoformat(timespec="microseconds") + "Z"


def clean(text: str) -> str:
    """Text that can be encoded: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _column_json(name: str, value: Any) -> Any:
    if isinstance(value, str) and name in _JSON_COLUMNS:
        try:
            msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return clean(value)
        return msgspec.Raw(value.encode())
    if name == "trace_id" and isinstance(value, UUID):
        return value.hex
    return value_json(value)
