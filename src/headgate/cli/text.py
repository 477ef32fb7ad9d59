"""How values look on a terminal: numbers, money, times, and hostile text made harmless. Pure functions."""

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from headgate.core.printable import is_unsafe
from headgate.core.printable import printable as printable  # the commands know it by this module

MISSING = "-"


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """``value`` as JSON that is safe to show: what could steer a terminal is written as an escape JSON reads back."""
    lines = json.dumps(value, indent=indent, ensure_ascii=False, default=str).split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_json_escaped, line)) for line in lines)


def _json_escaped(char: str) -> str:
    if not is_unsafe(char):
        return char
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


def count(value: Any) -> str:
    """12345 as ``12,345``; unknown as ``-``."""
    if value is None:
        return MISSING
    return f"{value:,}" if isinstance(value, int) else printable(value)


def many(value: Any, noun: str) -> str:
    """``1 request``, ``1,234 requests``; unknown as ``- requests``."""
    return f"{count(value)} {noun}" + ("" if value == 1 else "s")


def usd(value: Any) -> str:
    """An amount in dollars, with as many digits as it needs to say three of them; unknown as ``unpriced``."""
    if value is None:
        return "unpriced"
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return printable(value)
    if not amount.is_finite():
        return printable(value)
    if amount == 0:
        return "$0"
    places = 2 if abs(amount) >= 1 else min(12, 2 - amount.adjusted())
    return f"${amount:,.{max(places, 2)}f}"


def exact_usd(value: Any) -> str:
    """An amount in dollars with all its digits."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return printable(value)
    if not amount.is_finite():
        return printable(value)
    text = f"{amount:f}"
    return "$" + (text.rstrip("0").rstrip(".") if "." in text else text)


def milliseconds(value: Any) -> str:
    """812.4 as ``812``, 0.42 as ``0.42``; unknown as ``-``."""
    if value is None:
        return MISSING
    if not isinstance(value, int | float):
        return printable(value)
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"


def size(value: Any) -> str:
    """Bytes as ``512 B``, ``1.5 KB``, ``3.2 GB`` in powers of 1000, as ``max_disk_gb`` counts; unknown as ``-``."""
    if not isinstance(value, int | float):
        return MISSING if value is None else printable(value)
    amount = float(value)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def seconds(value: Any) -> str:
    """A duration as ``0.4 s``, ``3 min 20 s``, ``2 d 4 h``; unknown as ``-``."""
    if not isinstance(value, int | float):
        return MISSING if value is None else printable(value)
    if value < 60:
        return f"{value:.1f} s"
    whole = int(value)
    for unit, unit_s, below, below_s in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= unit_s:
            rest = whole % unit_s // below_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def percent(part: Any, whole: Any) -> str:
    """``part`` of ``whole``: ``97 %``, never rounded up to 100; unknown or of nothing as ``-``."""
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return MISSING
    share = 100 * part / whole
    return "> 99 %" if 99.5 <= share < 100 else "< 1 %" if 0 < share < 0.5 else f"{share:.0f} %"


def local_time(value: Any) -> str:
    """An ISO time as the date and time of this machine's zone, to the second; anything else as it stands."""
    if not isinstance(value, str):
        return MISSING if value is None else printable(value)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return printable(value)
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_id(value: Any) -> str:
    """The first 13 characters of a UUIDv7: its milliseconds, which still work as a prefix."""
    return MISSING if value is None else printable(str(value)[:13])
