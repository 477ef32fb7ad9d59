"""Spans and points of time as people write them: ``90d``, ``24h``, ``2026-11-23T08:00Z``."""

import re
from datetime import UTC, date, datetime, timedelta

from headgate.core.errors import HeadgateError

_PART = re.compile(r"(\d{1,9})(us|ms|s|m|h|d|w)", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SPAN_S = 100 * 366 * 86400


class BadTime(HeadgateError):
    """A span or point of time that cannot be read."""

    code, status = "bad_time", 400
    hint = "Write a span such as 30m, 24h, 7d or 1h30m, or a time such as 2026-11-23 or 2026-11-23T08:00:00Z."


def parse_duration(text: str) -> float:
    """Seconds in ``text`` (``90d``, ``1h30m``, ``500ms``); raises BadTime. Zero and more than a century are refused."""
    bare = text.strip().lower()
    parts = _PART.findall(bare[:100])
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise BadTime(f'"{_shown(text)}" is no span of time.')
    seconds: float = sum(int(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 < seconds <= MAX_SPAN_S:
        raise BadTime(f'"{_shown(text)}" is zero or longer than a hundred years.')
    return seconds


def parse_since(text: str, now_us: int) -> int:
    """The point of time ``text`` names, in microseconds since 1970: a span before ``now_us`` or an ISO time.

    A time without a zone is UTC, a date alone is its midnight; raises BadTime.
    """
    bare = text.strip()
    if _PART.match(bare.lower()):
        try:
            return now_us - round(parse_duration(bare) * 1_000_000)
        except BadTime:
            if "-" not in bare:
                raise
    try:
        moment = _iso(bare)
        at_us = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise BadTime(f'"{_shown(text)}" is no time.') from None
    return at_us


def _iso(text: str) -> datetime:
    if len(text) > 40:
        raise ValueError(text)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    if not re.match(r"\d{4}-\d{2}-\d{2}[T ]\d{2}", text):
        raise ValueError(text)  # fromisoformat also takes week dates and digits without separators
    moment = datetime.fromisoformat(text.replace(" +", "+"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:60])
