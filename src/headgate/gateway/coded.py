"""Request bodies that must be undone before they can be read: coded, or behind a byte order mark."""

from headgate.core.errors import MalformedRequest
from headgate.wire.decode import BodyDecoder

_LIMIT_BYTES = 16 << 20
_MARK = b"\xef\xbb\xbf"


def readable(body: bytes, coding: str | None) -> bytes:
    """What ``body`` says; the body itself goes upstream as it is, where nothing of it must change.

    Raises MalformedRequest over a coding that cannot be read, or is read to more than 16 MiB.
    """
    decoder = BodyDecoder(coding, _LIMIT_BYTES)
    read = decoder.feed(body)
    if decoder.note is not None:
        raise MalformedRequest(
            f"the request body cannot be read: {decoder.note}.",
            code="unreadable_coding",
            hint="Send it plain or as gzip: its model decides where it goes.",
        )
    return read.removeprefix(_MARK)
