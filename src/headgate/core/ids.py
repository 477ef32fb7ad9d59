"""Time-ordered identifiers and the only clock of the product."""

import random
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
monotonic_ns = time.perf_counter_ns
"""Nanoseconds of a clock that never goes back; durations are differences of it."""
monotonic_s = time.monotonic
"""Seconds of a clock that never goes back; deadlines are set on it."""
_random = random.Random(random.SystemRandom().getrandbits(256))


def now_us() -> int:
    """Wall clock, microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def utc(at_us: int) -> datetime:
    """The UTC time of ``at_us`` (microseconds since 1970), timezone-aware."""
    return _EPOCH + timedelta(microseconds=at_us)


def uuid7(at_us: int) -> str:
    """A UUIDv7 (RFC 9562) in its usual spelling: 48 bits of milliseconds, then 12 bits of the
    sub-millisecond part, then 62 random bits, so ids sort by time within one process. Unique, not
    secret: an id opens nothing.
    """
    ms, us = divmod(at_us, 1000)
    h = f"{ms << 16 | 0x7000 | (us << 12) // 1000:016x}{_random.getrandbits(62) | 0x8 << 60:016x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
