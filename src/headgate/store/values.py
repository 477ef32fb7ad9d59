"""Small values that the log and its callers exchange."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """What was captured of one exchange, as bytes on the wire; ``sent`` is None when it equals ``request``."""

    request: bytes
    sent: bytes | None
    response: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a record lies in the spool."""

    spool_id: str
    segment: int
    offset: int
